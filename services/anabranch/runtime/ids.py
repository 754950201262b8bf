"""Identities that sort by time (UUID version 7, RFC 9562)."""

import os
import time
from uuid import UUID


def uuid7() -> UUID:
    """A new id: 48 bits of milliseconds, then chance."""
    value = time.time_ns() // 1_000_000 << 80 | int.from_bytes(os.urandom(10))
    return UUID(int=value & ~(0xF << 76 | 0x3 << 62) | 7 << 76 | 2 << 62)

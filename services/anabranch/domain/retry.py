"""How long until a failed step is asked again: exponential, full jitter drawn from the step's identity."""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any


def jitter(step_id: str, attempt: int) -> float:
    """A number in [0, 1) that depends on nothing but the attempt's identity."""
    digest = blake2b(f"{step_id}/{attempt}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


def delay(policy: Mapping[str, Any], step_id: str, failures: int) -> float:
    """Seconds to wait after the `failures`-th failure."""
    ceiling = min(float(policy["max_delay"]), float(policy["base_delay"]) * 2.0 ** min(failures - 1, 60))
    return ceiling * jitter(step_id, failures)

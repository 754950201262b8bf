"""Recorded events and projection rows: what the core hands to the store."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from anabranch_contracts.events import Event


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event with its place in the log. `position` is 0 until stored; `at` is the decider's clock (UTC)."""

    run_id: UUID
    version: int
    event: Event
    at: datetime
    message_id: UUID
    causation_id: UUID
    actor: str
    position: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """The whole new content of one projection row (upsert by the key columns of `table`)."""

    table: str
    values: Mapping[str, Any]

"""Recorded events and projection rows: what the core hands to the store."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from anabranch_contracts.events import Event


class Recorded(NamedTuple):
    """An event with its place in the log. `position` is 0 until stored; `at` is the decider's clock (UTC)."""

    run_id: UUID
    version: int
    event: Event
    at: datetime
    message_id: UUID
    causation_id: UUID
    actor: str
    position: int = 0


class Row(NamedTuple):
    """The whole new content of one projection row (upsert by the key columns of `table`)."""

    table: str
    values: Mapping[str, Any]

"""The event store in memory: same fence, same order, no durability. For tests and the simulator."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Any
from uuid import UUID

from anabranch.runtime.ports import Asked, Conflict, Lookout, Recorded, Row, Snapshot, Stream
from anabranch_contracts.events import StepRequested

KEYS: dict[str, tuple[str, ...]] = {
    "run_rows": ("run_id",),
    "branch_rows": ("run_id", "branch_id"),
    "step_rows": ("run_id", "step_id"),
    "convergences": ("run_id", "convergence_id"),
    "timers": ("run_id", "timer_id"),
    "user_requests": ("run_id", "request_id"),
    "checkpoints": ("run_id", "checkpoint_id"),
}
IDENTITIES: dict[str, Callable[[Mapping[str, Any]], tuple[Any, ...]]] = {
    table: itemgetter(*columns) if columns[1:] else lambda values: (values["run_id"],)
    for table, columns in KEYS.items()
}
EPOCH = datetime.fromtimestamp(0, UTC)
TERMINAL = {"completed", "failed", "cancelled", "rejected"}


@dataclass
class MemoryStore:
    """Streams, rows and snapshots in dictionaries."""

    streams: dict[UUID, list[Recorded]] = field(default_factory=dict)
    log: list[Recorded] = field(default_factory=list)
    tables: dict[str, dict[tuple[Any, ...], Mapping[str, Any]]] = field(
        default_factory=lambda: {name: {} for name in KEYS}
    )
    snapshots: dict[UUID, Snapshot] = field(default_factory=dict)
    watched: bool = False
    known: UUID | None = None
    looked_to: int = 0
    horizon: int = 0
    looks: int = 0

    @staticmethod
    def key(table: str, values: Mapping[str, Any]) -> tuple[Any, ...]:
        """Identity of a row."""
        return IDENTITIES[table](values)

    async def ready(self) -> None:
        """It always is."""

    @asynccontextmanager
    async def unit(self, runs: Sequence[UUID], hold: bool = True) -> AsyncIterator["MemoryUnit"]:
        """A transaction; nothing is locked, the fence decides."""
        yield MemoryUnit(self)

    async def subscribe(self, after: tuple[int, int] = (0, 0), batch: int = 1000) -> AsyncIterator[list[Recorded]]:
        """The log from a position."""
        for start in range(after[1], len(self.log), batch):
            yield self.log[start : start + batch]

    async def live_runs(self, after: UUID | None = None, limit: int = 1000) -> list[UUID]:
        rows = self.tables["run_rows"].values()
        live = sorted(row["run_id"] for row in rows if row["status"] not in TERMINAL)
        return [run_id for run_id in live if after is None or run_id > after][:limit]

    async def due_runs(self, now: datetime, limit: int = 1000) -> dict[UUID, datetime]:
        rows = self.tables["timers"].values()
        due = sorted((row["due_at"], row["run_id"]) for row in rows if row["due_at"] is not None)
        return {run_id: at for at, run_id in reversed(due[:limit]) if at <= now}

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[bool]:
        """Hold the watch; False while somebody else has it."""
        free, self.watched = not self.watched, True
        try:
            yield free
        finally:
            self.watched = not free

    async def lookout(self) -> Lookout:
        looked_at = EPOCH + timedelta(seconds=self.looks)
        return Lookout(
            "memory", self.known, looked_at, float("inf"), len(self.log) > self.looked_to, str(len(self.log))
        )

    async def standing_runs(self) -> list[UUID]:
        rows = self.tables["run_rows"]
        seen = {r.run_id for r in self.log[self.looked_to : self.horizon] if r.version == rows[r.run_id,]["version"]}
        return sorted(run_id for run_id in seen if rows[run_id,]["status"] in ("pending", "running"))

    async def looked(self, mark: UUID | None) -> None:
        self.looked_to, self.horizon, self.known = self.horizon, len(self.log), mark
        self.looks += 1

    async def asked_since(self, moment: str, run_ids: Sequence[UUID]) -> set[tuple[UUID, str, int]]:
        since = [r for r in self.log[int(moment) :] if r.run_id in run_ids]
        return {(r.run_id, r.event.step_id, r.event.attempt) for r in since if isinstance(r.event, StepRequested)}

    async def asked_agents(self, before: datetime) -> list[str]:
        return sorted({agent for agent, one in self._asked() if one.requested_at < before})

    async def asked_steps(
        self, agent: str, before: datetime, after: UUID | None = None, limit: int = 1000
    ) -> list[Asked]:
        found = [one for asked, one in self._asked() if asked == agent and one.requested_at < before]
        found = [one for one in found if after is None or one.run_id > after]
        found.sort(key=lambda one: (one.run_id, one.requested_at))
        return [one for one in found if one.run_id <= found[min(limit, len(found)) - 1].run_id]

    def _asked(self) -> Iterator[tuple[str, Asked]]:
        """What is asked for, and of whom: of branches that run, unless the row of the step knows better."""
        for row in self.tables["branch_rows"].values():
            run_id, step_id = row["run_id"], f"{row['branch_id']}#{row['step_count']}"
            step = self.tables["step_rows"].get((run_id, step_id), {"status": "requested", "attempt": 1})
            version = step.get("requested_version", row["result_version"])
            works = self.tables["run_rows"][run_id,]["status"] in ("running", "paused") and row["status"] == "running"
            if works and step["status"] == "requested" and version is not None:
                stream: list[Any] = self.streams[run_id]
                timeout = stream[0].event.config["step_timeout"]
                yield row["agent"], Asked(run_id, step_id, step["attempt"], stream[version - 1].at, timeout)

    async def probe(self) -> None:
        """It is always there."""

    async def close(self) -> None:
        """Nothing to release."""


@dataclass
class MemoryUnit:
    """Reads at once; an append is all or nothing."""

    store: MemoryStore

    async def read(self, known: Mapping[UUID, int], reducer: str) -> dict[UUID, Stream]:
        return {run_id: self._stream(run_id, version, reducer) for run_id, version in known.items()}

    def _stream(self, run_id: UUID, version: int, reducer: str) -> Stream:
        snapshot = self.store.snapshots.get(run_id)
        if version or snapshot is None or snapshot.reducer != reducer:
            snapshot = None
        start = snapshot.version if snapshot else version
        return Stream(snapshot, self.store.streams.get(run_id, [])[start:])

    async def caused_by(self, messages: Sequence[tuple[UUID, UUID]]) -> dict[UUID, list[Recorded]]:
        found: dict[UUID, list[Recorded]] = {}
        for run_id, message_id in set(messages):
            caused = [r for r in self.store.streams.get(run_id, ()) if r.causation_id == message_id]
            if caused:
                found[message_id] = caused
        return found

    async def history(self, run_id: UUID) -> list[Recorded]:
        return list(self.store.streams.get(run_id, ()))

    async def append(self, events: Sequence[Recorded], rows: Sequence[Row], snapshots: Sequence[Snapshot] = ()) -> None:
        streams, lengths = self.store.streams, dict[UUID, int]()
        for event in events:
            length = lengths.get(event.run_id, len(streams.get(event.run_id, ())))
            if event.version != length + 1:
                raise Conflict(f"version {event.version} of run {event.run_id} is taken")
            lengths[event.run_id] = event.version
        for event in events:
            stored = _at(event, len(self.store.log) + 1)
            self.store.log.append(stored)
            streams.setdefault(event.run_id, []).append(stored)
        for row in rows:
            self.store.tables[row.table][self.store.key(row.table, row.values)] = row.values
        for snapshot in snapshots:
            self.store.snapshots[snapshot.run_id] = snapshot


def _at(r: Recorded, position: int) -> Recorded:
    """The event with its place in the log."""
    return Recorded(r.run_id, r.version, r.event, r.at, r.message_id, r.causation_id, r.actor, position)

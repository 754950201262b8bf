"""States that are kept are believed while nobody else writes, and never where that could lose something."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import orjson

from anabranch.domain.deciders import Router, Supervisor
from anabranch.runtime.handler import Handler
from anabranch.runtime.memory.store import MemoryStore, MemoryUnit
from anabranch.runtime.memory.transport import MemoryBroker, MemoryTransport
from anabranch.runtime.ports import Outgoing, Stream
from anabranch.runtime.solitude import FEW, WARY
from anabranch_contracts.addresses import ROUTER_QUEUE, SUPERVISOR_QUEUE


@dataclass
class Asked(MemoryStore):
    """A store that notes which units hold what they read, and whether the log was read."""

    units: list[tuple[str, int]] = field(default_factory=list)

    @asynccontextmanager
    async def unit(self, runs: Sequence[UUID], hold: bool = True) -> AsyncIterator[MemoryUnit]:
        unit = Reading(self)
        try:
            yield unit
        finally:
            self.units.append(("held" if hold else "free", unit.reads))


class Reading(MemoryUnit):
    reads = 0

    async def read(self, known: Mapping[UUID, int], reducer: str) -> dict[UUID, Stream]:
        self.reads += 1
        return await super().read(known, reducer)


class House:
    """A router and a supervisor over one store."""

    async def open(self) -> "House":
        self.transport, self.store = MemoryTransport(MemoryBroker()), Asked()
        await self.transport.connect()
        self.routed = await self.transport.consume([ROUTER_QUEUE], 100)
        self.tended = await self.transport.consume([SUPERVISOR_QUEUE], 100)
        self.router = Handler(Router(), self.store, self.transport)
        self.supervisor = Handler(Supervisor(), self.store, self.transport)
        return self

    async def tell(self, key: str, *bodies: dict[str, Any]) -> list[tuple[str, int]]:
        """What a message, or some at once, led to in the store."""
        self.store.units.clear()
        await self.transport.publish([Outgoing(key, orjson.dumps(body), uuid4(), "") for body in bodies])
        for handler, inbox in ((self.router, self.routed), (self.supervisor, self.tended)):
            if inbound := await handler.read(inbox.poll(100), inbox):
                await handler.tell(await handler.settle(inbound), inbox)
        return list(self.store.units)

    def ask(self, run_id: UUID) -> dict[str, Any]:
        edges = ["A -> B", "B -> C"]
        return {"run_id": run_id, "task": "t", "topology": {"nodes": ["A", "B", "C"], "edges": edges}}


def result(run_id: UUID, number: int) -> dict[str, Any]:
    return {"run_id": run_id, "branch_id": "b0", "step_id": f"b0#{number}", "attempt": 1, "response": "on"}


async def test_a_run_in_hand_is_not_read_again() -> None:
    house, run_id = await House().open(), uuid4()
    assert await house.tell("run.requested", house.ask(run_id)) == [("free", 1)]
    assert await house.tell("step.completed", result(run_id, 1)) == [("free", 0)]
    assert await house.tell("step.completed", result(run_id, 2)) == [("free", 0)]


async def test_what_changes_nothing_is_decided_by_the_log_and_not_by_what_is_kept() -> None:
    house, run_id = await House().open(), uuid4()
    await house.tell("run.requested", house.ask(run_id))
    assert await house.tell("run.recover", {"run_id": run_id}) == [("free", 1)]
    assert await house.tell("run.recover", {"run_id": run_id}) == [("free", 1)]  # the same again, and nobody wrote
    await house.tell("step.completed", result(run_id, 1))
    assert await house.tell("run.recover", {"run_id": run_id}) == [("free", 1), ("held", 1)]


async def test_who_was_second_locks_and_reads_for_a_while() -> None:
    house, run_id = await House().open(), uuid4()
    await house.tell("run.requested", house.ask(run_id))
    await house.tell("run.checkpoint", {"run_id": run_id, "name": "here"})
    assert await house.tell("step.completed", result(run_id, 1)) == [("free", 0), ("held", 1)]
    others = [uuid4() for _ in range(WARY - 2)]
    assert {unit for one in others for unit in await house.tell("run.requested", house.ask(one))} == {("held", 1)}
    assert await house.tell("step.completed", result(run_id, 2)) == [("free", 0)]


async def test_many_at_once_are_read_together() -> None:
    house, run_ids = await House().open(), [uuid4() for _ in range(FEW + 1)]
    await house.tell("run.requested", *map(house.ask, run_ids[:-1]))
    await house.tell("run.requested", house.ask(run_ids[-1]))
    assert await house.tell("step.completed", *(result(run_id, 1) for run_id in run_ids)) == [("held", 1)]


async def test_a_fork_holds_the_past_that_it_copies() -> None:
    house, run_id = await House().open(), uuid4()
    await house.tell("run.requested", house.ask(run_id))
    assert await house.tell("run.fork", {"run_id": run_id, "at": 2}) == [("held", 1)]

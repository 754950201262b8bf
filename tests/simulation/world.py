"""One run of a random topology in a seeded world: two routers, two supervisors, workers, people, broker, store, clock.

Every port call of a handler is a seam. At each seam the scheduler picks, by the seed, who goes on; with faults
switched on it also kills a service there (its unacked messages are offered again, its cache is gone),
delivers messages twice, in any order, pauses or cancels, and once may lose the whole broker.
"""

from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import orjson

from anabranch.domain.deciders import Decider, Router, Supervisor
from anabranch.runtime.cache import StateCache
from anabranch.runtime.handler import Handler
from anabranch.runtime.memory.store import MemoryStore
from anabranch.runtime.memory.transport import MemoryBroker, MemoryTransport
from anabranch.runtime.ports import Outgoing
from anabranch.runtime.recovery import recover, wake
from anabranch_contracts.addresses import ROUTER_QUEUE, SUPERVISOR_QUEUE, step_queue
from tests.simulation import answers, generate
from tests.simulation.outsiders import Outsiders
from tests.simulation.seams import SeamInbox, SeamStore, SeamTransport, at_once

JSON = Any
START = datetime(2026, 1, 1, tzinfo=UTC)


class Stuck(AssertionError):
    """The run is not over and nothing is left to do."""


@dataclass
class Service:
    """A replica of a deciding service, with the batch it is in the middle of."""

    decider: type[Decider]
    queue: str
    transport: Any = None
    inbox: Any = None
    handler: Any = None
    task: Coroutine[Any, Any, None] | None = None


@dataclass
class World:
    """Everything, and one run in it; a quarter of the seeds are `loose`: their outcome may depend on time."""

    seed: int
    schedule: int
    faults: bool = True
    topology: JSON = None
    config: JSON = None
    fork: JSON = None
    now: datetime = START
    ids: int = 0
    store: MemoryStore = field(default_factory=MemoryStore)
    broker: MemoryBroker = field(default_factory=MemoryBroker)

    def __post_init__(self) -> None:
        generator = Random(self.seed)
        self.loose = generator.random() < 0.25
        self.topology = self.topology or generate.topology(generator, self.loose)
        self.config = self.config or generate.config(generator, self.loose)
        self.random = Random(self.schedule)
        self.run_id = UUID(int=self.seed + 1 + (1 << 100 if self.fork else 0))
        self.outsiders = Outsiders(self, self.faults)
        self.lost_broker = not self.faults
        self.kills = 0
        both = (Router, ROUTER_QUEUE), (Supervisor, SUPERVISOR_QUEUE)
        self.services = [Service(decider, queue) for decider, queue in both for _ in range(2)]
        for service in self.services:
            self._boot(service)
        self.agents = [n["name"] for n in self.topology["nodes"]]
        self._employ()

    def _employ(self) -> None:
        self.worker = MemoryTransport(self.broker)
        at_once(self.worker.connect())
        at_once(self.worker.declare_steps(self.agents))
        self.desk = at_once(self.worker.consume([step_queue(a) for a in self.agents], 1000))

    def _boot(self, service: Service) -> None:
        if service.transport is not None:
            if service.task is not None:
                service.task.close()
            at_once(service.transport.close())
        service.task = None
        service.transport = MemoryTransport(self.broker)
        at_once(service.transport.connect())
        service.inbox = at_once(service.transport.consume([service.queue], 1000))
        service.handler = Handler(
            service.decider(),
            SeamStore(self.store),  # type: ignore[arg-type]
            SeamTransport(service.transport),  # type: ignore[arg-type]
            clock=lambda: self.now,
            new_id=self._new_id,
            cache=StateCache(),
        )

    def _new_id(self) -> UUID:
        self.ids += 1
        return UUID(int=(self.schedule << 64) + self.ids)

    def play(self) -> "World":
        """Publish the request and let the seed decide until the run is over."""
        if self.fork is not None:
            self.send("run.fork", {"new_run_id": str(self.run_id), **self.fork})
        else:
            body = {"run_id": str(self.run_id), "task": "go", "topology": self.topology, "config": self.config}
            self.send("run.requested", body)
        for _ in range(200_000):
            if not self._move():
                if self.over:
                    return self
                self._wait()
        raise Stuck(f"{self.replay}: no end in sight")

    @property
    def replay(self) -> str:
        return f"python -m tests.simulation --seed {self.seed} --schedule {self.schedule}"

    @property
    def status(self) -> str:
        row = self.store.tables["run_rows"].get((self.run_id,))
        return str(row["status"]) if row else "unknown"

    @property
    def over(self) -> bool:
        return self.status in ("completed", "failed", "rejected", "cancelled")

    def rows(self, table: str) -> list[JSON]:
        """The run's rows of a table."""
        return [r for r in self.store.tables[table].values() if r["run_id"] == self.run_id]

    def send(self, key: str, body: JSON) -> None:
        """Publish a message, with faults sometimes twice."""
        outgoing = Outgoing(key, orjson.dumps(body), self._new_id(), "", str(self.run_id))
        at_once(self.worker.publish([outgoing]))
        if self.faults and self.random.random() < 0.05:
            at_once(self.worker.publish([outgoing]))

    def _move(self) -> bool:
        """One seam of one party, chosen by chance; False when all are idle."""
        parties: list[Service | Outsiders | None] = [*self.services, None, self.outsiders]
        self.random.shuffle(parties)
        return any(self._turn(party) for party in parties)

    def _turn(self, party: "Service | Outsiders | None") -> bool:
        if isinstance(party, Outsiders):
            return party.act()
        return self._work() if party is None else self._advance(party)

    def _advance(self, service: Service) -> bool:
        if service.task is None:
            deliveries = service.inbox.poll(self.random.choice([1, 1, 2, 8, 256]))
            if not deliveries:
                return False
            self.random.shuffle(deliveries)
            service.task = service.handler.process(deliveries, SeamInbox(service.inbox))
        if self.faults and self.random.random() < 0.01 and self.kills < 20:
            self.kills += 1
            self._boot(service)
            return True
        try:
            service.task.send(None)
        except StopIteration:
            service.task = None
        return True

    def _work(self) -> bool:
        """A worker takes one step; it may die before the ack, so that another answers it again."""
        steps = self.desk.poll(1)
        if not steps:
            return False
        step = orjson.loads(steps[0].body)
        self._answer(step)
        if self.faults and self.random.random() < 0.03:
            at_once(self.desk.requeue(steps))
        else:
            at_once(self.desk.ack(steps))
        if not self.lost_broker and self.random.random() < 0.005:
            self._lose_broker()
        return True

    def reply(self, step: JSON) -> tuple[str, dict[str, JSON]]:
        """What an agent's attempt comes to."""
        return answers.agent(self.seed, self.loose, step)

    def person(self, request: JSON) -> JSON:
        """What a person says."""
        return answers.person(self.seed, request)

    def _answer(self, step: JSON) -> None:
        outcome, fields = self.reply(step)
        self.send(f"step.{outcome}", {k: step[k] for k in ("run_id", "branch_id", "step_id", "attempt")} | fields)

    def _lose_broker(self) -> None:
        """All queues are gone, everybody starts anew, `recover` publishes what is owed."""
        self.lost_broker = True
        if self.status == "unknown":
            return
        self.broker = MemoryBroker()
        for service in self.services:
            self._boot(service)
        self._employ()
        at_once(recover(self.store, self.worker, self.now))

    def _wait(self) -> None:
        """Nothing moves: people hurry, or the clock goes to the next timer."""
        if self.outsiders.answer(again=True) or self.outsiders.resume():
            return
        due = [r["due_at"] for r in self.rows("timers") if r["due_at"] is not None]
        if not due:
            raise Stuck(f"{self.replay}: {self.status}, nothing pending")
        self.now = max(self.now + timedelta(seconds=1), min(due))
        at_once(wake(self.store, self.worker, self.now))

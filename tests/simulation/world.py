"""One run, or a few, of random topologies in a seeded world: routers, supervisors, workers, people, broker, clocks.

All services are production's: the lifecycle that opens and reopens, the loops, handlers and deciders, the timers, the
worker with its slots, deadlines, drains and lost connections. They run in one thread and in virtual time
(`loop`), on memory ports with a seam at each call (`ports`), where a seed says what goes wrong (`faults`).

Theory of sizes. Most defects of a protocol show in a small world if every interleaving of it is likely to come up,
and what it takes (a fork in a fork, a convergence that was left, a conversation in a cycle) is little. So of a
hundred worlds 50 are tiny (2 agents, at most 2 steps a branch, forks of 2 in 1 level), 38 small (2 or 3 agents, 3
steps), 10 middling (3 to 5 agents, 5 steps, forks of 3 in 2 levels) and 2 large (4 to 9 agents, 8 steps, forks of 4
in 3 levels). All features are in all of them; two of each service are in every fourth.
Of ten worlds four hold one run, the others two or three that have nothing to do with each other.
In half of the faulty ones supervisors keep the watch; in the others an operator runs `recover` after a wipe.
"""

import logging
from collections import Counter
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import orjson
import structlog

from anabranch.branch_supervisor.app import TICK_SECONDS
from anabranch.runtime.lines import Shares
from anabranch.runtime.memory.store import MemoryStore
from anabranch.runtime.memory.transport import MemoryBroker
from anabranch.runtime.ports import Outgoing
from anabranch_contracts.addresses import PARKED_QUEUE
from tests.simulation.acks import Ledger
from tests.simulation.answers import Cast, person
from tests.simulation.faults import Faults, Numbers
from tests.simulation.loop import SeededLoop
from tests.simulation.process import Process
from tests.simulation.run import Run, drawn

JSON = Any
START = datetime(2026, 1, 1, tzinfo=UTC)
LONGEST = 100_000  # steps of the loop
LATEST = 30.0  # seconds that a message may be on its way
IDLE_TICKS = 40
SILENT = structlog.make_filtering_bound_logger(logging.CRITICAL)


class Stuck(AssertionError):
    """The run is not over and nothing is left to do."""


class Broker(MemoryBroker):
    """A broker on whose ways messages are late, or come twice."""

    def __init__(self, world: "World") -> None:
        super().__init__()
        self._world = world
        self._deliver = super().route

    def part(self) -> None:
        """Nobody listens any more."""
        del self._world, self._deliver
        self.signals.clear()
        for queue in self.queues.values():
            queue.watchers.clear()

    def direct(self, message: Outgoing) -> None:
        self._world.ledger.replied(message)
        super().direct(message)

    def route(self, message: Outgoing) -> None:
        self._world.ledger.published(message, self._world.loop.steps)
        faults = self._world.faults
        faults.left_on_way -= 1
        fault = faults.on_way() if faults.left_on_way <= 0 else None
        if fault is not None:
            self._world.later(self._world.random.random() * LATEST, self._deliver, message)
        if fault != "late":
            self._deliver(message)


@dataclass
class World:
    """Everything, with the run of the seed and so many beside it."""

    seed: int
    schedule: int
    faulty: bool = True
    topology: JSON = None
    config: JSON = None
    fork: JSON = None
    only: Numbers | None = None
    store: MemoryStore = field(default_factory=MemoryStore)
    beside: int = 0

    def __post_init__(self) -> None:
        self.random = Random(self.schedule)
        self.toss = self.random.random
        self.loop = SeededLoop(self.random)
        self.faults = Faults(Random(self.schedule + 1), self.faulty, self.only)
        self.seen: Counter[str] = Counter()
        self.ledger = Ledger()
        self.misheard: list[str] = []
        self.ending = self.wiped = self.recovered = False
        self.ids = 0
        self.watched = self.faulty and self.random.random() < 0.5
        self.ticks = self.epoch = self.hurried = 0
        self.runs = drawn(self)
        self.topology, self.config, self.run_id = self.runs[0].topology, self.runs[0].config, self.runs[0].run_id
        self.by_id = {run.run_id: run for run in self.runs}
        self.cast = self.casting()
        self.broker = Broker(self)
        self.processes: list[Process] = []
        self.concurrency = self.random.choice((1, 2, 16))
        self.shares = self.random.choice((Shares(), Shares(2, 1), Shares(1, 1)))  # small ones are full at once
        self._populate()

    def _populate(self) -> None:
        spread = self.spread = self.random.choice((0.0, 0.0, 1.0, 3.0)) if self.faulty else 0.0
        each = self.random.choice((1, 1, 1, 2))
        for role in ("router", "supervisor", "worker") * each:
            self.processes.append(Process(self, role, self.random.uniform(-spread, spread)))

    def casting(self) -> Any:
        """The registry of agents."""
        return Cast({n["name"] for run in self.runs for n in run.topology["nodes"]}, self.by_id)

    def new_id(self) -> UUID:
        """Ids are counted."""
        self.ids += 1
        return UUID(int=(self.schedule % (1 << 60) << 64) + self.ids)

    def moment(self, skew: float = 0.0) -> datetime:
        """What time it is, on a clock that is so many seconds fast."""
        return START + timedelta(seconds=self.loop.now + skew)

    def play(self) -> "World":
        """Publish the requests and let the seed decide until all runs are over and everything is at rest."""
        told = structlog.get_config()
        structlog.configure(wrapper_class=SILENT)
        try:
            for run in self.runs:
                self._ask(run)
            self.loop.run(self._beat)
            while not self._at_rest():
                self.loop.run(self._beat)
            self.states = [state for process in self.processes for state in process.states()]
        finally:
            self.ending = True
            self.loop.bury(self.processes)
            self._part()
            structlog.configure(**told)
        return self

    def _part(self) -> None:
        """Who knew whom is forgotten, so that a world that nobody looks at is freed without a search for cycles."""
        for process in self.processes:
            process.__dict__.clear()
        self.processes.clear()
        self.broker.part()
        for run in self.runs:
            run.part()
        del self.cast

    def _ask(self, run: Run) -> None:
        """Now, or when others have begun."""
        if run is self.runs[0] or self.random.random() < 0.6:
            run.outsiders.ask()
        else:
            self.later(self.random.random() * LATEST, run.outsiders.ask)

    @property
    def stored(self) -> int:
        """The position of the last event."""
        return len(self.store.log)

    @property
    def status(self) -> str:
        return self.runs[0].status

    @property
    def over(self) -> bool:
        """Whether all runs are."""
        return all(run.over for run in self.runs)

    def rows(self, table: str) -> list[JSON]:
        """The first run's rows of a table."""
        return self.runs[0].rows(table)

    def waiting(self) -> dict[str, int]:
        """Queues in which something waits for a service, with how much."""
        queues = self.broker.queues.items()
        return {name: len(queue.ready) for name, queue in queues if queue.ready and name != PARKED_QUEUE}

    def send(self, key: str, body: JSON, about: str, reply_to: str | None = None) -> None:
        """Publish a message from outside."""
        content = body if isinstance(body, bytes) else orjson.dumps(body)
        message = Outgoing(key, content, self.new_id(), "", about, reply_to=reply_to)
        self.ledger.sent[str(message.message_id)] = self.stored
        self.broker.route(message)

    def person(self, request: JSON) -> JSON:
        """What a person says."""
        return person(self.by_id[request["run_id"]].seed, request)

    def later(self, seconds: float, callback: Callable[..., object], *args: Any) -> None:
        """Let something happen by itself, unless the broker is wiped before."""
        epoch = self.epoch

        def due() -> None:
            if epoch == self.epoch:
                callback(*args)

        self.loop.call_later(seconds, due, context=Context())

    def kill(self, process: Process) -> None:
        """As by `kill -9`; sometimes the broker notices only when heartbeats are missed. Another comes."""
        if self.ending:
            return
        self.loop.kill(process)
        if process.watches:
            self.store.watched = False
        for transport in process.transports:
            if self.random.random() < 0.8:
                transport.lose()
            else:
                self.loop.call_later(self.random.random() * 20, transport.lose, context=Context())
        self.processes.append(Process(self, process.role, process.skew))

    def purge(self) -> None:
        """One queue loses what is in it; the watch has to notice, or the operator knows. No second loss."""
        lost = [queue for name, queue in sorted(self.broker.queues.items()) if queue.ready and name != PARKED_QUEUE]
        if lost and not self.wiped:
            self.wiped = True
            self.random.choice(lost).ready.clear()

    def wipe(self) -> None:
        """The broker is another one, with nothing in it; once in a world."""
        if self.wiped:
            return
        self.wiped, self.epoch = True, self.epoch + 1
        for process in self.processes:
            for transport in process.transports:
                transport.lose()
        for queue in self.broker.queues.values():
            queue.ready.clear()
        self.broker.marks.clear()
        if self.random.random() < 0.5:
            self.processes.append(Process(self, "operator", 0.0))

    def _beat(self) -> int:
        """Now and then somebody outside acts, or a moment passes; says after how many steps of anybody again."""
        self.ticks = 0
        if self.loop.steps > LONGEST:
            raise Stuck("no end in sight")
        self.random.choice(self.runs).outsiders.act()
        if self.faulty and self.random.random() < 0.1:
            self.loop.advance(self.loop.now + self.random.random())
        return 1 + int(self.random.expovariate(1 / 25))

    def _at_rest(self) -> bool:
        """Nothing is ready: whether that is the end; else somebody acts or time goes on."""
        if self.wiped and not self.recovered and not self.watched and self.loop.next_alarm() is None:
            self.recovered = True
            self.processes.append(Process(self, "operator", 0.0))
            return False
        alarm, over = self.loop.next_alarm(), self.over
        if over and alarm is None and (self.ticks >= IDLE_TICKS or not self.waiting()):
            return True
        if not over and (alarm is None or self.random.random() < 0.5) and self._hurry():
            return False
        self._leap(alarm, over)
        return False

    def _hurry(self) -> bool:
        """Whether somebody outside did what a run waits for, and whatever they did before was taken notice of."""
        if self.hurried == self.loop.steps:
            return False
        self.hurried = self.loop.steps
        live = [run for run in self.runs if not run.over]
        self.random.shuffle(live)
        return any(run.outsiders.hurry() for run in live)

    def _leap(self, alarm: float | None, over: bool) -> None:
        """To the next moment at which somebody has something to do."""
        timers = () if over else self.store.tables["timers"].values()
        dues = [r["due_at"] for r in timers if r["due_at"] is not None]
        moments = [] if alarm is None else [alarm]
        if dues:
            slowest = max(0.0, *(-p.skew for p in self.processes))
            due = (min(dues) - START).total_seconds()
            moments.append(due if due > self.loop.now else max(due + slowest, self.loop.now + TICK_SECONDS))
        self.ticks = self.ticks + 1 if alarm is None else 0
        if self.ticks > IDLE_TICKS:
            raise Stuck(f"{[run.status for run in self.runs]}, nothing pending")
        looked = self.ticks and not self.ticks % 10  # nothing else helps: the watch looks for what was lost
        idle = self.loop.last_nap() if looked else self.loop.now + TICK_SECONDS
        self.loop.advance(min(moments, default=idle))

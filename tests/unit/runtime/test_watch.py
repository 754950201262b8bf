"""The watch over log and broker: each kind of loss is noticed, once, and what rests is let be."""

from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from structlog.testing import capture_logs

from anabranch.domain.suspects import GRACE, LEAVING
from anabranch.runtime.journal import Journal
from anabranch.runtime.memory.transport import MemoryBroker, MemoryTransport
from anabranch.runtime.ports import Denied, Depth, Outgoing, Unavailable
from anabranch.runtime.watch import Watch
from anabranch_contracts.addresses import ROUTER_QUEUE, SUPERVISOR_QUEUE, step_queue
from tests.unit.runtime.house import House

PAIR = {"nodes": ["A", "B"], "edges": ["A -> B"]}
FORK = {"nodes": ["A", "B", "C"], "edges": ["A -> B", "A -> C"], "entry": "A"}
BOTH = {"next_action": "parallel_invoke", "agents": ["B", "C"]}
ASKS = {"next_action": "ask_user", "prompt": "?"}
LATER = 1000.0


class Watched:
    """A house, and a watch over it whose clock only the test moves."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.now = datetime.now(UTC)
        self.watch = self.another()

    def another(self) -> Watch:
        return Watch(self.house.store, self.house.transport, lambda: self.now, every=30.0)

    async def look(self, seconds: float = 31.0) -> None:
        self.now += timedelta(seconds=seconds)
        await self.watch.look()

    async def ask(self, topology: object = PAIR, **config: object) -> UUID:
        run_id = uuid4()
        await self.house.tell("run.requested", {"run_id": run_id, "task": 1, "topology": topology, "config": config})
        return run_id

    async def steps(self, agent: str = "A") -> list[str]:
        """Ids of the steps in an agent's queue."""
        return [body["step_id"] for _, body in await self.house.taken(step_queue(agent))]

    def waiting(self, queue: str) -> int:
        return len(self.house.broker.queues[queue].ready)


@pytest.fixture
async def watched() -> AsyncIterator[Watched]:
    made = Watched(await House.opened())
    await made.watch.look()
    yield made


async def test_a_broker_that_was_wiped_is_given_all_that_is_owed(watched: Watched) -> None:
    await watched.ask()
    watched.house.broker = MemoryBroker()
    watched.house.transport = MemoryTransport(watched.house.broker)
    await watched.house.transport.connect()
    watched.watch = watched.another()
    await watched.look()
    assert await watched.steps() == ["b0#1"]
    await watched.look()
    assert await watched.steps() == [], "once"


async def test_a_database_without_a_mark_believes_the_broker(watched: Watched) -> None:
    await watched.ask()
    watched.house.store.known = None
    watched.house.broker.marks.clear()
    await watched.look()
    assert await watched.steps() == ["b0#1"], "the router's alone"
    assert len(watched.house.broker.marks) == 1


class Refusing(MemoryTransport):
    """A broker that lets nobody leave marks."""

    async def mark(self, mark: str) -> None:
        raise Denied("no marks here", "give the right")


async def test_who_may_leave_no_mark_says_so_once_and_goes_on_looking(
    watched: Watched,
) -> None:
    watched.house.transport = Refusing(watched.house.broker)
    watched.watch = watched.another()
    watched.house.broker.marks.clear()
    await watched.ask()
    with capture_logs() as said:
        await watched.look()
        assert await watched.steps() == ["b0#1", "b0#1"], "the router's, and once more: the mark was missing"
        watched.house.broker.queues[step_queue("A")].watchers.clear()
        for _ in range(3):
            await watched.look()
            watched.house.broker.queues[step_queue("A")].watchers.clear()
        await watched.look(LEAVING.total_seconds())
    assert await watched.steps() == ["b0#1"], "lost singly, it was found"
    assert [line["mend"] for line in said if line["log_level"] == "error"] == ["give the right"]


async def test_a_log_that_was_put_back_is_noticed(watched: Watched) -> None:
    """Its mark is older than the broker's."""
    await watched.ask()
    assert await watched.steps() == ["b0#1"]
    old, looks = watched.house.store.known, watched.house.store.looks
    await watched.look()
    assert watched.house.store.known != old
    watched.house.store.known, watched.house.store.looks = old, looks
    await watched.look()
    assert await watched.steps() == ["b0#1"]


async def test_a_mark_changes_only_with_the_log(watched: Watched) -> None:
    await watched.ask()
    for _ in range(3):
        await watched.look()
    known = watched.house.store.known
    await watched.look()
    assert watched.house.store.known == known and len(watched.house.broker.marks) == 1


async def test_what_was_asked_since_the_look_began_is_not_offered_twice(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the clock of who asked says."""
    await watched.ask()
    watched.house.broker.marks.clear()
    marked = watched.house.transport.marked

    async def meanwhile(mark: str) -> bool:
        monkeypatch.undo()
        await watched.ask()
        return await marked(mark)

    monkeypatch.setattr(watched.house.transport, "marked", meanwhile)
    await watched.look(-LATER)
    assert len(await watched.steps()) == 3, "the router's two, and the first again"


async def test_supervisors_on_two_brokers_do_not_recover_for_ever(watched: Watched) -> None:
    await watched.ask()
    other = Watched(watched.house)
    elsewhere = MemoryBroker()
    transport = MemoryTransport(elsewhere)
    await transport.connect()
    other.watch = Watch(watched.house.store, transport, lambda: other.now)
    await other.look()
    assert len(elsewhere.queues[step_queue("A")].ready) == 1, "it looks like a broker that was wiped"
    assert await watched.steps() == ["b0#1"]
    with capture_logs() as said:
        for _ in range(3):
            await watched.ask()
            await watched.look()
            await other.look()
    assert len(await watched.steps()) == 3 and len(elsewhere.queues[step_queue("A")].ready) == 1
    (line,) = [line for line in said if line["log_level"] == "error"]
    assert "another broker or virtual host" in line["event"] and "one database, one virtual host" in line["mend"]


class Failing(MemoryTransport):
    """A broker that takes so many messages and then no more."""

    room = 0

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        self.room -= len(messages)
        if self.room < 0:
            raise Unavailable("it takes no more")
        await super().publish(messages)


async def test_a_recovery_that_is_cut_off_goes_on_where_it_was_and_ever_later(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, broker = watched.house.store, watched.house.broker
    runs = sorted([await watched.ask() for _ in range(5)])
    live_runs = store.live_runs
    monkeypatch.setattr(store, "live_runs", lambda after=None: live_runs(after, 1))
    await watched.steps()
    broker.marks.clear()
    journal = Journal()

    async def tried(seconds: float, room: int) -> tuple[int, float]:
        """How many are offered with so much room by a look after so long, and for how long it rests if it fails."""
        transport = Failing(broker)
        transport.room = room
        watched.watch = Watch(store, transport, lambda: watched.now, journal=journal)
        with suppress(Unavailable):
            await watched.look(seconds)
        return len(await watched.steps()), watched.watch._pause()

    assert await tried(31, 2) == (2, 1)
    assert await tried(0.9, 5) == (0, pytest.approx(0.1)), "too early"
    assert await tried(0.1, 1) == (1, 1), "it gets ahead"
    assert await tried(1, 0) == (0, 2)
    assert await tried(2, 0) == (0, 4)
    assert (await tried(4, 9))[0] == 2, "the rest"
    assert journal.again_at is None and len(broker.marks) == 1 and len(runs) == 5


async def test_a_recovery_begins_anew_on_a_broker_that_was_wiped_again(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, live_runs = watched.house.store, watched.house.store.live_runs
    for _ in range(3):
        await watched.ask()
    monkeypatch.setattr(store, "live_runs", lambda after=None: live_runs(after, 1))
    journal, transport = Journal(), Failing(watched.house.broker)
    watched.house.broker.marks.clear()
    transport.room = 2
    watched.watch = Watch(store, transport, lambda: watched.now, journal=journal)
    with pytest.raises(Unavailable):
        await watched.look()
    transport.room = 9
    watched.house.broker.marks.clear()
    await watched.steps()
    await watched.look()
    assert len(await watched.steps()) == 3


async def test_a_second_watch_stands_back(watched: Watched) -> None:
    await watched.ask()
    watched.house.broker.marks.clear()
    async with watched.house.store.watch() as held:
        assert held
        await watched.look()
    assert not watched.house.broker.marks


async def test_a_step_without_queue_and_worker_is_offered_again_once(watched: Watched) -> None:
    await watched.ask()
    assert await watched.steps() == ["b0#1"]
    watched.house.broker.queues[step_queue("A")].watchers.clear()  # whoever took it is gone, and so is the message
    await watched.look()
    assert await watched.steps() == [], "he may be on his way out"
    watched.house.broker.queues[step_queue("A")].watchers.clear()
    await watched.look(LEAVING.total_seconds())
    assert watched.waiting(step_queue("A")) == 1
    for _ in range(3):
        await watched.look(LATER)
    assert await watched.steps() == ["b0#1"], "it waits in the queue now, once"


class Silent(MemoryTransport):
    """A broker that says of queues that nothing is there and nobody, until something is published; `sure` or not."""

    sure, spoken = True, False

    async def depth(self, queue: str) -> Depth | None:
        return await super().depth(queue) if self.spoken else Depth(0, 0, self.sure)

    async def publish(self, messages: Sequence[Outgoing]) -> None:
        self.spoken = self.spoken or bool(messages)
        await super().publish(messages)


@pytest.mark.parametrize(("sure", "offered"), [(True, 1), (False, 0)], ids=["wrong", "in doubt"])
async def test_a_queue_that_is_said_to_be_empty_is_tried_with_one_step(
    watched: Watched, sure: bool, offered: int
) -> None:
    for _ in range(3):
        await watched.ask()
    silent = Silent(watched.house.broker)
    silent.sure = sure
    watched.house.transport = silent
    watched.watch = watched.another()
    for _ in range(3):
        await watched.look(LEAVING.total_seconds())
    assert watched.waiting(step_queue("A")) == 3 + offered


async def test_the_steps_of_a_queue_that_was_buried_are_offered_again_once(watched: Watched) -> None:
    await watched.ask()
    await watched.ask()
    assert len(await watched.steps()) == 2
    await watched.house.transport.mark(step_queue("A"))
    await watched.look()
    assert await watched.steps() == ["b0#1", "b0#1"]
    await watched.look()
    assert await watched.steps() == []


async def test_a_step_in_a_hand_is_offered_again_when_its_time_is_over(watched: Watched) -> None:
    await watched.ask(step_timeout=600)
    await watched.steps()  # somebody takes it, and goes on listening
    await watched.look()
    await watched.look(600 + GRACE - 1)
    assert watched.waiting(step_queue("A")) == 0
    await watched.look(1)
    assert await watched.steps() == ["b0#1"]
    await watched.look(600)
    assert watched.waiting(step_queue("A")) == 0, "a hand has it again, and its time"
    await watched.look(GRACE)
    assert await watched.steps() == ["b0#1"]


async def test_a_step_that_may_take_for_ever_is_left_to_its_worker(watched: Watched) -> None:
    await watched.ask(step_timeout=None)
    await watched.steps()
    for _ in range(5):
        await watched.look(100_000)
    assert await watched.steps() == []


async def test_a_step_that_was_answered_is_not_offered(watched: Watched) -> None:
    run_id = await watched.ask()
    await watched.steps()
    await watched.house.reply(run_id, {"next_action": "final_response", "final_response": 1})
    for _ in range(3):
        await watched.look(LATER)
    assert await watched.steps() == []


async def test_what_nobody_woke_the_supervisor_for_is_made_good(watched: Watched) -> None:
    run_id = await watched.ask(FORK)
    await watched.house.tell_former("step.completed", run_id, BOTH)
    assert await watched.steps("B") == []
    await watched.look()
    assert watched.waiting(SUPERVISOR_QUEUE) == 0, "it may be on its way"
    await watched.look()
    await watched.house.settle()
    assert (await watched.steps("B"), await watched.steps("C")) == (["b0.f1.b0#1"], ["b0.f1.b1#1"])


async def test_a_lost_wake_up_is_given_again(watched: Watched) -> None:
    run_id = await watched.ask(FORK)
    await watched.house.tell_former("step.completed", run_id, BOTH)
    for _ in range(4):
        await watched.house.transport.purge(SUPERVISOR_QUEUE)
        await watched.look()
    assert watched.waiting(SUPERVISOR_QUEUE) == 1


async def test_runs_at_rest_are_looked_at_once(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = await watched.ask()
    waits = await watched.ask()
    await watched.house.reply(waits, ASKS)
    looked_at: list[UUID] = []
    standing = watched.house.store.standing_runs

    async def counted() -> list[UUID]:
        found = await standing()
        looked_at.extend(found)
        return found

    monkeypatch.setattr(watched.house.store, "standing_runs", counted)
    for _ in range(10):
        await watched.look()
    assert looked_at == [run_id], "who waits for a person is not looked at, whoever works once"
    assert watched.waiting(SUPERVISOR_QUEUE) == watched.waiting(ROUTER_QUEUE) == 0

"""A worker on the broker in memory: every delivery ends in exactly one result, and an ack after it."""

import asyncio
import dataclasses
import re
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from anabranch.agent_worker.app import Worker
from anabranch.agents.registry import Registry
from anabranch.runtime.memory.transport import MemoryBroker, MemoryTransport
from anabranch.runtime.ports import Delivery, Outgoing, Unavailable
from anabranch_contracts.addresses import step_queue
from anabranch_contracts.errors import RateLimited
from tests.integration.worker.wire import RUN, Asker, a_step, outgoing

DEEP: list[Any] = []
for _ in range(150):
    DEEP = [DEEP]


class Weather(BaseModel):
    at: datetime


@dataclasses.dataclass
class Place:
    name: str


class Gate:
    """An agent that says when it has begun, and ends when it is told to."""

    def __init__(self) -> None:
        self.begun: asyncio.Queue[Any] = asyncio.Queue()
        self.go = asyncio.Event()

    async def run(self, request: Any) -> Any:
        self.begun.put_nowait(request)
        await self.go.wait()
        return request


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker()


@pytest.fixture
async def asker(broker: MemoryBroker) -> Asker:
    transport = MemoryTransport(broker)
    await transport.connect()
    return await Asker.over(transport)


@asynccontextmanager
async def serving(worker: Worker) -> AsyncIterator[None]:
    running = asyncio.create_task(worker.run())
    await worker.ready.wait()
    yield
    await worker.stop()
    await running


def registry(**agents: Any) -> Registry:
    made = Registry()
    for name, implementation in agents.items():
        made.register(name, implementation)
    return made


def a_worker(broker: MemoryBroker, agents: Registry, **options: Any) -> Worker:
    return Worker(MemoryTransport(broker), agents, name="w1", **options)


def waiting(broker: MemoryBroker, agent: str) -> list[Delivery]:
    return list(broker.queues[step_queue(agent)].ready)


async def test_a_reply_becomes_step_completed(broker: MemoryBroker, asker: Asker) -> None:
    def echo(request: Any, *, ctx: Any) -> Any:
        ctx.report_usage(input_tokens=1)
        return {"echo": request}

    async with serving(a_worker(broker, registry(A=echo))):
        await asker.ask(a_step("A", "hi", step_id="0#1", attempt=2))
        delivery, body = await asker.result()
    assert delivery.routing_key == "step.completed"
    assert delivery.correlation_id == str(RUN)
    assert list(delivery.headers) == ["traceparent"]
    assert datetime.fromisoformat(body.pop("started_at")) <= datetime.fromisoformat(body.pop("finished_at"))
    place = {"run_id": str(RUN), "branch_id": "0", "step_id": "0#1", "attempt": 2}
    assert body == {**place, "worker": "w1", "response": {"echo": "hi"}, "usage": {"input_tokens": 1}}
    assert not waiting(broker, "A")


@pytest.mark.parametrize(
    ("reply", "response"),
    [
        (None, None),
        (Weather(at=datetime(2026, 1, 1, tzinfo=UTC)), {"at": "2026-01-01T00:00:00Z"}),
        ([Place("here"), datetime(2026, 1, 1, tzinfo=UTC)], [{"name": "here"}, "2026-01-01T00:00:00+00:00"]),
        ({1: {"b", "a"}}, {"1": ["a", "b"]}),
    ],
)
async def test_replies_are_made_json(broker: MemoryBroker, asker: Asker, reply: Any, response: Any) -> None:
    async with serving(a_worker(broker, registry(A=lambda: reply))):
        await asker.ask(a_step("A"))
        assert (await asker.result())[1]["response"] == response


@pytest.mark.parametrize("reply", [object(), DEEP, "x" * 9_000_000, 2**70, "\ud800"])
async def test_a_reply_that_nobody_could_read_fails_its_step(broker: MemoryBroker, asker: Asker, reply: Any) -> None:
    async with serving(a_worker(broker, registry(A=lambda: reply))):
        await asker.ask(a_step("A"))
        delivery, body = await asker.result()
    assert delivery.routing_key == "step.failed"
    assert (body["error"]["kind"], body["error"]["type"]) == ("terminal", "UnserialisableReply")


def raising(error: BaseException) -> Callable[[], Any]:
    async def agent() -> Any:
        raise error

    return agent


@pytest.mark.parametrize(
    ("agent", "error"),
    [
        (raising(ValueError("no")), {"kind": "transient", "type": "ValueError", "message": "no"}),
        (
            raising(RateLimited("busy", retry_after=3)),
            {"kind": "rate_limit", "type": "RateLimited", "message": "busy", "retry_after": 3.0},
        ),
        (
            raising(asyncio.CancelledError()),
            {"kind": "transient", "type": "RuntimeError", "message": "the agent cancelled itself"},
        ),
        (raising(TimeoutError("mine")), {"kind": "transient", "type": "TimeoutError", "message": "mine"}),
        (
            raising(SystemExit(1)),
            {"kind": "transient", "type": "AgentExited", "message": "the agent called exit(1)"},
        ),
    ],
)
async def test_what_an_agent_raises_becomes_step_failed(
    broker: MemoryBroker, asker: Asker, agent: Any, error: Any
) -> None:
    async with serving(a_worker(broker, registry(A=agent))):
        await asker.ask(a_step("A"))
        delivery, body = await asker.result()
    assert (delivery.routing_key, body["error"]) == ("step.failed", error)


@pytest.mark.parametrize("limit", [{"timeout": 0.02}, {"deadline": "in a moment"}, {"deadline": "past"}])
@pytest.mark.parametrize("agent", [lambda: threading.Event().wait(5), lambda: asyncio.Event().wait()])
async def test_a_step_that_takes_too_long_fails(
    broker: MemoryBroker, asker: Asker, limit: dict[str, Any], agent: Any
) -> None:
    moments = {"in a moment": 0.02, "past": -60}
    if "deadline" in limit:
        moment = datetime.now(UTC) + timedelta(seconds=moments[limit["deadline"]])
        limit = {"deadline": moment.isoformat()}
    async with serving(a_worker(broker, registry(A=agent))):
        await asker.ask(a_step("A", **limit))
        assert (await asker.result())[1]["error"]["type"] == "StepTimeout"


async def test_an_agent_that_will_not_be_cancelled_is_left_behind(broker: MemoryBroker, asker: Asker) -> None:
    never, calls = asyncio.Event(), 0

    async def once_stubborn() -> Any:
        nonlocal calls
        calls += 1
        while not never.is_set():
            try:
                await never.wait()
            except asyncio.CancelledError:
                continue

    async with serving(a_worker(broker, registry(A=once_stubborn, B=lambda: 1), concurrency=1)):
        await asker.ask(a_step("A", timeout=0.02))
        assert (await asker.result())[1]["error"]["type"] == "StepTimeout"
        await asker.ask(a_step("B"))
        assert (await asker.result())[1]["response"] == 1
    never.set()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"not json", "JSON"),
        (b'{"run_id": "7"}', "run_id"),
        (a_step("A", deadline="tomorrow").body, "deadline"),
        (b"[" * 100_000, "recursion|JSON"),
    ],
)
async def test_an_unreadable_step_is_parked_with_its_reason(
    broker: MemoryBroker, asker: Asker, body: bytes, reason: str
) -> None:
    async with serving(a_worker(broker, registry(A=lambda: 1))):
        await asker.ask(outgoing("A", body), a_step("A"))
        (parked,) = await asker.parked.take(1)
        assert (await asker.result())[1]["response"] == 1
    assert parked.body == body
    assert re.search(reason, parked.headers["reason"])


async def test_poison_fails_without_being_run(broker: MemoryBroker, asker: Asker) -> None:
    ran: list[Any] = []
    async with serving(a_worker(broker, registry(A=ran.append))):
        for count, kind in ((4, None), (5, "poison")):
            delivery = Delivery("step.requested.A", a_step("A").body, delivery_count=count, redelivered=True)
            broker.queues[step_queue("A")].put(delivery)
            assert (await asker.result())[1].get("error", {}).get("kind") == kind
    assert len(ran) == 1


async def test_a_step_for_an_agent_that_is_not_here_fails(broker: MemoryBroker, asker: Asker) -> None:
    async with serving(a_worker(broker, registry(A=lambda: 1))):
        await asker.ask(dataclasses.replace(a_step("B"), routing_key="step.requested.A"))
        assert (await asker.result())[1]["error"]["type"] == "UnknownAgent"


async def test_at_most_concurrency_steps_run_at_once(broker: MemoryBroker, asker: Asker) -> None:
    running, most = 0, 0

    async def counting() -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    agents = registry(A=counting, B=counting, C=counting)
    async with serving(a_worker(broker, agents, concurrency=3)):
        await asker.ask(*[a_step(name) for name in "ABC" for _ in range(20)])
        for _ in range(60):
            await asker.result()
    assert most == 3


async def test_a_duplicate_joins_the_step_in_hand(broker: MemoryBroker, asker: Asker) -> None:
    gate = Gate()
    async with serving(a_worker(broker, registry(A=gate))):
        step = a_step("A", "once")
        await asker.ask(step, step, a_step("A", "other"))
        assert [await gate.begun.get(), await gate.begun.get()] == ["once", "other"]
        gate.go.set()
        assert {(await asker.result())[1]["response"] for _ in range(2)} == {"once", "other"}
    assert gate.begun.empty()
    assert not waiting(broker, "A")


class Doubtful(MemoryTransport):
    """Two publishes fail: one that got through and one that did not."""

    def __init__(self, broker: MemoryBroker) -> None:
        super().__init__(broker)
        self.tried: list[Outgoing] = []

    async def publish(self, messages: Any) -> None:
        self.tried.extend(messages)
        if len(self.tried) != 1:
            await super().publish(messages)
        if len(self.tried) < 3:
            raise Unavailable("outcome unknown")


async def test_a_result_in_doubt_is_published_again_as_the_same_message(broker: MemoryBroker, asker: Asker) -> None:
    transport = Doubtful(broker)
    async with serving(Worker(transport, registry(A=lambda: 1))):
        await asker.ask(a_step("A"))
        ids = {(await asker.result())[0].message_id for _ in range(2)}
    assert len(transport.tried) == 3
    assert ids == {str(transport.tried[0].message_id)}


class Cut(MemoryTransport):
    """A connection that can be cut as RabbitMQ's is."""

    async def consume(self, queues: Any, prefetch: int) -> Any:
        inbox = await super().consume(queues, prefetch)
        take = inbox.take

        async def take_or_fail(limit: int) -> list[Delivery]:
            deliveries = await take(limit)
            if self._closed:
                raise Unavailable("the connection is gone")
            return deliveries

        inbox.take = take_or_fail  # type: ignore[method-assign]
        return inbox


async def test_a_step_in_hand_outlives_its_connection(broker: MemoryBroker, asker: Asker) -> None:
    gate, first = Gate(), Cut(broker)
    worker = Worker(first, registry(A=gate))
    running = asyncio.create_task(worker.run())
    await asker.ask(a_step("A", "kept"))
    await gate.begun.get()
    await first.close()
    with pytest.raises(Unavailable):
        await running
    assert waiting(broker, "A")[0].redelivered
    worker.attach(MemoryTransport(broker))
    async with serving(worker):
        gate.go.set()
        assert (await asker.result())[1]["response"] == "kept"
    assert gate.begun.empty()
    assert not waiting(broker, "A")


async def test_stop_finishes_what_runs_and_gives_back_what_does_not(broker: MemoryBroker, asker: Asker) -> None:
    gate = Gate()
    worker = a_worker(broker, registry(A=gate, B=gate), concurrency=1)
    running = asyncio.create_task(worker.run())
    await asker.ask(a_step("A", "runs"), a_step("A", "waits"))
    await gate.begun.get()
    await worker.stop()
    gate.go.set()
    await running
    assert (await asker.result())[1]["response"] == "runs"
    assert len(waiting(broker, "A")) == 1


async def test_what_does_not_finish_in_time_is_offered_to_others(broker: MemoryBroker, asker: Asker) -> None:
    gate = Gate()
    worker = a_worker(broker, registry(A=gate), drain_seconds=0.01)
    running = asyncio.create_task(worker.run())
    await asker.ask(a_step("A", "long"))
    await gate.begun.get()
    await worker.stop()
    await running
    assert [delivery.redelivered for delivery in waiting(broker, "A")] == [True]
    gate.go.set()
    async with serving(a_worker(broker, registry(A=gate))):
        assert (await asker.result())[1]["response"] == "long"


async def test_a_cancelled_worker_gives_everything_back(broker: MemoryBroker, asker: Asker) -> None:
    gate = Gate()
    running = asyncio.create_task(a_worker(broker, registry(A=gate)).run())
    await asker.ask(a_step("A"))
    await gate.begun.get()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert len(waiting(broker, "A")) == 1


async def test_a_defect_of_the_worker_ends_it(
    broker: MemoryBroker, asker: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise AssertionError("defect")

    monkeypatch.setattr("anabranch.agent_worker.app.result_message", broken)
    running = asyncio.create_task(a_worker(broker, registry(A=lambda: 1)).run())
    await asker.ask(a_step("A"))
    with pytest.raises(AssertionError, match="defect"):
        await running
    assert len(waiting(broker, "A")) == 1

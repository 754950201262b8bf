"""Every delivery ends in exactly one result, and an ack."""

import asyncio
import dataclasses
import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from anabranch.runtime.memory.transport import MemoryBroker
from anabranch.runtime.ports import Delivery
from anabranch_contracts.addresses import step_queue
from anabranch_contracts.errors import RateLimited
from tests.integration.worker.bench import PerQueue, registry, serving
from tests.integration.worker.wire import RUN, Asker, a_step, outgoing

DEEP: list[Any] = []
for _ in range(150):
    DEEP = [DEEP]


class Weather(BaseModel):
    at: datetime


@dataclasses.dataclass
class Place:
    name: str


async def test_a_reply_becomes_step_completed(broker: MemoryBroker, asker: Asker) -> None:
    def echo(request: Any, *, ctx: Any) -> Any:
        ctx.report_usage(input_tokens=1)
        return {"echo": request}

    async with serving(broker, registry(A=echo)):
        await asker.ask(a_step("A", "hi", step_id="0#1", attempt=2))
        delivery, body = await asker.result()
    assert delivery.routing_key == "step.completed"
    assert delivery.correlation_id == str(RUN)
    assert list(delivery.headers) == ["traceparent"]
    assert datetime.fromisoformat(body.pop("started_at")) <= datetime.fromisoformat(body.pop("finished_at"))
    place = {"run_id": str(RUN), "branch_id": "0", "step_id": "0#1", "attempt": 2}
    assert body == {**place, "worker": "w1", "response": {"echo": "hi"}, "usage": {"input_tokens": 1}}


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
    async with serving(broker, registry(A=lambda: reply)):
        await asker.ask(a_step("A"))
        assert (await asker.result())[1]["response"] == response


@pytest.mark.parametrize("reply", [object(), DEEP, "x" * 9_000_000, 2**70, "\ud800"])
async def test_a_reply_that_nobody_could_read_fails_its_step(broker: MemoryBroker, asker: Asker, reply: Any) -> None:
    async with serving(broker, registry(A=lambda: reply)):
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
    async with serving(broker, registry(A=agent)):
        await asker.ask(a_step("A"))
        delivery, body = await asker.result()
    assert (delivery.routing_key, body["error"]) == ("step.failed", error)


@pytest.mark.parametrize("limit", [{"timeout": 0.02}, {"deadline": "soon"}])
@pytest.mark.parametrize("agent", [lambda: threading.Event().wait(5), lambda: asyncio.Event().wait()])
async def test_a_step_that_takes_too_long_fails(
    broker: MemoryBroker, asker: Asker, limit: dict[str, Any], agent: Any
) -> None:
    if "deadline" in limit:
        limit = {"deadline": (datetime.now(UTC) + timedelta(seconds=0.02)).isoformat()}
    async with serving(broker, registry(A=agent)):
        await asker.ask(a_step("A", **limit))
        assert (await asker.result())[1]["error"]["type"] == "StepTimeout"


async def test_a_step_whose_deadline_has_passed_is_not_run(broker: MemoryBroker, asker: Asker) -> None:
    ran: list[Any] = []
    async with serving(broker, registry(A=ran.append)):
        await asker.ask(a_step("A", deadline="2020-01-01T00:00:00"))
        assert (await asker.result())[1]["error"]["type"] == "StepTimeout"
    assert ran == []


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

    async with serving(broker, registry(A=once_stubborn, B=lambda: 1), concurrency=1):
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
    async with serving(broker, registry(A=lambda: 1)):
        await asker.ask(outgoing("A", body), a_step("A"))
        (parked,) = await asker.parked.take(1)
        assert (await asker.result())[1]["response"] == 1
    assert parked.body == body
    assert re.search(reason, parked.headers["reason"])


async def test_poison_fails_without_being_run(broker: MemoryBroker, asker: Asker) -> None:
    ran: list[Any] = []
    async with serving(broker, registry(A=ran.append)):
        for count, kind in ((4, None), (5, "poison")):
            delivery = Delivery("step.requested.A", a_step("A").body, delivery_count=count, redelivered=True)
            broker.queues[step_queue("A")].put(delivery)
            assert (await asker.result())[1].get("error", {}).get("kind") == kind
    assert len(ran) == 1


async def test_a_step_for_an_agent_that_is_not_here_fails(broker: MemoryBroker, asker: Asker) -> None:
    async with serving(broker, registry(A=lambda: 1)):
        await asker.ask(a_step("B")._replace(routing_key="step.requested.A"))
        assert (await asker.result())[1]["error"]["type"] == "UnknownAgent"


async def test_at_most_concurrency_steps_run_at_once(broker: MemoryBroker, asker: Asker) -> None:
    running, most = 0, 0

    async def counting() -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        for _ in range(5):
            await asyncio.sleep(0)
        running -= 1

    agents = registry(A=counting, B=counting, C=counting)
    async with serving(broker, agents, PerQueue(broker), concurrency=3):
        await asker.ask(*[a_step(name) for name in "ABC" for _ in range(20)])
        for _ in range(60):
            await asker.result()
    assert most == 3

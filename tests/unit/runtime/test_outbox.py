"""What no broker would carry is said in a smaller way: a step fails, an outcome goes without its result."""

from typing import Any
from uuid import UUID

import pytest

from anabranch.runtime import outbox
from anabranch.runtime.recovery import recover
from anabranch_contracts.addresses import step_queue
from anabranch_contracts.reply_builders import parallel_invoke
from tests.unit.runtime.house import House

JSON = Any
RUN = UUID(int=7)
MOST = 3000
LARGE = "x" * MOST
FORGETFUL = {"name": "H", "memory": {"retention": "none"}}  # else it would carry what it said
HUB = {"nodes": [FORGETFUL, "W"], "edges": ["H <-> W"], "entry": "H"}


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "MOST_BYTES", MOST)


async def started(topology: JSON, **config: JSON) -> tuple[House, str]:
    """A run, and the queue at which its outcome is awaited."""
    house = await House.opened()
    queue = await house.transport.declare_reply_queue()
    await house.tell("run.requested", {"run_id": RUN, "task": "t", "topology": topology, "config": config}, queue)
    return house, queue


async def asked(house: House, agent: str) -> list[JSON]:
    return [body["request"] for _, body in await house.taken(step_queue(agent))]


async def test_a_step_that_is_too_large_fails_and_its_forks_policy_decides() -> None:
    house, _ = await started(HUB, convergence={"on_insufficient": "proceed"})
    assert await asked(house, "H") == ["t"]
    await house.reply(RUN, parallel_invoke(invocations=[{"agent": "W", "request": r} for r in (LARGE, "small")]))
    assert await asked(house, "W") == ["small"]
    await house.reply(RUN, "done", "b0.f1.b1#1")
    ((lost, there),) = await asked(house, "H")
    assert (lost["status"], lost["error"]["type"], there["result"]) == ("failed", "StepTooLarge", "done")
    assert f"the limit is {MOST}; hand over references" in lost["error"]["message"]


async def test_where_nothing_else_is_left_the_run_fails_and_says_why() -> None:
    house, queue = await started({"nodes": ["A", "B"], "edges": ["A -> B"]})
    await house.reply(RUN, LARGE)
    ((_, outcome),) = await house.taken(queue)
    assert outcome["status"] == "failed" and outcome["error"]["causes"][0]["type"] == "StepTooLarge"
    assert await asked(house, "B") == []


async def test_an_outcome_that_is_too_large_goes_without_its_result_and_says_how_large_it_is() -> None:
    house, queue = await started({"nodes": ["A"]})
    house.broker.queue("news", ["run.completed"])
    await house.reply(RUN, LARGE)
    for place in (queue, "news"):
        ((_, outcome),) = await house.taken(place)
        assert (outcome["status"], outcome["result"], outcome["result_count"]) == ("completed", None, 1)
        assert MOST < outcome["result_bytes"] < MOST + 500 and outcome["metrics"]["total_steps"] == 1
    assert house.store.streams[RUN][-1].event.result == LARGE


async def test_an_outcome_that_a_broker_carries_says_nothing_of_its_size() -> None:
    house, queue = await started({"nodes": ["A"]})
    await house.reply(RUN, LARGE[:1000])
    ((_, outcome),) = await house.taken(queue)
    assert outcome["result"] == LARGE[:1000] and "result_bytes" not in outcome


async def test_what_is_owed_after_a_crash_is_no_larger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    house, queue = await started({"nodes": ["A", "B"], "edges": ["A -> B"]})
    await house.reply(RUN, LARGE)
    assert await asked(house, "B") == [LARGE], "as a broker with more room would take it"
    monkeypatch.setattr(outbox, "MOST_BYTES", MOST)
    await recover(house.store, house.transport)
    await house.settle()
    ((_, outcome),) = await house.taken(queue)
    assert outcome["error"]["causes"][0]["type"] == "StepTooLarge" and await asked(house, "B") == []

"""The outcome of a run goes to everybody who asked for it, before its end and after it."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from tests.unit.runtime.house import House

JSON = Any
RUN, FORKED = UUID(int=7), UUID(int=8)
REQUEST = {"run_id": RUN, "task": "t", "topology": {"nodes": ["A"]}}
FORK = {"run_id": RUN, "new_run_id": FORKED, "at": 3}


async def heard(house: House, queue: str) -> list[tuple[str | None, JSON]]:
    """What has come to a queue since, in any order: for whom, and the result, or why there is none."""
    found = [(who, body.get("result", body.get("reason"))) for who, body in await house.taken(queue)]
    return sorted(found, key=str)


async def asked(house: House, run_id: UUID, reply_to: str, message_id: UUID | None = None) -> None:
    """Somebody asks for the run or the fork, always in the same words."""
    key, body = ("run.requested", REQUEST) if run_id == RUN else ("run.fork", FORK)
    await house.tell(key, body, reply_to, message_id)


async def started(run_id: UUID) -> tuple[House, list[str]]:
    """A run or a fork asked for from the first of three queues; what it is forked from, from the last."""
    house = await House.opened()
    queues = [await house.transport.declare_reply_queue() for _ in range(3)]
    if run_id == FORKED:
        await house.tell("run.requested", REQUEST, queues[2])
    await asked(house, run_id, queues[0])
    return house, queues


def told(queue: str, run_id: UUID) -> list[tuple[str, JSON]]:
    """The outcome, and that a command was accepted."""
    accepted = [(f"for {queue}", None)] if run_id == FORKED else []
    return [(f"for {queue}", "done"), *accepted]


EACH = pytest.mark.parametrize("run_id", [RUN, FORKED], ids=["run", "fork"])


@EACH
async def test_who_asks_for_the_same_run_meanwhile_is_told_too(run_id: UUID) -> None:
    house, (first, second, third) = await started(run_id)
    await asked(house, run_id, second)
    await house.reply(run_id, "done")
    assert await heard(house, first) == told(first, run_id)
    assert await heard(house, second) == told(second, run_id) and await heard(house, third) == []


@EACH
async def test_who_asks_after_its_end_is_told_at_once_and_nobody_else_again(run_id: UUID) -> None:
    house, (first, second, third) = await started(run_id)
    news = house.broker.queue("news", ["run.completed"])
    await house.reply(run_id, "done")
    await heard(house, first)
    for queue in (second, third, first):
        await asked(house, run_id, queue)
        assert await heard(house, queue) == told(queue, run_id)
    assert [await heard(house, queue) for queue in (first, second, third)] == [[], [], []]
    assert len(news.ready) == 1


@EACH
async def test_the_same_delivery_again_adds_nothing(run_id: UUID) -> None:
    house, (first, second, _) = await started(run_id)
    before, after = uuid4(), uuid4()
    await asked(house, run_id, second, before)
    for _ in range(2):
        recorded = house.events(run_id)
        await asked(house, run_id, second, before)
        await asked(house, run_id, first)
        assert house.events(run_id) == recorded
    await house.reply(run_id, "done")
    await asked(house, run_id, second, after)
    recorded = house.events(run_id)
    for message_id in (before, after):
        await asked(house, run_id, second, message_id)
    assert house.events(run_id) == recorded


@EACH
async def test_another_content_under_the_same_name_is_refused(run_id: UUID) -> None:
    house, (first, second, _) = await started(run_id)
    if run_id == RUN:
        await house.tell("run.requested", {**REQUEST, "task": "other"}, second)
    else:
        await house.tell("run.fork", {**FORK, "at": 2}, second)
    ((who, why),) = await heard(house, second)
    assert who == f"for {second}" and f"run {run_id} exists" in why
    await house.reply(run_id, "done")
    assert await heard(house, second) == [] and await heard(house, first) == told(first, run_id)


@EACH
@pytest.mark.parametrize("when", ["meanwhile", "after"])
async def test_the_same_message_from_elsewhere_is_no_repetition(run_id: UUID, when: str) -> None:
    """The message id is what makes asking safe to repeat; who repeats it may listen elsewhere by now."""
    house = await House.opened()
    first, second, source = [await house.transport.declare_reply_queue() for _ in range(3)]
    if run_id == FORKED:
        await house.tell("run.requested", REQUEST, source)
    message_id = uuid4()
    await asked(house, run_id, first, message_id)
    if when == "after":
        await house.reply(run_id, "done")
    await asked(house, run_id, second, message_id)
    if when == "meanwhile":
        await house.reply(run_id, "done")
    assert await heard(house, first) == told(first, run_id) and await heard(house, second) == told(second, run_id)


@pytest.mark.parametrize("of", ["the request", "the source's command"])
async def test_a_command_is_done_although_its_id_was_used_elsewhere(of: str) -> None:
    """By another service, or in the past that a fork has copied."""
    house, used = await House.opened(), uuid4()
    await house.tell("run.requested", REQUEST, message_id=used if of == "the request" else None)
    cancelled = RUN
    if of != "the request":
        await house.tell("run.pause", {"run_id": RUN}, message_id=used)
        await house.tell("run.fork", {**FORK, "at": 4})
        cancelled = FORKED
    await house.tell("run.cancel", {"run_id": cancelled}, message_id=used)
    assert house.events(cancelled)[-1] == "RunCancelled"

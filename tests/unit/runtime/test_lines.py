"""Lines: order within a run, a share for each, and no run in two hands."""

import asyncio
from uuid import UUID

from anabranch.domain.deciders import Input
from anabranch.runtime.lines import Lines
from anabranch.runtime.ports import Delivery
from anabranch.runtime.reading import Inbound
from anabranch_contracts import messages as m

BIG, SMALL, OTHER = (UUID(int=number) for number in range(1, 4))


def waiting(run_id: UUID, count: int = 1) -> list[Inbound]:
    message: Input = m.RecoverRun(run_id=run_id)
    return [Inbound(Delivery("run.recover", b""), message, run_id, UUID(int=number)) for number in range(count)]


def shown(batch: list[Inbound]) -> list[tuple[int, int]]:
    return [(one.run_id.int, one.message_id.int) for one in batch]


async def test_what_came_is_given_out_in_order() -> None:
    lines = Lines()
    lines.join([*waiting(BIG, 2), *waiting(SMALL)])
    assert shown(await lines.batch(10, 10)) == [(1, 0), (1, 1), (2, 0)]


async def test_nobody_takes_more_than_a_share_and_then_stands_behind_the_others() -> None:
    lines = Lines()
    lines.join([*waiting(BIG, 5), *waiting(SMALL)])
    first = await lines.batch(10, 2)
    assert shown(first) == [(1, 0), (1, 1), (2, 0)]
    lines.join([*waiting(SMALL), *waiting(OTHER)])
    lines.handled(first)
    assert shown(await lines.batch(3, 2)) == [(1, 2), (1, 3), (2, 0)]
    assert shown(await lines.batch(3, 2)) == [(3, 0)]


async def test_a_run_in_hand_waits() -> None:
    lines = Lines()
    lines.join(waiting(BIG, 3))
    first = await lines.batch(2, 2)
    next_one = asyncio.create_task(lines.batch(2, 2))
    await asyncio.sleep(0)
    assert not next_one.done()
    lines.join(waiting(SMALL))
    second = await next_one
    assert shown(second) == [(2, 0)]
    lines.handled(first)
    assert shown(await lines.batch(2, 2)) == [(1, 2)]


async def test_closing_lets_everybody_go() -> None:
    lines = Lines()
    waits = asyncio.create_task(lines.batch(2, 2))
    await asyncio.sleep(0)
    assert lines.close() == []
    assert await waits == []
    lines = Lines()
    lines.join(waiting(BIG, 2))
    assert shown(lines.close()) == [(1, 0), (1, 1)] and await lines.batch(2, 2) == []

"""Lines: order within a run, a share for each, and no run in two hands."""

import asyncio
from uuid import UUID

from anabranch.domain.deciders import Input
from anabranch.runtime.lines import BATCH, COMPANY_SECONDS, Lines, Shares
from anabranch.runtime.ports import Delivery
from anabranch.runtime.reading import Inbound
from anabranch_contracts import messages as m

ALONE, IN_COMPANY = Shares().alone, Shares().in_company
BIG, SMALL, OTHER = (UUID(int=number) for number in range(1, 4))


def waiting(run_id: UUID, count: int = 1, first: int = 0) -> list[Inbound]:
    message: Input = m.RecoverRun(run_id=run_id)
    return [Inbound(Delivery("run.recover", b""), message, run_id, UUID(int=first + i)) for i in range(count)]


def shown(batch: list[Inbound]) -> list[tuple[int, int]]:
    return [(one.run_id.int, one.message_id.int) for one in batch]


async def test_what_came_is_given_out_in_order() -> None:
    lines = Lines()
    lines.join([*waiting(BIG, 2), *waiting(SMALL), *waiting(BIG, 1, 2)])
    assert shown(await lines.batch()) == [(1, 0), (1, 1), (1, 2), (2, 0)]


async def test_who_is_alone_takes_more_than_who_has_company() -> None:
    lines = Lines()
    lines.join(waiting(BIG, 1000))
    first = await lines.batch()
    assert len(first) == ALONE
    lines.join(waiting(SMALL))
    lines.handled(first)
    second = await lines.batch()
    assert shown(second) == [(1, number) for number in range(ALONE, ALONE + IN_COMPANY)] + [(2, 0)]


async def test_company_is_remembered_for_a_while() -> None:
    lines, loop = Lines(), asyncio.get_running_loop()
    lines.join(waiting(SMALL))
    lines.join(waiting(BIG, 1000))
    first = await lines.batch()
    assert len(first) == 1 + IN_COMPANY
    lines.handled(first)
    lines.join(waiting(BIG))
    assert len(await lines.batch()) == IN_COMPANY
    lines._in_hand.clear()
    lines._other = (SMALL, loop.time() - COMPANY_SECONDS)
    assert len(await lines.batch()) == ALONE


async def test_who_was_given_a_share_stands_behind_the_others() -> None:
    lines = Lines()
    for run in range(BATCH):
        lines.join(waiting(UUID(int=run + 1), 2 * IN_COMPANY))
    first = await lines.batch()
    assert [one.run_id.int for one in first] == [run // IN_COMPANY + 1 for run in range(BATCH)]
    lines.handled(first)
    second = await lines.batch()
    assert second[0].run_id.int == BATCH // IN_COMPANY + 1


async def test_a_run_in_hand_waits() -> None:
    lines = Lines()
    lines.join(waiting(BIG, ALONE + 1))
    first = await lines.batch()
    waits = asyncio.create_task(lines.batch())
    await asyncio.sleep(0)
    assert not waits.done()
    lines.join(waiting(SMALL))
    assert shown(await waits) == [(2, 0)]
    lines.handled(first)
    assert shown(await lines.batch()) == [(1, ALONE)]


async def test_there_is_plenty_once_a_share_is_full_also_of_a_run_in_hand() -> None:
    lines = Lines()
    lines.join(waiting(BIG, 2 * ALONE - 1))
    await lines.batch()
    assert not lines.plenty()
    lines.join(waiting(BIG))
    assert lines.plenty()
    lines.join(waiting(SMALL))
    assert not lines.plenty(), "in company a share is smaller"
    for run in range(OTHER.int, OTHER.int + ALONE // IN_COMPANY - 1):
        lines.join(waiting(UUID(int=run), IN_COMPANY))
    assert lines.plenty()


async def test_a_run_is_held_by_one_at_a_time() -> None:
    lines = Lines()
    lines.join(waiting(BIG, ALONE + 1))
    first = await lines.batch()
    entered = asyncio.Event()

    async def hold() -> None:
        async with lines.held(first):
            entered.set()
            await asyncio.sleep(0)
            assert lines._in_hand == {BIG}

    holding = asyncio.create_task(hold())
    await asyncio.sleep(0)
    assert not entered.is_set()
    lines.handled(first)
    await holding
    assert shown(await lines.batch()) == [(1, ALONE)]


async def test_closing_lets_everybody_go() -> None:
    lines = Lines()
    waits = asyncio.create_task(lines.batch())
    await asyncio.sleep(0)
    assert lines.close() == []
    assert await waits == []
    lines = Lines()
    lines.join(waiting(BIG, 2))
    assert shown(lines.close()) == [(1, 0), (1, 1)] and await lines.batch() == []

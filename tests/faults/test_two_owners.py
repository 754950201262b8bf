"""Two that both believe a run or a step to be theirs: the log decides who was first."""

import asyncio
import time
from pathlib import Path
from uuid import UUID

import asyncpg
import orjson

from anabranch.runtime.ids import uuid7
from tests.faults.asking import all_over, persistent, rows
from tests.faults.test_matrix import asked, over, some
from tests.faults.test_no_zombies import until
from tests.faults.town import Inhabitant, Town
from tests.link import Link

CAUGHT = """SELECT count(*) FROM pg_stat_activity WHERE application_name = 'anabranch' AND state = 'idle in transaction'
AND client_port = ANY($1)"""
DISCARDED = "SELECT count(*) AS n FROM anabranch.events WHERE run_id = $1 AND type = 'StepResultDiscarded'"
RESULT = "SELECT result::text AS result FROM anabranch.runs WHERE run_id = $1"


async def _in_a_transaction(place: Town, link: Link) -> bool:
    connection = await asyncpg.connect(place.database.url)
    try:
        return bool(await connection.fetchval(CAUGHT, link.ports()))
    finally:
        await connection.close()


def _catch_in_the_middle(place: Town, router: Inhabitant, seconds: float = 60) -> dict[UUID, object]:
    """Stop the router while a transaction of its is open; the runs that were asked for to keep it busy."""
    runs, deadline = some(0), time.monotonic() + seconds
    while time.monotonic() < deadline:
        more = some(30)
        asyncio.run(asked(place, more))
        runs |= more
        for _ in range(40):
            router.process.freeze()
            if asyncio.run(_in_a_transaction(place, router.links["database"])):
                return dict(runs)
            router.process.thaw()
            time.sleep(0.003)
    raise AssertionError("the router was never caught in the middle of a transaction")


def test_a_router_that_stops_in_the_middle_of_a_batch_holds_nobody_up_and_changes_nothing_later(place: Town) -> None:
    router = place.services["router"][0]
    runs = _catch_in_the_middle(place, router)
    place.do([router.links["broker"]], Link.cut)  # the broker believes it dead and offers its batch to the other
    asyncio.run(over(place, runs, 60))
    router.process.thaw()
    router.process.await_ready()
    later = some(10)
    asyncio.run(asked(place, later))
    asyncio.run(over(place, later, 30))


async def _ask_the_waiter(place: Town, folder: Path) -> UUID:
    run_id = uuid7()
    body = {"run_id": str(run_id), "task": str(folder), "topology": {"nodes": ["Waiter"], "edges": []}}
    async with persistent(place.broker.url + "/") as asking:
        await asking.publish("run.requested", [body])
    return run_id


def _begun(folder: Path, count: int) -> list[int]:
    until(lambda: len(list(folder.glob("begun-*"))) >= count, 20)
    return [int(path.name.removeprefix("begun-")) for path in sorted(folder.glob("begun-*"))]


def test_a_worker_that_returns_after_its_step_was_given_to_another(place: Town, tmp_path: Path) -> None:
    run_id = asyncio.run(_ask_the_waiter(place, tmp_path))
    (first,) = _begun(tmp_path, 1)
    worker = next(w for w in place.services["worker"] if w.process.process and w.process.process.pid == first)
    worker.process.freeze()
    place.do([worker.links["broker"]], Link.cut)
    (second,) = set(_begun(tmp_path, 2)) - {first}
    (tmp_path / f"go-{second}").touch()
    asyncio.run(all_over(place.database.url, [run_id], 30))
    (tmp_path / f"go-{first}").touch()
    worker.process.thaw()
    until(lambda: asyncio.run(rows(place.database.url, DISCARDED, run_id))[0]["n"] == 1, 30)
    (row,) = asyncio.run(rows(place.database.url, RESULT, run_id))
    assert orjson.loads(row["result"]) == second
    worker.process.await_ready()

"""Who cannot work says so, at once and for as long; and goes on by itself when it can."""

import asyncio
import time
from collections.abc import Callable

import asyncpg
import pytest

from tests.faults.test_matrix import asked, over, some
from tests.faults.town import Town
from tests.link import Link
from tests.processes import Process

SAID_WITHIN = 12.0
LINKS = [
    ("router", "broker"),
    ("router", "database"),
    ("supervisor", "broker"),
    ("supervisor", "database"),
    ("worker", "broker"),
]
HALF = [pytest.param((way,), id=way, marks=pytest.mark.slow) for way in ("up", "down")]
DIRECTIONS = [pytest.param(("up", "down"), id="up/down"), *HALF]
READ_ONLY = "ALTER SYSTEM SET default_transaction_read_only = %s"


def until(true: Callable[[], bool], seconds: float) -> None:
    """Ask again and again; raises when it does not become true in time."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.1)


def unready(process: Process) -> None:
    """It says that it cannot work, and is still there."""
    until(lambda: not process.ready(), SAID_WITHIN)
    assert process.process is not None and process.process.poll() is None


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize(("service", "link"), LINKS)
def test_an_idle_service_notices_a_black_hole(place: Town, service: str, link: str, direction: tuple[str, ...]) -> None:
    inhabitant = place.services[service][0]
    held = [inhabitant.links[link]]
    place.do(held, lambda one: one.hold(*direction))
    unready(inhabitant.process)
    assert place.services[service][1].process.ready()
    place.do(held, Link.mend)
    inhabitant.process.await_ready()


def test_a_service_that_stands_still_does_not_say_that_it_is_ready(place: Town) -> None:
    process = place.services["router"][0].process
    process.freeze()
    assert not process.ready()
    process.thaw()
    process.await_ready()


@pytest.mark.parametrize("service", ["router", "supervisor", "worker"])
def test_a_service_whose_consumer_was_cancelled_consumes_again(place: Town, service: str) -> None:
    """Nobody else may come before they have noticed: a quorum queue that is made anew within milliseconds keeps its
    old consumers, and what it hands them reaches nobody (RabbitMQ 3.10)."""
    queue = {"router": "anabranch.router", "supervisor": "anabranch.supervisor", "worker": "anabranch.step.One"}
    asyncio.run(_deleted(place, queue[service]))
    for one in place.services[service]:
        unready(one.process)
    place.await_ready()
    runs = some(5)
    asyncio.run(asked(place, runs))
    asyncio.run(over(place, runs, 30))


async def _deleted(place: Town, queue: str) -> None:
    import aio_pika

    async with await aio_pika.connect(place.broker.url) as connection:
        await (await connection.channel()).queue_delete(queue)


async def _settings(place: Town, *statements: str) -> None:
    connection = await asyncpg.connect(place.database.url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


def test_a_database_that_only_reads_loses_and_parks_nothing(place: Town) -> None:
    deciders = [one.process for kind in ("router", "supervisor") for one in place.services[kind]]
    asyncio.run(_settings(place, READ_ONLY % "on", "SELECT pg_reload_conf()"))
    runs = some(20)
    asyncio.run(asked(place, runs))
    for process in deciders:
        unready(process)
    time.sleep(3)  # it says so for as long as it lasts
    assert not any(process.ready() for process in deciders)
    writable = "SET default_transaction_read_only = off"
    asyncio.run(_settings(place, writable, READ_ONLY % "off", "SELECT pg_reload_conf()"))
    asyncio.run(over(place, runs, 30))
    place.await_ready()


@pytest.mark.parametrize("alarm", ["disk", "memory"])
@pytest.mark.parametrize(
    "seconds", [pytest.param(8, id="for a moment"), pytest.param(90, id="for long", marks=pytest.mark.slow)]
)
def test_a_broker_that_takes_nothing_is_waited_for(place: Town, alarm: str, seconds: float) -> None:
    node = place.broker
    pids = [process.process.pid for process in place.everybody if process.process]
    runs = some(100)
    asyncio.run(asked(place, runs))
    command = {"disk": ("set_disk_free_limit", "100000GB"), "memory": ("set_vm_memory_high_watermark", "0")}
    node.control(*command[alarm])
    try:
        for process in place.everybody:
            unready(process)
        until_end = time.monotonic() + seconds
        while time.monotonic() < until_end:
            assert not any(process.ready() for process in place.everybody)
            time.sleep(0.5)
        assert int(node.control("list_connections", "pid").count("\n")) < 40, "connections pile up"
    finally:
        back = {"disk": ("set_disk_free_limit", "1MB"), "memory": ("set_vm_memory_high_watermark", "0.4")}
        node.control(*back[alarm])
    asyncio.run(over(place, runs, 60))
    place.await_ready()
    assert pids == [process.process.pid for process in place.everybody if process.process], "nobody had to end"

"""The broker loses what it had: what is still owed is published again from the log."""

import asyncio
from uuid import UUID

import orjson

from anabranch.runtime.ids import uuid7
from anabranch.runtime.ports import Outgoing, Unavailable
from anabranch.runtime.postgres.store import PostgresStore
from anabranch.runtime.rabbitmq.transport import RabbitTransport
from anabranch.runtime.recovery import recover
from anabranch_contracts.addresses import step_queue
from tests.faults.asking import all_over, persistent, rows
from tests.faults.test_matrix import asked, over, some
from tests.faults.test_no_zombies import until
from tests.faults.town import Town

ACCEPTED = "SELECT count(*) AS n FROM anabranch.runs WHERE run_id = ANY($1)"
REQUESTED = "SELECT count(*) AS n FROM anabranch.steps WHERE run_id = $1 AND status = 'requested'"


async def _recovered(place: Town) -> None:
    """In doubt again, as whoever operates it would do it."""
    store = PostgresStore(place.database.url)
    for _ in range(4):
        transport = RabbitTransport(place.broker.url)
        try:
            await transport.connect()
            await recover(store, transport)
            break
        except Unavailable as doubt:
            print(doubt)
        finally:
            await transport.close()
    else:
        raise AssertionError("what is owed could not be published")
    await store.close()


def _count(place: Town, statement: str, parameter: object) -> int:
    return int(asyncio.run(rows(place.database.url, statement, parameter))[0]["n"])


def test_runs_in_flight_survive_a_broker_whose_data_is_gone(place: Town) -> None:
    runs = some(200)
    asyncio.run(asked(place, runs))
    until(lambda: _count(place, ACCEPTED, list(runs)) == len(runs), 60)
    place.broker.wipe()
    place.broker.start()
    place.await_ready()
    asyncio.run(_recovered(place))
    asyncio.run(over(place, runs, 60))


async def _served_by_a_stranger(place: Town, agent: str) -> None:
    """Anybody who takes the step and answers it."""
    transport = RabbitTransport(place.broker.url)
    await transport.connect()
    await transport.declare_steps([agent])
    inbox = await transport.consume([step_queue(agent)], 10)
    async with asyncio.timeout(30):
        taken = await inbox.take(1)
    asked_for = orjson.loads(taken[0].body)
    identity = {key: asked_for[key] for key in ("run_id", "branch_id", "step_id", "attempt")}
    body = orjson.dumps({**identity, "response": "here"})
    await transport.publish([Outgoing("step.completed", body, uuid7(), "StepCompleted", asked_for["run_id"])])
    await inbox.ack(taken)
    await transport.close()


async def _ask_for(place: Town, agent: str) -> UUID:
    run_id = uuid7()
    body = {"run_id": str(run_id), "task": "go", "topology": {"nodes": [agent], "edges": []}}
    async with persistent(place.broker.url + "/") as asking:
        await asking.publish("run.requested", [body])
    return run_id


def test_a_queue_that_was_declared_just_before_the_broker_died(place: Town) -> None:
    """RabbitMQ 3.10 may forget what it confirmed to a quorum queue less than two seconds old; the log does not."""
    agent = f"Late{uuid7().hex[:8]}"
    run_id = asyncio.run(_ask_for(place, agent))
    until(lambda: _count(place, REQUESTED, run_id) == 1, 30)
    place.broker.kill()
    place.broker.start()
    place.await_ready()
    asyncio.run(_recovered(place))
    asyncio.run(_served_by_a_stranger(place, agent))
    asyncio.run(all_over(place.database.url, [run_id], 30))

"""What people and messages say is a value, whatever it looks like: to SQL, to the broker, to the command line."""

import asyncio
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import orjson
import pytest

from anabranch.runtime.ports import Outgoing
from anabranch.runtime.rabbitmq.parties import CLIENT, OPERATOR
from anabranch.runtime.rabbitmq.transport import RabbitTransport
from anabranch_contracts.addresses import PARKED_QUEUE, ROUTER_QUEUE, SUPERVISOR_QUEUE, step_queue
from tests.security.house import House, secrets
from tests.security.locked import Locked
from tests.security.test_locked_house import command

EVIL = "Robert'); DROP TABLE anabranch.events; --"
SAID = [EVIL, "' OR '1'='1", "%", "_%", '"; SELECT pg_sleep(10); --', "$1", "\\'; COMMIT; --", "{0}{run_id}%s"]


async def ask(url: str, key: str, reply_to: str | None = None, **body: Any) -> None:
    """Publish one message as a client."""
    transport = RabbitTransport(url, party=CLIENT)
    await transport.connect()
    await transport.publish([Outgoing(key, orjson.dumps(body), uuid4(), "", reply_to=reply_to)])
    await transport.close()


async def rows(servers: Locked, statement: str, *values: Any, least: int = 1) -> list[Any]:
    """Rows of the database, once there are so many."""
    connection = await asyncpg.connect(servers.superuser)
    try:
        async with asyncio.timeout(30):
            while len(found := await connection.fetch(statement, *values)) < least:  # noqa: ASYNC110 - SQL has no signal
                await asyncio.sleep(0.05)
        return list(found)
    finally:
        await connection.close()


async def test_names_labels_and_tasks_are_stored_as_they_were_said(servers: Locked, services: House) -> None:
    run_id = str(uuid4())
    said = {"task": EVIL, "labels": {EVIL: EVIL}, "context": {EVIL: [EVIL]}, "topology": {"nodes": [EVIL]}}
    await ask(servers.amqp("client"), "run.requested", run_id=run_id, **said)
    (step,) = await rows(servers, "SELECT agent FROM anabranch.steps WHERE run_id = $1", run_id)
    (run,) = await rows(servers, "SELECT * FROM anabranch.runs WHERE run_id = $1", run_id)
    assert step["agent"] == EVIL and orjson.loads(run["task"]) == EVIL
    assert orjson.loads(run["labels"]) == {EVIL: EVIL}
    await ask(servers.amqp("client"), "run.cancel", run_id=run_id, reason=EVIL, branch_id=None)
    ended = "SELECT error FROM anabranch.runs WHERE run_id = $1 AND status = 'cancelled'"
    assert await rows(servers, ended, run_id)


@pytest.mark.parametrize("said", SAID)
async def test_the_command_line_passes_values_on(servers: Locked, services: House, tmp_path: Path, said: str) -> None:
    await ask(servers.amqp("client"), "run.requested", run_id=str(uuid4()), task=1, topology={"nodes": ["Nobody"]})
    given = secrets(tmp_path, servers, "operator", "operator")
    for arguments in (["show", said], ["cancel", said, "--reason", EVIL], ["respond", said, EVIL]):
        done = await asyncio.to_thread(command, tmp_path, given, *arguments)
        assert done.returncode == 2 and "Traceback" not in done.stderr, (arguments, done.stdout, done.stderr)


STOLEN = [ROUTER_QUEUE, SUPERVISOR_QUEUE, PARKED_QUEUE, step_queue("Reader"), "anabranch.signals.x"]


@pytest.mark.parametrize("queue", STOLEN)
async def test_no_service_answers_into_a_queue_of_the_services(servers: Locked, services: House, queue: str) -> None:
    """They may write everywhere: whoever asks them to must not choose where."""
    run_id = str(uuid4())
    watching = RabbitTransport(servers.amqp("operator"), party=OPERATOR)
    await watching.connect()
    parked = await watching.consume([PARKED_QUEUE], 100)
    asked = {"run_id": run_id, "task": 1, "topology": {"nodes": []}}  # it would be rejected, and answered, at once
    await ask(servers.amqp("client"), "run.requested", queue, **asked)
    await ask(servers.amqp("client"), "run.pause", queue, run_id=run_id)
    found = []
    async with asyncio.timeout(30):
        while len(found) < 2:
            taken = await parked.take(100)
            await parked.ack(taken)
            found += [d for d in taken if run_id.encode() in d.body]
    reasons = {str(d.headers["reason"]) for d in found}
    assert reasons == {f"reply_to {queue!r} is a queue of the services; name one of your own"}
    assert {d.headers["routing-key"] for d in found} == {"run.requested", "run.pause"}
    assert {d.routing_key for d in found} == {"parked.router", "parked.supervisor"}
    await watching.close()
    assert await rows(servers, "SELECT 1 FROM anabranch.events WHERE run_id = $1", run_id, least=0) == []


async def test_what_a_worker_made_up_is_not_replayed(servers: Locked, services: House, tmp_path: Path) -> None:
    """A worker may set steps aside; that an operator replays them gives it no other right."""
    import aio_pika

    run_id = str(uuid4())
    async with await aio_pika.connect(servers.amqp("worker")) as connection:
        channel = await connection.channel()
        exchange = await channel.get_exchange("anabranch", ensure=False)
        body = orjson.dumps({"run_id": run_id, "task": 1, "topology": {"nodes": ["Nobody"]}})
        forged = aio_pika.Message(body, headers={"routing-key": "run.requested", "reason": "trust me"})
        await exchange.publish(forged, "parked.worker")
    given = secrets(tmp_path, servers, "operator", None)
    for arguments in (["parked", "replay", "--json"], ["parked", "list", "--json"]):
        done = await asyncio.to_thread(command, tmp_path, given, *arguments)
        assert (run_id in done.stdout) == ("list" in arguments), (done.stdout, done.stderr)
    assert await rows(servers, "SELECT 1 FROM anabranch.events WHERE run_id = $1", run_id, least=0) == []

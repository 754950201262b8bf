"""`anabranch recover`: supervisors that start after it find nothing to do."""

import asyncio
from uuid import uuid4

import orjson
import pytest
import structlog
from structlog.testing import capture_logs

from anabranch.cli.main import main
from anabranch.domain.deciders import Router
from anabranch.runtime.handler import Handler, utcnow
from anabranch.runtime.ports import Outgoing
from anabranch.runtime.postgres.store import PostgresStore
from anabranch.runtime.rabbitmq.transport import RabbitTransport
from anabranch.runtime.watch import Watch
from anabranch_contracts.addresses import ROUTER_QUEUE, step_queue
from tests.services import fresh_vhost, wipe
from tests.unit.runtime.house import through

PAIR = {"nodes": ["A", "B"], "edges": ["A -> B"]}


async def opened(url: str) -> RabbitTransport:
    transport = RabbitTransport(url)
    await transport.connect()
    return transport


async def a_run(store: PostgresStore, transport: RabbitTransport) -> None:
    """One that waits for its first step."""
    body = orjson.dumps({"run_id": str(uuid4()), "task": 1, "topology": PAIR})
    await transport.publish([Outgoing("run.requested", body, uuid4(), "")])
    inbox = await transport.consume([ROUTER_QUEUE], 10)
    async with asyncio.timeout(20):
        await through(Handler(Router(), store, transport), await inbox.take(10), inbox)


@pytest.mark.parametrize("arguments", [[], ["--after-restore"]], ids=["all", "after a restore"])
async def test_whoever_starts_after_a_recovery_does_not_offer_all_of_it_again(
    database_url: str, amqp_url: str, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setenv("ANABRANCH_DATABASE_URL", database_url)
    monkeypatch.setenv("ANABRANCH_AMQP_URL", amqp_url)
    store, transport = PostgresStore(database_url), await opened(amqp_url)
    await Watch(store, transport, utcnow).look()
    await a_run(store, transport)
    await transport.close()
    await asyncio.to_thread(wipe, amqp_url)
    with pytest.raises(SystemExit) as left:
        await asyncio.to_thread(main, ["recover", *arguments])
    structlog.reset_defaults()
    assert not left.value.code
    transport = await opened(amqp_url)
    with capture_logs() as said:
        await Watch(store, transport, utcnow).look()
    assert not [line for line in said if "publishing again" in line["event"]]
    depth = await transport.depth(step_queue("A"))
    assert depth is not None and depth.ready == 1
    await transport.close()
    await store.close()


async def test_supervisors_on_two_virtual_hosts_stand_back_and_say_so(
    database_url: str, amqp_url: str, rabbitmq_server: str
) -> None:
    store = PostgresStore(database_url)
    with fresh_vhost(rabbitmq_server) as other_url:
        here, there = await opened(amqp_url), await opened(other_url)
        ours, theirs = Watch(store, here, utcnow), Watch(store, there, utcnow)
        await ours.look()
        await a_run(store, here)
        with capture_logs() as said:
            for _ in range(3):
                await theirs.look()
                await ours.look()
        await here.close()
        await there.close()
    await store.close()
    assert [line["event"].partition(":")[0] for line in said] == [
        "the broker does not know this database's mark",
        "offered again",
        "supervisors on another broker or virtual host use this database too",
    ]

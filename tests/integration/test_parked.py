"""Parked messages on RabbitMQ by the command line: looking changes nothing, and nothing is lost by who acts on them."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import orjson
import pytest
import structlog

from anabranch.cli.main import main
from anabranch.runtime import parked
from anabranch.runtime.ports import Delivery
from anabranch.runtime.rabbitmq.transport import RabbitTransport
from anabranch_contracts.addresses import PARKED_QUEUE, ROUTER_QUEUE

COUNT = 5
IDS = [str(UUID(int=(10 + i) << 120)) for i in range(COUNT)]


@pytest.fixture
async def broker(amqp_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RabbitTransport]:
    monkeypatch.setenv("ANABRANCH_AMQP_URL", amqp_url)
    transport = RabbitTransport(amqp_url)
    await transport.connect()
    for number, identity in enumerate(IDS):
        body = orjson.dumps({"number": number})
        await transport.park(
            Delivery("run.requested", body, identity, "c", headers={"traceparent": "t"}), f"why {number}"
        )
    yield transport
    await transport.close()
    structlog.reset_defaults()  # the commands log to the stderr of their test


async def anabranch(*arguments: str) -> int:
    """The exit code of the command; its loop is one of its own."""

    def run() -> int:
        with pytest.raises(SystemExit) as left:
            main(["parked", *arguments])
        return int(left.value.code or 0)

    return await asyncio.to_thread(run)


async def taken(transport: RabbitTransport, queue: str) -> list[Delivery]:
    """What a queue has, left there."""
    reader = RabbitTransport(transport._url)
    await reader.connect()
    depth = await reader.depth(queue)
    found: list[Delivery] = []
    if depth is not None and depth.ready:
        inbox = await reader.consume([queue], 100)
        async with asyncio.timeout(10):
            while len(found) < depth.ready:
                found += await inbox.take(100)
    await reader.close()
    return found


def numbers(found: list[Delivery]) -> list[int]:
    return [orjson.loads(delivery.body)["number"] for delivery in found]


async def test_looking_changes_neither_order_nor_number(
    broker: RabbitTransport, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(3):
        assert await anabranch("list", "--limit", "3", "--json") == 0
        rows = orjson.loads(capsys.readouterr().out)
        assert [(r["message_id"], r["reason"], r["routing_key"]) for r in rows] == [
            (IDS[i], f"why {i}", "run.requested") for i in range(3)
        ]
    assert await anabranch("list", "--skip", "3") == 0
    assert "why 4" in capsys.readouterr().out
    assert numbers(await taken(broker, PARKED_QUEUE)) == list(range(COUNT))


async def test_all_of_a_message_is_shown(broker: RabbitTransport, capsys: pytest.CaptureFixture[str]) -> None:
    assert await anabranch("show", IDS[2][:4]) == 0
    said = capsys.readouterr().out
    assert all(part in said for part in (IDS[2], "why 2", "header traceparent: t", '"number": 2', "correlation_id"))
    assert await anabranch("show", IDS[2], "--json") == 0
    assert orjson.loads(capsys.readouterr().out)["body"] == {"number": 2}
    assert await anabranch("show", "zz") == 2
    assert "no parked message" in capsys.readouterr().err


async def test_the_chosen_are_offered_again_under_their_identity(broker: RabbitTransport) -> None:
    assert await anabranch("replay", IDS[1], IDS[3]) == 0
    again = await taken(broker, ROUTER_QUEUE)
    assert numbers(again) == [1, 3] and [d.message_id for d in again] == [IDS[1], IDS[3]]
    assert again[0].headers["traceparent"] == "t" and "reason" not in again[0].headers
    assert numbers(await taken(broker, PARKED_QUEUE)) == [0, 2, 4]
    assert await anabranch("replay") == 0
    assert sorted(numbers(await taken(broker, ROUTER_QUEUE))) == list(range(COUNT))
    assert await taken(broker, PARKED_QUEUE) == []


async def test_what_cannot_be_delivered_stays(broker: RabbitTransport, capsys: pytest.CaptureFixture[str]) -> None:
    stranger = str(uuid4())
    await broker.park(Delivery("nobody.listens", b"{}", stranger), "unknown key")
    assert await anabranch("replay", "--all") == 1
    assert f"stays: {stranger}" in capsys.readouterr().err
    assert [d.message_id for d in await taken(broker, PARKED_QUEUE)] == [stranger]


async def test_dropping_needs_a_word_and_says_what(broker: RabbitTransport, capsys: pytest.CaptureFixture[str]) -> None:
    assert await anabranch("drop") == 2
    assert await anabranch("drop", IDS[0]) == 2, "nobody is there to be asked"
    assert "--yes" in capsys.readouterr().err
    assert await anabranch("drop", IDS[0], "--yes", "--json") == 0
    assert [row["reason"] for row in orjson.loads(capsys.readouterr().out)] == ["why 0"]
    assert numbers(await taken(broker, PARKED_QUEUE)) == [1, 2, 3, 4]
    assert await anabranch("drop", "--all", "--yes") == 0
    assert await taken(broker, PARKED_QUEUE) == []


async def test_one_that_is_parked_again_has_its_new_reason(broker: RabbitTransport) -> None:
    assert await anabranch("replay", IDS[0]) == 0
    inbox = await broker.consume([ROUTER_QUEUE], 1)
    async with asyncio.timeout(10):
        (again,) = await inbox.take(1)
    await broker.park(again, "another reason")
    await inbox.ack([again])
    last = (await taken(broker, PARKED_QUEUE))[-1]
    assert (last.message_id, last.headers["reason"], last.headers["routing-key"]) == (
        IDS[0],
        "another reason",
        "run.requested",
    )


async def test_who_dies_in_the_middle_loses_nothing(broker: RabbitTransport, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between publish and ack: both places have it, under one identity."""
    async with parked.opened(broker) as (inbox, found, there):
        assert there == COUNT

        async def dies(_: object) -> None:
            raise RuntimeError("killed")

        monkeypatch.setattr(inbox, "ack", dies)
        with pytest.raises(RuntimeError):
            await parked.replay(broker, inbox, found)
    await broker.close()
    other = RabbitTransport(broker._url)
    await other.connect()
    for queue in (ROUTER_QUEUE, PARKED_QUEUE):
        assert sorted(str(d.message_id) for d in await taken(other, queue)) == IDS
    await other.close()


async def test_what_the_broker_gave_up_says_so() -> None:
    death = {"reason": "delivery_limit", "queue": "anabranch.step.A", "routing-keys": ["step.requested.A"]}
    one = parked.parked(Delivery(PARKED_QUEUE, b"{}", "id", headers={"x-death": [death]}))
    assert (one.routing_key, one.reason) == ("step.requested.A", "delivery_limit in anabranch.step.A")


def test_what_a_client_says_of_a_message_that_the_broker_gave_up_is_not_believed() -> None:
    """Its headers were the client's: by the key it says, an operator's `replay` would publish for it."""
    death = {"reason": "delivery_limit", "queue": "anabranch.router", "routing-keys": ["run.requested"], "time": 5}
    said = {"routing-key": "step.completed", "reason": "mine", "parked-at": "never"}
    one = parked.parked(Delivery(PARKED_QUEUE, b"{}", "id", headers={**said, "x-death": [death]}))
    assert (one.routing_key, one.reason, one.since) == ("run.requested", "delivery_limit in anabranch.router", "5")


def test_a_message_from_elsewhere_is_shown_as_it_is() -> None:
    one = parked.parked(Delivery(PARKED_QUEUE, b"{}", None, headers={"x-death": "nonsense"}))
    assert (one.id, one.routing_key, one.reason) == ("", PARKED_QUEUE, "unknown in a queue")

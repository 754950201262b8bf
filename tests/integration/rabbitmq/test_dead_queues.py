"""A queue that is dead is buried, and its steps are offered again; one whose leader is silent is left alone."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest

from anabranch.runtime import restoring
from anabranch.runtime.ports import Depth, Outgoing, Unavailable
from anabranch.runtime.rabbitmq import dead_queues
from anabranch.runtime.rabbitmq.transport import RabbitTransport
from anabranch_contracts.addresses import step_key, step_queue
from tests.servers import Broker, broker
from tests.services import free_port, leader

AGENT, STEPS = "Slow", 3


def step(agent: str = AGENT) -> Outgoing:
    return Outgoing(step_key(agent), b"{}", uuid4(), "T")


@pytest.fixture
async def silent(amqp_url: str) -> AsyncIterator[RabbitTransport]:
    """A transport of little patience, and a queue with steps whose leader does not answer."""
    transport = RabbitTransport(amqp_url, publish_timeout=1)
    await transport.connect()
    await transport.publish([step() for _ in range(STEPS)])
    await asyncio.to_thread(leader, amqp_url, step_queue(AGENT), "suspend")
    yield transport
    await transport.close()


async def stands(url: str) -> Depth | None:
    """How the queue stands, asked anew."""
    transport = RabbitTransport(url)
    await transport.connect()
    try:
        return await transport.depth(step_queue(AGENT))
    finally:
        await transport.close()


async def test_a_leader_that_is_silent_keeps_its_queue(silent: RabbitTransport, amqp_url: str) -> None:
    depth = await silent.depth(step_queue(AGENT))
    assert depth is not None and not depth.sure and not depth.ready, "it has three"
    with pytest.raises(Unavailable):
        await silent.publish([step() for _ in range(50)])
    (burial,) = dead_queues.BURIALS.values()
    await burial
    await asyncio.to_thread(leader, amqp_url, step_queue(AGENT), "resume")
    async with asyncio.timeout(20):
        while (depth := await stands(amqp_url)) is not None and not depth.sure:  # noqa: ASYNC110 - it says nothing
            await asyncio.sleep(0.1)
    assert depth is not None and depth.ready >= STEPS


async def test_a_queue_that_does_not_say_whether_it_is_served_is_not_emptied(
    silent: RabbitTransport, amqp_url: str
) -> None:
    with pytest.raises(restoring.StillServed, match=f"does not say whether it is served: {step_queue(AGENT)}"):
        await restoring.clear(silent, [AGENT])
    await asyncio.to_thread(leader, amqp_url, step_queue(AGENT), "resume")


@pytest.fixture(scope="module")
def node() -> Iterator[Broker]:
    with broker((free_port(), free_port(), free_port())) as made:
        yield made


async def declared(url: str, agents: list[str]) -> None:
    """Each with a step in it."""
    transport = RabbitTransport(url)
    await transport.connect()
    for agent in agents:
        await transport.publish([step(agent)])


async def dead(url: str, agents: list[str]) -> list[str]:
    """Those that confirm nothing."""
    found = []
    for agent in agents:
        transport = RabbitTransport(url, publish_timeout=2)
        await transport.connect()
        try:
            await transport.publish([step(agent)])
        except Unavailable:
            found.append(agent)
        await transport.close()
    return found


async def test_a_dead_queue_is_buried_and_leaves_a_note(node: Broker) -> None:
    url = node.url + "/"
    for round_ in range(5):  # the broker dies too late, now and then
        agents = [f"Late{round_}.{number}" for number in range(8)]
        await declared(url, agents)
        await asyncio.to_thread(node.kill)
        await asyncio.to_thread(node.start)
        if gone := await dead(url, agents):
            break
    assert gone, "no queue died"
    await asyncio.gather(*dead_queues.BURIALS.values())
    transport = RabbitTransport(url)
    await transport.connect()
    stands = {agent: await transport.depth(step_queue(agent)) for agent in agents}
    assert [agent for agent, depth in stands.items() if depth is None] == gone
    assert [agent for agent in agents if await transport.marked(step_queue(agent))] == gone
    await transport.publish([step(agent) for agent in gone])
    await transport.close()

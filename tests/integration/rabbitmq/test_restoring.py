"""Queues of a future that was lost are emptied, whoever else may be at them."""

import asyncio
from collections.abc import Sequence
from uuid import uuid4

import pytest

from anabranch.runtime import restoring
from anabranch.runtime.ports import Outgoing
from anabranch.runtime.rabbitmq.inbox import RabbitInbox
from anabranch.runtime.rabbitmq.transport import RabbitTransport
from anabranch_contracts.addresses import ROUTER_QUEUE


async def test_who_empties_a_queue_does_not_wait_for_what_somebody_else_took(
    amqp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    transport, other = RabbitTransport(amqp_url), RabbitTransport(amqp_url)
    await transport.connect()
    await other.connect()
    await transport.publish([Outgoing("run.requested", b"{}", uuid4(), "T")])
    consume = transport.consume

    async def late(queues: Sequence[str], prefetch: int) -> RabbitInbox:
        assert await (await other.consume(queues, 10)).take(10)
        return await consume(queues, prefetch)

    monkeypatch.setattr(transport, "consume", late)
    async with asyncio.timeout(20):
        cleared = await restoring.clear(transport, [])
    assert cleared.kept == 0
    depth = await transport.depth(ROUTER_QUEUE)
    assert depth is not None and depth.ready == 0
    await transport.close()
    await other.close()

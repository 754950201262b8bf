"""What a queue was sent by a release before comes no longer, once its owner has connected."""

from uuid import uuid4

from anabranch.runtime.ports import Outgoing
from anabranch.runtime.rabbitmq.parties import ROUTER, SUPERVISOR
from anabranch.runtime.rabbitmq.transport import RabbitTransport
from anabranch_contracts.addresses import EXCHANGE, FORMER_KEYS, SUPERVISOR_QUEUE


async def test_the_owner_of_a_queue_lets_go_of_what_nobody_sends_it_now(amqp_url: str) -> None:
    router, supervisor = RabbitTransport(amqp_url, party=ROUTER), RabbitTransport(amqp_url, party=SUPERVISOR)
    await router.connect()
    for key in FORMER_KEYS[SUPERVISOR_QUEUE]:
        await router._errand().bind(SUPERVISOR_QUEUE, EXCHANGE, key)
    news = [Outgoing(key, b"{}", uuid4(), "", mandatory=False) for key in FORMER_KEYS[SUPERVISOR_QUEUE]]
    await router.publish(news)
    before = await router.depth(SUPERVISOR_QUEUE)
    assert before is not None and before.ready == len(news), "they came as long as they were bound"
    await supervisor.connect()
    await router.publish([Outgoing(one.routing_key, b"{}", uuid4(), "", mandatory=False) for one in news])
    assert await router.depth(SUPERVISOR_QUEUE) == before
    await router.close()
    await supervisor.close()

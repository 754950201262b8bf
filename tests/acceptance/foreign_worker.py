"""A worker that imports nothing of ours: consume, publish the result with confirm, ack."""

import asyncio
import json
import sys

import aio_pika


def answer(step):
    if step["agent"] == "Split" and step["step_number"] == 1:
        return {"next_action": "parallel_invoke", "agents": ["Left", "Right"]}
    if step["agent"] == "Split":
        return {"next_action": "final_response", "final_response": [r["result"] for r in step["request"]]}
    return f"{step['agent']} saw {step['context']['session_id']}"


async def main(url):
    connection = await aio_pika.connect(url)
    channel = await connection.channel(publisher_confirms=True)
    await channel.set_qos(10)
    exchange = await channel.get_exchange("anabranch")

    async def handle(message):
        step = json.loads(message.body)
        ids = {k: step[k] for k in ("run_id", "branch_id", "step_id", "attempt")}
        body = json.dumps({**ids, "response": answer(step)}).encode()
        await exchange.publish(aio_pika.Message(body, delivery_mode=2), "step.completed")
        await message.ack()

    for agent in ("Split", "Left", "Right"):
        queue = await channel.declare_queue(
            f"anabranch.step.{agent}", durable=True, arguments={"x-queue-type": "quorum"}
        )
        await queue.bind(exchange, f"step.requested.{agent}")
        await queue.consume(handle)
    print("serving", flush=True)
    await asyncio.Future()


asyncio.run(main(sys.argv[1]))

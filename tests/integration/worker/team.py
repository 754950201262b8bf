"""Agents for workers in processes of their own: they tell the test over a socket that they have begun."""

import asyncio
import os

from anabranch.agents.registry import agent


@agent("Echo")
def echo(request: object) -> object:
    return request


@agent("Gate")
async def gate(request: object) -> object:
    """Say which process runs the step, and end when the other side has answered."""
    reader, writer = await asyncio.open_unix_connection(os.environ["GATE_SOCKET"])
    writer.write(f"{os.getpid()}\n".encode())
    await reader.readline()
    writer.close()
    return request


@agent("Stuck")
def stuck(request: object) -> object:
    """A sync agent that never returns."""
    return asyncio.run(_forever())


async def _forever() -> None:
    _, writer = await asyncio.open_unix_connection(os.environ["GATE_SOCKET"])
    writer.write(f"{os.getpid()}\n".encode())
    await asyncio.Event().wait()

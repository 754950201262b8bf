"""A subject that does its chains right, and in W2, after the warm-up, what `BENCH_ODD` says."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ops.bench.drive import drive
from ops.bench.subjects import agent

ODD = os.environ["BENCH_ODD"]
WARM_UP = 5


class Odd:
    """Implements `workloads.Subject`."""

    async def chain(self, first: int, steps: int) -> int:
        for _ in range(steps):
            first = agent.step(first)
        return first

    async def fork(self, width: int) -> int:
        total = agent.join([agent.step(one) for one in agent.hub(width)])
        if width != WARM_UP:
            return await self._oddly(total)
        return total

    async def _oddly(self, total: int) -> int:
        match ODD:
            case "wrong":
                return total + 1
            case "twice":
                agent.mark()
            case "never":
                await asyncio.Event().wait()
            case "dies":
                print("no more memory", file=sys.stderr, flush=True)
                os._exit(1)
        return total

    async def talk(self, turns: int) -> str:
        message = agent.said(0)
        for _ in range(2 * turns):
            message = agent.say(message, [])
        return message

    async def stored(self) -> int:
        return 0


@asynccontextmanager
async def opened() -> AsyncIterator[Odd]:
    """With a process of its own that it forgets to end."""
    await asyncio.create_subprocess_exec("sh", "-c", 'echo $$ >> "$BENCH_ODD_CHILDREN"; exec sleep 1000')
    if ODD == "mute":
        await asyncio.Event().wait()
    yield Odd()


if __name__ == "__main__":
    drive(opened)

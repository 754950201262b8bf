"""One answer a life: of each run this process lets one attempt be answered, and holds the others until it is killed.

So whoever kills it after each answer cuts every run between any two of its steps, and what was held has run in vain.
A worker loads this module after its agents. As a program it plays examples like their package does
(`python -m tests.acceptance.paced NAME ...`), or takes up what an earlier one left unfinished (`--again NAME ...`).
What is never killed (a pool works in its own program) begins a new life at SIGUSR1.
"""

import asyncio
import json
import signal
import sys
from typing import Any
from uuid import UUID

from anabranch import Orchestra
from anabranch.agent_worker import app, jobs
from anabranch.client import queries
from anabranch.client.orchestra import connected
from anabranch.runtime.settings import load
from anabranch_contracts.messages import StepRequested
from tests.acceptance.examples.__main__ import loaded, play, promised
from tests.acceptance.telling import OUTCOME, told

JSON = Any
MOST = 1000


class Life:
    """Which runs had their answer in this life."""

    def __init__(self) -> None:
        self._answered: set[UUID] = set()
        self._over = asyncio.Event()

    async def turn(self, run_id: UUID) -> None:
        """Wait for the run's one answer of a life."""
        while run_id in self._answered:
            await self._over.wait()
        self._answered.add(run_id)

    def renew(self) -> None:
        """Begin the next life."""
        self._answered.clear()
        self._over.set()
        self._over = asyncio.Event()


LIFE = Life()
_invoke = jobs.invoke


async def _paced(agent: Any, step: StepRequested, *more: Any) -> Any:
    """What came of the attempt, be it an error, when it is the run's turn."""
    try:
        answer = await _invoke(agent, step, *more)
    except Exception:
        await LIFE.turn(step.run_id)
        raise
    await LIFE.turn(step.run_id)
    return answer


jobs.invoke = _paced
app.SUSPECT = sys.maxsize  # what is held is lost with every life, and would be run with nothing beside it


def _promises(names: list[str]) -> dict[str, JSON]:
    """What is promised of each run of these examples, by its task."""
    every = [promised(example) for example in loaded(names).values()]
    return {task: facts for one in every for task, facts in one.items() if isinstance(facts, dict) and "trace" in facts}


async def again(promises: dict[str, JSON]) -> dict[str, JSON]:
    """Take up every run of the data folder to its outcome; facts and promises by task."""
    async with connected(load()) as session:
        rows = await queries.rows(session.needed_database(), queries.RUNS, None, MOST)
        results = await asyncio.gather(*(Orchestra.resume(str(row["run_id"])) for row in rows))
    facts = {row["task"]: told(result) for row, result in zip(rows, results, strict=True)}
    outcomes = {task: {k: v for k, v in promise.items() if k in OUTCOME} for task, promise in promises.items()}
    return {task: {"facts": facts.get(task), "promised": outcome} for task, outcome in outcomes.items()}


async def main(arguments: list[str]) -> None:
    """Play; or go on; or count the runs that playing asks for."""
    loop = asyncio.get_running_loop()
    signal.signal(signal.SIGUSR1, lambda *_: None if loop.is_closed() else loop.call_soon_threadsafe(LIFE.renew))
    match arguments:
        case ["--again", *names]:
            print(json.dumps(await again(_promises(names))))
        case ["--count", *names]:
            print(len(_promises(names)))
        case names:
            await play(names)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])  # an interpreter that leaves would die of it

"""A run of 100 steps is forked at its versions: every fork ends the same, and what was done is not done again."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid4

import orjson

from anabranch.agents.context import StepContext
from anabranch.agents.invoke import invoke
from anabranch.agents.registry import AGENTS, Agent, Registry
from anabranch.domain.recorded import Recorded
from anabranch_contracts import events as e
from anabranch_contracts.messages import StepRequested
from tests.acceptance import journey
from tests.acceptance.client import Client, client
from tests.acceptance.tables import JSON, Row, Tables, tables
from tests.processes import house
from tests.simulation.laws import differences, forks, lawful, outcome, recorded
from tests.simulation.world import World

Attempt = tuple[str, int]
ANSWERS = (e.StepCompleted, e.StepFailed, e.StepRejected, e.StepSuspended)
SAMPLES = 24
SAME = ("step_id", "branch_id", "step_number", "agent", "status", "attempt", "request", "response", "action")


@dataclass
class Journey(World):
    """The journey in the simulator's world: production services on ports in memory, the agents as they are."""

    worked: list[Attempt] = field(default_factory=list)

    def casting(self) -> Registry:
        cast = Registry()
        for node in self.topology["nodes"]:
            if node["name"] in AGENTS:
                cast.register(node["name"], self._noted(AGENTS.resolve(node["name"])))
        return cast

    def _noted(self, agent: Agent) -> Callable[..., Awaitable[JSON]]:
        async def noted(step: StepRequested, ctx: StepContext) -> JSON:
            self.worked.append((step.step_id, step.attempt))
            return (await invoke(agent, step, ctx)).reply

        return noted

    def person(self, request: JSON) -> JSON:
        return journey.person(request)


def left(events: Sequence[Recorded], at: int) -> list[Attempt]:
    """The attempts of a whole stream that nobody had answered at a version, each once."""
    asked = {(r.event.step_id, r.event.attempt) for r in events if isinstance(r.event, e.StepRequested)}
    done = {(r.event.step_id, r.event.attempt) for r in events[:at] if isinstance(r.event, ANSWERS)}
    return sorted(asked - done)


def test_a_fork_at_any_version_ends_the_same_and_runs_only_what_was_left() -> None:
    calm = Journey(1, 1, False, journey.TOPOLOGY, journey.CONFIG).play()
    lawful(calm)
    events = recorded(calm)
    (run,) = calm.rows("run_rows")
    assert run["status"] == "completed" and run["total_steps"] == journey.STEPS
    assert sorted(calm.worked) == left(events, 0)
    for at in range(1, len(events) + 1):
        fork = forks(calm, at, schedule=at, faulty=False)
        assert not (found := differences(outcome(fork), outcome(calm))), (at, found)
        assert isinstance(fork, Journey) and sorted(fork.worked) == left(events, at), at


async def be_the_person(asking: Client, runs: int) -> None:
    """Answer every question until so many runs are over."""
    while len(asking.outcomes) < runs:
        await asking.until(lambda: bool(asking.questions) or len(asking.outcomes) >= runs, 60)
        said = [{**{k: q[k] for k in ("run_id", "request_id")}, "value": journey.person(q)} for q in asking.questions]
        asking.questions.clear()
        await asking.publish("user.provided", [orjson.dumps(answer) for answer in said])


async def fork_at(asking: Client, source: UUID, versions: Sequence[int]) -> dict[int, str]:
    """Fork the run at each of the versions, all under way at once; the new runs by version."""
    made = {at: str(uuid4()) for at in versions}
    for at, run_id in made.items():
        told = await asking.command("run.fork", run_id=str(source), at=at, new_run_id=run_id)
        assert told == {"run_id": run_id, "accepted": True}
    await be_the_person(asking, 1 + len(made))
    return made


def done(events: Sequence[Row], at: int) -> set[str]:
    """Steps that were completed by a version."""
    return {event["data"]["step_id"] for event in events[:at] if event["type"] == "StepCompleted"}


async def judge(reading: Tables, source: Sequence[Row], steps: Sequence[Row], at: int, run_id: str) -> None:
    """The past is the source's, the rest was asked once, and the rows came out the same."""
    events = await reading.rows("events", run_id)
    assert [(v["type"], v["data"]) for v in events[:at]] == [(v["type"], v["data"]) for v in source[:at]]
    assert (events[at]["type"], events[at]["data"]["at_version"]) == ("RunForked", at)
    since = [(v["type"], v["data"].get("step_id")) for v in events[at:]]
    again = sorted(step for kind, step in since if kind == "StepCompleted")
    assert again == sorted({s["step_id"] for s in steps} - done(source, at)), at
    assert not done(source, at) & {step for kind, step in since if kind == "StepRequested"}, at
    assert "StepResultDiscarded" not in dict(since), at
    assert [[s[k] for k in SAME] for s in await reading.rows("steps", run_id)] == [[s[k] for k in SAME] for s in steps]


async def travel(database_url: str, amqp_url: str) -> None:
    """One journey through real services, forked at versions all along its way."""
    source = uuid4()
    async with client(amqp_url) as asking, tables(database_url) as reading:
        await asking.listen()
        await asking.request([source], journey.TOPOLOGY, config=journey.CONFIG)
        await be_the_person(asking, 1)
        events, steps = [await reading.rows(relation, str(source)) for relation in ("events", "steps")]
        assert len(steps) == journey.STEPS
        versions = [1 + i * (len(events) - 1) // (SAMPLES - 1) for i in range(SAMPLES)]
        made = await fork_at(asking, source, versions)
        assert all(o["result"] == journey.RESULT for o in asking.outcomes.values()), asking.outcomes
        for at, run_id in made.items():
            await judge(reading, events, steps, at, run_id)
        assert await reading.stuck() == []


def test_forks_all_along_a_run_through_real_services(database_url: str, amqp_url: str, tmp_path: Path) -> None:
    with house(database_url, amqp_url, tmp_path, Path(journey.__file__)):
        asyncio.run(travel(database_url, amqp_url))

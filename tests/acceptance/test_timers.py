"""Timers are durable: what falls due while no supervisor is there happens once, when some are back."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from tests.acceptance.stage import AskedRun, Stage
from tests.processes import Process
from tests.services import free_port

pytestmark = pytest.mark.asyncio(loop_scope="module")
JSON = Any
ONE = {"nodes": ["A"], "edges": []}
TEAM = {"nodes": ["Boss", "W1", "W2"], "edges": ["Boss <-> W1", "Boss <-> W2"], "entry": "Boss"}
SAY = {"next_action": "final_response", "final_response": "$request"}
PATIENT = {"next_action": "ask_user", "prompt": "well?", "timeout": 1.0, "default": "nobody there"}
CALL_BOTH = {
    "next_action": "parallel_invoke",
    "agents": ["W1", "W2"],
    "convergence": {"timeout": 1.0, "on_timeout": "proceed"},
}
CASES: dict[str, JSON] = {
    "retry": {"topology": ONE, "script": {"A": [[{"raise": "RateLimited", "retry_after": 1.0}, "$attempt"]]}},
    "question": {"topology": ONE, "script": {"A": [PATIENT, SAY]}},
    "fork": {"topology": TEAM, "script": {"Boss": [CALL_BOTH, SAY], "W1": [{"wait_for": "gate"}]}},
    "run": {"topology": ONE, "script": {"A": [{"wait_for": "gate"}]}, "config": {"run_timeout": 1.0}},
}
DUE = "SELECT count(DISTINCT run_id) FROM anabranch.timers WHERE due_at <= now()"


@contextmanager
def without_supervisor(stage: Stage) -> Iterator[None]:
    """Its process is killed; afterwards two are there, and both look at the timers."""
    (supervisor,) = stage.house.supervisors
    supervisor.kill()
    yield
    other = replace(supervisor, log=supervisor.log.with_name("supervisor-2.log"), port=free_port(), process=None)
    stage.house.supervisors.append(other)
    both: list[Process] = [supervisor.start(), other.start()]
    for process in both:
        process.await_ready()


async def all_due(stage: Stage) -> None:
    """Wait until the time of every timer has come."""
    async with asyncio.timeout(30):
        while await stage.tables.value(DUE) < len(CASES):  # noqa: ASYNC110 - a moment gives no signal
            await asyncio.sleep(0.05)


async def set_up(runs: dict[str, AskedRun]) -> None:
    """Wait until every timer is set."""
    await runs["retry"].recorded("StepRetryScheduled")
    await runs["question"].question()
    await runs["fork"].begun("W1")
    await runs["fork"].recorded("BranchCompleted")
    await runs["run"].begun("A")


async def kinds(run: AskedRun) -> list[str]:
    """Types of the run's events."""
    return [event["type"] for event in await run.rows("events")]


async def test_what_falls_due_while_the_supervisor_is_down_happens_once_when_it_is_back(
    scripted_house: Stage, runs: dict[str, AskedRun]
) -> None:
    await set_up(runs)
    before = {name: await kinds(run) for name, run in runs.items()}
    with without_supervisor(scripted_house):
        await all_due(scripted_house)
        assert {name: await kinds(run) for name, run in runs.items()} == before
    seen = {name: await run.seen() for name, run in runs.items()}
    assert seen["retry"].result == 2
    assert [e["attempt"] for e in seen["retry"].recorded("StepRequested")] == [1, 2]
    assert seen["question"].result == "nobody there"
    assert [e["by"] for e in seen["question"].recorded("UserInputProvided")] == ["timeout"]
    assert [(r["agent"], r["status"]) for r in seen["fork"].result] == [("W1", "failed"), ("W2", "completed")]
    assert [e["reason"] for e in seen["fork"].recorded("ForkWaived")] == ["timeout"]
    assert seen["run"].status == "failed" and seen["run"].error["type"] == "TimeoutRule"
    assert len(seen["run"].recorded("RuleApplied")) == 1

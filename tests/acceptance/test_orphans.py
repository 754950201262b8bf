"""`terminate_orphans` from outside: who is not waited for any more is stopped, or finishes unheard."""

from typing import Any

import pytest

from tests.acceptance.gate import Waiting
from tests.acceptance.stage import AskedRun, Stage

JSON = Any
pytestmark = pytest.mark.asyncio(loop_scope="module")

WORKERS = ["W1", "W2"]
FORK = {"next_action": "parallel_invoke", "agents": WORKERS}
FINAL = {"next_action": "final_response", "final_response": "$request"}
GATE = {"wait_for": "gate"}
LEVELS = ("run", "node", "invocation")
EAGER = {"eager": True, "min_ratio": 0.5}
TIMED = {"timeout": 3, "on_timeout": "proceed"}


def team(level: str, policy: JSON) -> JSON:
    """A boss and two workers, who wait at the gate; the policy stands where `level` says."""
    at = {one: {"convergence": policy} if one == level else {} for one in LEVELS}
    return {
        "topology": {"nodes": [{"name": "Boss", **at["node"]}, *WORKERS], "edges": [f"Boss -> {w}" for w in WORKERS]},
        "script": {"Boss": [{**FORK, **at["invocation"]}, FINAL], "W1": [GATE], "W2": [GATE]},
        "config": at["run"],
    }


async def begun(run: AskedRun) -> Waiting:
    """The second worker at work, after the first has answered."""
    first, late = await run.begun("W1"), await run.begun("W2")
    first.go("one")
    return late


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("policy", "told"), [(EAGER, "running"), (TIMED, "failed")], ids=["eager", "timeout"])
async def test_an_orphan_finishes_unheard_and_the_run_ends_after_it(
    scripted_house: Stage, level: str, policy: JSON, told: str
) -> None:
    run = await scripted_house.ask(**team(level, {**policy, "terminate_orphans": False}))
    late = await begun(run)
    await run.recorded("StepCompleted", 3)
    assert (await run.row())["status"] == "running"
    late.go("too late")
    seen = await run.seen()
    assert seen.status == "completed" and [(r["agent"], r["status"]) for r in seen.result] == [
        ("W1", "completed"),
        ("W2", told),
    ]
    (step,) = seen.of("W2")
    assert (step["status"], step["response"]) == ("completed", "too late") and seen.statuses("W2") == ["completed"]
    assert [d["step_id"] for d in seen.recorded("StepResultDiscarded")] == [step["step_id"]]


@pytest.mark.parametrize("terminate", [{}, {"terminate_orphans": True}])
async def test_by_default_it_is_stopped(scripted_house: Stage, terminate: JSON) -> None:
    run = await scripted_house.ask(**team("run", {**EAGER, **terminate}))
    late = await begun(run)
    seen = await run.seen()
    await late.gone()
    assert [r["status"] for r in seen.result] == ["completed", "cancelled"] and seen.statuses("W2") == ["cancelled"]

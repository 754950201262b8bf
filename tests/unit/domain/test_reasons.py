"""What ends because of something else says what that was."""

from typing import Any

import pytest

from anabranch.domain.settling import insufficient
from anabranch.domain.state import Fork
from anabranch_contracts.events import ContributionCancelled
from anabranch_contracts.reply_builders import final_response, invoke_agent, parallel_invoke
from tests.unit.domain.runs import Run

JSON = Any
MEET = {"name": "Y", "is_convergence_point": True}
TOPOLOGY = {
    "nodes": ["H", "W", "X", MEET],
    "edges": ["H <-> W", "H <-> X", "H -> Y", "W -> Y", "W <-> X", "X -> Y", "X -> X"],
    "entry": "H",
}


def opened(policy: JSON) -> Run:
    """A fork of W and X; W has a fork of its own, one child of which is parked and the other waits for one parked."""
    run = Run(TOPOLOGY, config={"convergence": {"on_insufficient": "user"}})
    run.reply("H", parallel_invoke(["W", "X"], convergence=policy))
    run.reply("W", parallel_invoke(["X", "X"], convergence={"timeout": None, "eager": False}))
    run.reply("X", invoke_agent("Y", "parked"), "b0.f1.b0.f1.b0#1")
    run.reply("X", parallel_invoke(["Y", "X"], convergence={"timeout": None, "eager": False}), "b0.f1.b0.f1.b1#1")
    return run


def failed(run: Run) -> None:
    run.fail("X", step_id="b0.f1.b1#1")


def arrived(run: Run) -> None:
    run.reply("X", final_response("x"), "b0.f1.b1#1")


def late(run: Run) -> None:
    run.wait(10)


FAILING: JSON = {"on_insufficient": "fail", "fail_fast": True}
EAGER: JSON = {"eager": True, "min_ratio": 0.5}
GOES_ON: JSON = {"timeout": 10, "on_timeout": "proceed"}
ASKS: JSON = {"timeout": 10, "on_timeout": "user"}
FAILS: JSON = {"timeout": 10, "on_timeout": "fail"}
OUTCOMES = [
    (FAILING, failed, "its fork failed"),
    (EAGER, arrived, "enough others had arrived"),
    (GOES_ON, late, "its fork timed out"),
    (ASKS, late, "its fork timed out"),
    (FAILS, late, "its fork failed"),
]


@pytest.mark.parametrize(("policy", "happens", "reason"), OUTCOMES)
@pytest.mark.parametrize("orphans", [False, True])
def test_all_that_ends_inside_a_fork_names_the_reason(policy: JSON, happens: Any, reason: str, orphans: bool) -> None:
    run = opened({**policy, "terminate_orphans": not orphans})
    happens(run)
    assert run.of("ContributionCancelled") == [ContributionCancelled("b0.f1.b0.f1.b1.f1.b0", reason)]
    assert {b.reason for b in run.of("BranchCancelled")} == {reason}
    assert run.replayed() == run.state


def test_what_is_parked_in_a_fork_that_fails_says_so() -> None:
    run = Run(TOPOLOGY, config={"convergence": {"on_insufficient": "user"}})
    run.reply("H", parallel_invoke(["Y", "X"], convergence=FAILING))
    run.fail("X")
    assert run.of("ContributionCancelled") == [ContributionCancelled("b0.f1.b0", "its fork failed")]


def test_what_is_parked_in_a_call_says_that_the_call_timed_out() -> None:
    run = Run(TOPOLOGY)
    calls = [{"agent": "W"}, {"agent": "X"}]
    run.reply("H", {"next_action": "call", "number": 1, "print": "p", "timeout": 5, "invocations": calls})
    run.reply("W", invoke_agent("Y", "parked"))
    run.wait(5)
    assert [(b.branch_id, b.reason) for b in run.of("BranchCancelled")] == [("b0.f1.b0", "its call timed out")]


def test_a_call_that_went_elsewhere_says_who_was_called() -> None:
    run = Run({**TOPOLOGY, "edges": [*TOPOLOGY["edges"], "W -> End"]})
    calls = [{"agent": "W"}, {"agent": "W"}]
    run.reply("H", {"next_action": "call", "number": 1, "print": "p", "invocations": calls})
    run.reply("W", invoke_agent("End", "elsewhere"), "b0.f1.b0#1")
    run.reply("W", final_response("here"), "b0.f1.b1#1")
    went, here = run.at("H")["calls"][0]["value"]
    assert went == {"agent": "H", "status": "merged", "branch_id": "b0.f1.b0"}
    assert (here["agent"], here["result"]) == ("W", "here")


def test_the_error_of_a_fork_is_bounded() -> None:
    fork = Fork(
        "f", "b0", "H", 1, {}, "", failed=1, causes=[((), {"branch_id": "b", "agent": "W", "message": "x" * 5000})]
    )
    error = insufficient(fork)
    assert len(error["message"]) == 4000
    assert error["message"].startswith("1 of 1 invocations of fork f at H failed (min_ratio 1.0): b at W: xxx")


def test_failures_are_tried_again_in_the_order_of_the_fork() -> None:
    run = Run(TOPOLOGY, config={"convergence": {"on_insufficient": "user"}})
    run.reply("H", parallel_invoke(["W"] * 11))
    for i in reversed(range(11)):
        run.fail("W", step_id=f"b0.f1.b{i}#1")
    run.answer("retry")
    assert run.last("FailuresRetried").branch_ids == [f"b0.f1.b{i}" for i in range(11)]

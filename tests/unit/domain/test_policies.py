"""Semantics 10: how many may fail, who decides, and who is waited for."""

from typing import Any

import pytest

from anabranch.domain.policies import fork_policy, root_policy
from anabranch.domain.state import Fork
from anabranch.domain.turn import Refused
from anabranch_contracts.config import ConvergencePolicy
from anabranch_contracts.reply_builders import ask_user, final_response, parallel_invoke
from tests.unit.domain.runs import Run

JSON = Any
HUB = {"nodes": ["H", "W", "X"], "edges": ["H <-> W", "W <-> X"], "entry": "H"}
TWO = {"nodes": ["A", "B"], "entry": ["A", "B"]}


def split(width: int, **policy: JSON) -> Run:
    """The hub waits for as many workers."""
    run = Run(HUB, config={"convergence": policy})
    run.reply("H", parallel_invoke(invocations=[{"agent": "W", "request": i} for i in range(width)]))
    return run


def worker(i: int, step: int = 1) -> str:
    return f"b0.f1.b{i}#{step}"


def reply(run: Run, *workers: int) -> None:
    for i in workers:
        run.reply("W", final_response(i), worker(i))


def fail(run: Run, *workers: int) -> None:
    for i in workers:
        run.fail("W", step_id=worker(i))


def statuses(run: Run) -> list[str]:
    return [r["status"] for r in run.at("H")["request"]]


RATIOS = [
    (1.0, 0, True),
    (1.0, 1, False),
    (0.75, 1, True),
    (0.75, 2, False),
    (0.5, 2, True),
    (0.01, 4, False),
    (0, 4, True),
]


@pytest.mark.parametrize(("ratio", "failures", "met"), RATIOS)
def test_a_fork_is_met_while_no_more_fail_than_its_ratio_allows(ratio: float, failures: int, met: bool) -> None:
    run = split(4, min_ratio=ratio)
    fail(run, *range(failures))
    if met:
        reply(run, *range(failures, 4))
        assert statuses(run) == ["failed"] * failures + ["completed"] * (4 - failures)
    else:
        assert run.state.status == "failed" and run.state.error["type"] == "ForkFailed"
    assert run.replayed() == run.state


UNSAID: list[tuple[JSON, int, int, JSON]] = [
    ({}, 0, 0, {"unmet": False, "brittle": True, "doubtful": False, "shared": False}),
    ({}, 1, 1, {"unmet": True, "brittle": True, "doubtful": True, "shared": False}),
    ({"min_ratio": 0.5}, 1, 1, {"unmet": False, "brittle": True, "doubtful": False, "shared": False}),
    ({"eager": True}, 0, 1, {"unmet": False, "brittle": True, "doubtful": False, "shared": False}),
    ({"eager": True}, 0, 2, {"unmet": False, "brittle": True, "doubtful": False, "shared": True}),
]


@pytest.mark.parametrize(("policy", "failed", "arrivals", "expected"), UNSAID)
def test_what_a_recorded_policy_does_not_say_is_as_the_defaults_say(
    policy: JSON, failed: int, arrivals: int, expected: JSON
) -> None:
    for whole in (policy, {**ConvergencePolicy().model_dump(), **policy}):
        fork = Fork("f", "b0", "H", 2, whole, "", failed=failed, arrivals=arrivals)
        assert {name: getattr(fork, name) for name in expected} == expected


def test_a_recorded_config_may_say_nothing_of_forks() -> None:
    state = Run(TWO).state
    state.config = {}
    assert root_policy(state) == {} and fork_policy(state, "A", ["B"], {"eager": True}) == {"eager": True}


def test_the_nearest_of_two_convergence_nodes_says_how_a_fork_is_met() -> None:
    near = {"name": "Z", "is_convergence_point": True, "convergence": {"min_ratio": 0.25}}
    far = {"name": "B", "is_convergence_point": True, "convergence": {"min_ratio": 0.75}}
    edges = ["S -> L", "S -> R", "L -> Z", "R -> Z", "Z -> B"]
    state = Run({"nodes": [far, "S", "L", "R", near], "edges": edges, "entry": "S"}).state
    assert fork_policy(state, "S", ["L", "R"], None)["min_ratio"] == 0.25
    assert fork_policy(state, "S", ["L", "B"], None)["min_ratio"] == 0.75
    assert fork_policy(state, "S", ["L", "S"], None)["min_ratio"] == 0.25
    assert fork_policy(state, "S", ["L", "R"], {"min_ratio": 0.5})["min_ratio"] == 0.5


def test_whom_a_recorded_policy_does_not_call_an_orphan_is_cancelled() -> None:
    run = split(2)
    run.state.forks["b0.f1"].policy = {"eager": True, "min_ratio": 0.5}
    reply(run, 0)
    assert run.last("BranchCancelled").branch_id == "b0.f1.b1" and not run.of("BranchOrphaned")


def test_an_insufficient_fork_proceeds_where_its_policy_says_so() -> None:
    run = split(2, on_insufficient="proceed")
    fail(run, 0)
    assert run.state.status == "running" and not run.open
    reply(run, 1)
    assert statuses(run) == ["failed", "completed"]


def doubtful() -> Run:
    """Two of three have failed, and a person is asked."""
    run = split(3, on_insufficient="user")
    fail(run, 2, 0)
    assert not run.open
    reply(run, 1)
    return run


def test_a_person_is_asked_when_an_insufficient_fork_has_settled() -> None:
    run = doubtful()
    (asked,) = run.open.values()
    assert asked["kind"] == "fork" and asked["choices"] == ["retry", "skip", "abort"]
    assert "2 of 3 failed" in asked["prompt"]["what"] and len(asked["prompt"]["causes"]) == 2
    assert run.state.shown_status == "waiting" and not run.asked


def test_skip_proceeds_with_what_there_is() -> None:
    run = doubtful()
    run.answer("skip")
    assert statuses(run) == ["failed", "completed", "failed"] and run.replayed() == run.state


def test_abort_fails() -> None:
    run = doubtful()
    run.answer("abort")
    assert run.last("ForkSettled").outcome == "failed" and run.last("BranchFailed").error["type"] == "Aborted"
    run.answer("abort")  # the entries are a fork under the same policy
    assert run.state.status == "failed" and run.replayed() == run.state


def test_retry_runs_the_failed_children_again_and_only_those() -> None:
    run = doubtful()
    run.answer("retry")
    assert run.last("FailuresRetried").branch_ids == ["b0.f1.b0", "b0.f1.b2"]
    assert sorted((s["branch_id"], s["request"]) for s in run.asked.values()) == [("b0.f1.b0r", 0), ("b0.f1.b2r", 2)]
    run.reply("W", final_response("again"), "b0.f1.b0r#1")
    run.fail("W", step_id="b0.f1.b2r#1")
    run.answer({"decision": "retry"})
    run.reply("W", final_response("at last"), "b0.f1.b2rr#1")
    assert [r["result"] for r in run.at("H")["request"]] == ["again", 1, "at last"]
    assert run.replayed() == run.state


def test_the_clock_of_a_fork_that_is_tried_again_stands_while_a_person_is_asked() -> None:
    policy = {"timeout": 5, "on_timeout": "fail", "on_insufficient": "user"}
    run = Run({"nodes": ["H", "W"], "edges": ["H <-> W"], "entry": "H"})
    run.reply("H", parallel_invoke(["W"], convergence=policy))
    run.fail("W")
    run.answer("retry")
    run.reply("W", ask_user("well?"))
    run.wait(100)
    run.answer("yes")
    run.reply("W", final_response("at last"))
    assert statuses(run) == ["completed"]


def test_what_was_tried_again_may_still_come_whole_to_a_node() -> None:
    """No failure of the first time counts any more, nor is anybody counted twice."""
    topology = {
        "nodes": ["H", "W", "V", "Y"],
        "edges": ["H -> W", "H -> V", "W -> Y", "V -> Y"],
        "entry": "H",
    }
    run = Run(topology, config={"convergence": {"on_insufficient": "user"}})
    run.reply("H", parallel_invoke(["W", "V"]))
    run.fail("W")
    run.fail("V")
    run.answer("retry")
    run.reply("W", "w")
    run.reply("V", "v")
    assert run.last("BranchConverged").continues == "owner"
    assert [r["result"] for r in run.at("Y")["request"]] == ["w", "v"]


@pytest.mark.parametrize("answer", ["perhaps", 1, {"decision": "retry", "request": "new"}, {}])
def test_what_is_no_decision_is_refused_and_the_question_stays(answer: JSON) -> None:
    run = doubtful()
    with pytest.raises(Refused, match="the answer to user request"):
        run.answer(answer)
    assert run.open


AT_ROOT = [("skip", "completed", "b"), ("abort", "failed", None), ("retry", "running", None)]


@pytest.mark.parametrize(("decision", "status", "result"), AT_ROOT)
def test_a_person_decides_about_the_entries_too(decision: str, status: str, result: JSON) -> None:
    run = Run(TWO, config={"convergence": {"on_insufficient": "user"}})
    run.fail("A")
    run.reply("B", "b")
    run.answer(decision)
    assert run.state.status == status and [s["agent"] for s in run.asked.values()] == ["A"] * (decision == "retry")
    assert run.state.result == result and run.replayed() == run.state


SHARES = [(0.0, 3, 1), (0.5, 2, 1), (0.5, 3, 2), (0.34, 3, 2), (1.0, 2, 2), (0.56, 25, 14), (0.1, 10, 1)]


@pytest.mark.parametrize(("ratio", "width", "enough"), SHARES)
def test_an_eager_fork_goes_on_with_its_share(ratio: float, width: int, enough: int) -> None:
    run = split(width, min_ratio=ratio, eager=True)
    reply(run, *range(enough - 1))
    assert "H" not in [s["agent"] for s in run.asked.values()]
    reply(run, enough - 1)
    assert statuses(run) == ["completed"] * enough + ["cancelled"] * (width - enough)
    assert run.replayed() == run.state


def test_a_late_arrival_after_an_eager_firing_is_discarded() -> None:
    run = split(2, min_ratio=0.5, eager=True)
    late = run.asked[worker(1)]
    reply(run, 0)
    run.late(late, response="late")
    assert run.last("StepResultDiscarded").step_id == worker(1) and statuses(run) == ["completed", "cancelled"]


def test_failures_are_no_share_of_an_eager_fork() -> None:
    run = split(2, min_ratio=0.5, eager=True, on_insufficient="proceed")
    fail(run, 0)
    assert list(run.asked) == [worker(1)]


def test_what_is_parked_counts_as_arrived_and_stays_where_it_is() -> None:
    nodes = [{"name": "S", "dispatch": "all"}, "L", "R", "Y"]
    topology = {"nodes": nodes, "edges": ["S -> L", "S -> R", "L -> Y", "R -> Y"]}
    run = Run(topology, config={"convergence": {"eager": True, "min_ratio": 0.5}})
    run.reply("S", "go")
    run.reply("R", "r")
    assert [r["result"] for r in run.at("Y")["request"]] == ["r"] and len(run.asked) == 1


def inner(**policy: JSON) -> Run:
    """A fork whose failure the one around it can bear; of its own two children the first fails."""
    run = split(2, on_insufficient="proceed")
    run.reply("W", parallel_invoke(["X", "X"], convergence={"on_insufficient": "fail", **policy}), worker(0))
    run.fail("X", step_id="b0.f1.b0.f1.b0#1")
    return run


def test_a_fork_that_fails_fast_waits_for_nobody() -> None:
    run = inner(fail_fast=True)
    assert list(run.asked) == [worker(1)] and run.last("BranchCancelled").branch_id == "b0.f1.b0.f1.b1"
    reply(run, 1)
    assert statuses(run) == ["failed", "completed"] and run.replayed() == run.state


@pytest.mark.parametrize(
    "policy", [{}, {"fail_fast": True, "on_insufficient": "proceed"}, {"fail_fast": True, "min_ratio": 0.5}]
)
def test_others_let_their_children_finish(policy: JSON) -> None:
    assert "b0.f1.b0.f1.b1#1" in inner(**policy).asked


def test_the_entries_fail_fast_too() -> None:
    run = Run(TWO, config={"convergence": {"fail_fast": True}})
    run.fail("A")
    assert run.state.status == "failed" and not run.asked

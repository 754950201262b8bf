"""What is said because of an event, and what a state still owes: each message as other languages read it."""

from typing import Any

import pytest

from anabranch.domain.deciders import Router, Supervisor
from anabranch.domain.pending import Owed, announcements, duration, pending, pending_steps, smaller, stopped
from anabranch_contracts import messages as m
from anabranch_contracts.reply_builders import ask_user, final_response, invoke_agent, parallel_invoke
from tests.unit.domain.runs import RUN, Run

JSON = Any
HUB = {"nodes": ["H", "W", "X", {"name": "Y", "is_convergence_point": True}],
       "edges": ["H <-> W", "H <-> X", "W -> Y", "X -> Y", "H -> Y"], "entry": "H"}  # fmt: skip
BROKEN = m.StepError(kind="terminal", type="Broken", message="broken")


def router(run: Run, agent: str, response: JSON) -> list[Owed]:
    """What the router says because of a reply."""
    before, step = len(run.events), run.at(agent)
    run.late(step, response=response)
    return [owed for _, owed in announcements(run.state, run.events[before:])]


def said(owed: Owed) -> tuple[str, str, JSON]:
    assert owed.body["run_id"] == str(RUN) and owed.public
    return owed.routing_key, owed.type, {k: v for k, v in owed.body.items() if k != "run_id"}


def test_a_branch_is_announced_and_its_step_asked_for() -> None:
    run = Run(HUB)
    spawned, parked, asked = router(run, "H", parallel_invoke(["W", "Y"]))
    assert [said(owed) for owed in (spawned, parked)] == [
        ("branch.spawned", "BranchSpawned", {"branch_id": "b0.f1.b0", "agent": "W", "parent_branch_id": "b0"}),
        ("branch.parked", "BranchParked", {"branch_id": "b0.f1.b1", "node": "Y"}),
    ]
    assert spawned.news and parked.news, "nobody need listen"
    assert said(asked)[:2] == ("step.requested.W", "StepRequested") and not asked.news


def test_what_becomes_of_a_branch_is_announced() -> None:
    run = Run(HUB, config={"convergence": {"min_ratio": 0.5}})
    run.reply("H", parallel_invoke(["W", "X"]))
    (completed,) = router(run, "W", final_response("w"))
    assert said(completed) == ("branch.completed", "BranchCompleted", {"branch_id": "b0.f1.b0", "agent": "W"})
    before = len(run.events)
    run.fail("X")
    (failed,) = [o for _, o in announcements(run.state, run.events[before:]) if o.type == "BranchFailed"]
    key, _, body = said(failed)
    assert key == "branch.failed" and body == {
        "branch_id": "b0.f1.b1", "agent": "X",
        "error": {"kind": "terminal", "type": "Broken", "message": "broken (step b0.f1.b1#1, attempt 1)"},
    }  # fmt: skip
    merged, _ = router(Run({"nodes": ["A"], "edges": ["A -> End"]}), "A", parallel_invoke(["End"]))
    assert said(merged) == ("branch.merged", "BranchMerged", {"branch_id": "b0"})


def test_a_convergence_is_announced_with_what_met_and_goes_on() -> None:
    run = Run(HUB)
    run.reply("H", parallel_invoke(["W", "X"]))
    run.reply("W", invoke_agent("Y", "w"))
    run.wait(5)
    (converged,) = [o for o in router(run, "X", invoke_agent("Y", "x")) if o.type == "BranchConverged"]
    assert converged.news and said(converged) == ("branch.converged", "BranchConverged", {
        "branch_id": "b0", "convergence_id": "Y#1", "node": "Y", "tokens": ["b0.f1.b0", "b0.f1.b1"], "wait_time": 5.0,
    })  # fmt: skip


def test_a_reply_that_cannot_be_followed_is_asked_for_again() -> None:
    (again,) = router(Run(HUB), "H", {"next_action": "dance"})
    assert said(again)[:2] == ("step.requested.H", "StepRequested") and again.body["attempt"] == 2
    assert router(Run(HUB), "H", {"next_action": "retry_later", "after_seconds": 9}) == []


def test_what_was_answered_meanwhile_is_not_asked_again() -> None:
    run = Run({"nodes": ["A", "B"], "edges": ["A <-> B"], "entry": "A"})
    run.reply("A", "to B")
    run.reply("B", "back")
    run.reply("A", {"next_action": "dance"})
    (asked,) = [owed for _, owed in announcements(run.state, run.events) if owed.type == "StepRequested"]
    assert (asked.body["step_id"], asked.body["attempt"]) == ("b0#3", 2)


def test_a_question_is_announced_while_it_is_open() -> None:
    run = Run({"nodes": ["A"]})
    (asked,) = router(run, "A", ask_user("well?"))
    assert said(asked)[:2] == ("user.requested", "UserInputRequested")
    run.answer("yes")
    assert not [owed for _, owed in announcements(run.state, run.events) if owed.type == "UserInputRequested"]


def test_trouble_that_was_ruled_on_in_the_same_breath_is_not_announced() -> None:
    run = Run(HUB)
    before = len(run.events)
    run.fail("H", "transient")
    assert not announcements(run.state, run.events[before:])


def test_a_worker_is_told_everything_it_needs() -> None:
    config = {"step_timeout": 7}
    run = Run(
        {"nodes": ["A", "B"], "edges": ["A <-> B", "A -> End", "A <-> User"], "entry": "A"}, "do", config, {"k": 1}
    )
    run.reply("A", invoke_agent("B", "b?", context_updates={"k": 2}))
    run.reply("B", "b!")
    (owed,) = pending(run.state, run.now)
    assert not owed.news and not owed.replies and said(owed) == ("step.requested.A", "StepRequested", {
        "branch_id": "b0", "step_id": "b0#3", "step_number": 3, "attempt": 1, "agent": "A", "request": "b!",
        "memory": [{"role": "user", "content": "do"},
                   {"role": "assistant", "content": invoke_agent("B", "b?", context_updates={"k": 2}), "name": "A"}],
        "context": {"k": 2, "run_id": str(RUN), "branch_id": "b0", "step_number": 3},
        "can_invoke": ["B", "End", "User"], "timeout": 7.0,
    })  # fmt: skip


def test_whoever_shows_a_question_is_told_everything_about_it() -> None:
    run = Run({"nodes": ["A"]})
    schema = {"type": "string"}
    run.reply("A", ask_user("well?", ["yes", "no"], schema, timeout=60, default="no"))
    (owed,) = pending(run.state, run.now)
    request_id = next(iter(run.open))
    assert owed.news, "nobody need listen"
    assert said(owed) == ("user.requested", "UserInputRequested", {
        "request_id": request_id, "branch_id": "b0", "agent": "A", "kind": "question", "prompt": "well?",
        "choices": ["yes", "no"], "schema": schema, "expires_at": "2026-01-01T00:01:00+00:00",
    })  # fmt: skip
    run = Run({"nodes": ["A"]})
    run.reply("A", ask_user("well?"))
    (owed,) = pending(run.state, run.now)
    assert owed.body.keys() == {"run_id", "request_id", "branch_id", "agent", "kind", "prompt"}


def test_a_state_owes_a_wake_up_where_the_supervisor_has_work() -> None:
    run = Run(HUB)
    run.leave("H", parallel_invoke(["W", "X"]))
    (owed,) = pending(run.state, run.now)
    assert said(owed) == ("run.recover", "RecoverRun", {})
    run.tend()
    assert [o.type for o in pending(run.state, run.now)] == ["StepRequested"] * 2
    run.fail("W", "transient")
    assert [o.type for o in pending(run.state, run.now)] == ["StepRequested"]
    run.now = run.now.replace(hour=1)
    assert [o.type for o in pending(run.state, run.now)] == ["StepRequested", "RecoverRun"]


def test_a_paused_a_finished_and_an_unknown_run_owe_nothing_new() -> None:
    run = Run({"nodes": ["A"]})
    run.reply("A", ask_user("well?", timeout=1))
    run.pause()
    run.now = run.now.replace(hour=1)
    assert [o.type for o in pending(run.state, run.now)] == ["UserInputRequested"]
    run.cancel()
    assert not list(pending(run.state, run.now))
    assert not list(pending(type(run.state)(RUN), run.now))


def finished(run: Run, asked: bool = True) -> Owed:
    run.state.replies = [("q", "c")] if asked else []
    run.wait(3)
    before = len(run.events)
    run.late(run.at("A"), response=final_response("done"))
    run.tend()
    return announcements(run.state, run.events[before:])[-1][1]


def test_the_outcome_is_told_to_everybody_and_to_who_asked() -> None:
    owed = finished(Run({"nodes": ["A"]}))
    assert owed.news and owed.replies == [("q", "c")] and said(owed) == ("run.completed", "RunCompleted", {
        "status": "completed", "result": "done", "result_count": 1,
        "metrics": {"total_steps": 1, "branch_count": 1, "parallel_branches": 1, "convergence_wait_time": 0.0,
                    "total_duration": 3.0},
    })  # fmt: skip


def test_a_run_that_failed_says_why_and_has_no_result() -> None:
    run = Run({"nodes": ["A"]})
    run.fail("A")
    owed = announcements(run.state, run.events)[-1][1]
    assert (owed.routing_key, owed.type, owed.body["status"]) == ("run.failed", "RunFailed", "failed")
    assert owed.body["error"]["type"] == "ForkFailed" and "result" not in owed.body
    run = Run({"nodes": []})
    owed = announcements(run.state, run.events)[-1][1]
    assert (owed.routing_key, owed.type, owed.body["metrics"]["total_duration"]) == (
        "run.rejected",
        "RunRejected",
        None,
    )
    run = Run({"nodes": ["A"]})
    assert duration(run.state) is None
    run.cancel()
    owed = announcements(run.state, run.events)[-1][1]
    assert (owed.routing_key, owed.type, owed.body["error"]["kind"]) == ("run.cancelled", "RunCancelled", "cancelled")


def test_who_asks_once_more_when_all_is_over_is_told_alone() -> None:
    from anabranch.domain.intake import Request

    run = Run({"nodes": ["A"]})
    body = {"task": "task", "topology": {"nodes": ["A"]}, "config": {}, "context": {}}
    run.state.replies = [("first", None)]
    run.reply("A", "done")
    run.tell(Router(), Request(RUN, body, "late", "corr"))
    ((_, owed),) = announcements(run.state, run.events[-1:])
    assert owed.replies == [("late", "corr")] and not owed.public and owed.body["result"] == "done"


STOPPED: list[tuple[str, JSON]] = [
    ("run", None),
    ("branch", ["b0.f1.b0"]),
    ("timeout", ["b0.f1.b0", "b0.f1.b1"]),
    ("none", ...),
]


@pytest.mark.parametrize(("what", "branches"), STOPPED)
def test_workers_are_told_which_steps_are_wanted_no_longer(what: str, branches: JSON) -> None:
    policy = {"timeout": 5, "on_timeout": "proceed", "min_ratio": 0}
    run = Run(HUB, config={"convergence": policy})
    run.reply("H", parallel_invoke(["W", "X"]))
    before = len(run.events)
    match what:
        case "run":
            run.cancel()
        case "branch":
            run.cancel("b0.f1.b0")
        case "timeout":
            run.wait(5)
        case _:
            run.fail("W")
    told = stopped(run.state, run.events[before:])
    wanted = {"run_id": str(RUN)} if branches is None else {"run_id": str(RUN), "branch_ids": branches}
    assert told == (None if branches is ... else wanted)


def test_a_run_that_failed_stops_all_its_steps() -> None:
    run = Run({"nodes": ["A", "B"], "entry": ["A", "B"]})
    before = len(run.events)
    run.fail("A")
    assert stopped(run.state, run.events[before:]) == {"run_id": str(RUN)}


def test_what_no_broker_would_carry_is_said_in_short() -> None:
    run = Run({"nodes": ["A"]})
    (step,) = pending(run.state, run.now)
    failed = smaller(step, 2000, 1000)
    assert said(failed) == ("step.failed", "StepFailed", {
        "branch_id": "b0", "step_id": "b0#1", "attempt": 1,
        "error": {"kind": "terminal", "type": "StepTooLarge", "message": failed.body["error"]["message"]},
    })  # fmt: skip
    assert "2000 bytes" in failed.body["error"]["message"] and "the limit is 1000" in failed.body["error"]["message"]
    run.tell(Supervisor(), m.StepFailed(**failed.body))
    assert run.state.status == "failed"
    owed = finished(Run({"nodes": ["A"]}))
    short = smaller(owed, 2000, 1000)
    assert short.body == {**owed.body, "result": None, "result_bytes": 2000} and short.replies == owed.replies


def test_steps_that_are_asked_for_again_are_those_that_were_lost() -> None:
    run = Run({"nodes": ["A", "B"], "edges": [], "entry": ["A", "B"]})
    first, second = sorted(run.asked)

    def offered(*wanted: tuple[str, int]) -> list[str]:
        return [owed.body["step_id"] for owed in pending_steps(run.state, wanted)]

    assert offered((first, 1)) == [first] and offered((second, 1), (first, 1)) == [first, second]
    assert offered((first, 2), ("b7#1", 1)) == [], "another attempt, another step"
    run.reply("A", {"next_action": "final_response", "final_response": 1})
    assert offered((first, 1), (second, 1)) == [second]
    run.reply("B", {"next_action": "final_response", "final_response": 1})
    assert offered((first, 1), (second, 1)) == [] and run.state.terminal


def test_what_was_asked_for_since_is_not_owed_from_before() -> None:
    run = Run({"nodes": ["A"], "edges": []})
    step = run.state.branches["b0"].step
    assert step is not None
    assert not list(pending(run.state, run.now, but={(step.id, step.attempt)}))
    assert [o.type for o in pending(run.state, run.now, but={(step.id, step.attempt + 1)})] == ["StepRequested"]

"""Semantics 1: the types a branch earns, and the statuses of branches and runs."""

from typing import Any

import pytest

from anabranch.domain.state import TYPE_RANK, RunState
from anabranch_contracts import reply_builders as build
from anabranch_contracts.replies import BranchType
from tests.unit.domain.runs import RUN, Run

CHAIN = {"nodes": ["A", "B"], "edges": ["A -> B"]}
TALK = {"nodes": ["A", "B"], "edges": ["A <-> B"], "entry": "A"}
HUB = {"nodes": ["H", "W1", "W2"], "edges": ["H <-> W1", "H <-> W2"], "entry": "H"}
CALL = {"next_action": "call", "number": 1, "print": "p", "invocations": [{"agent": "B"}]}


def shown(run: Run, column: str) -> dict[str, Any]:
    """A column of the branches' rows, by branch."""
    return {row["branch_id"]: row[column] for row in run.rows("branch_rows")}


def run_status(run: Run) -> str:
    """The status of the run as people see it."""
    (row,) = run.rows("run_rows")
    return str(row["status"])


def test_the_types_are_those_of_the_seed_from_general_to_specific() -> None:
    assert tuple(kind.value for kind in BranchType) == TYPE_RANK


def test_a_branch_that_only_goes_forward_is_simple() -> None:
    run = Run(CHAIN)
    run.reply("A", "a")
    run.reply("B", "b")
    assert shown(run, "type") == {"b0": "simple"} and run.replayed() == run.state


def test_a_branch_that_moves_along_a_bidirectional_edge_is_a_conversation() -> None:
    run = Run(TALK)
    assert run.state.branches["b0"].type == "simple"
    run.reply("A", "hello")
    assert run.state.branches["b0"].type == "conversation" and run.replayed() == run.state


@pytest.mark.parametrize("reply", [build.parallel_invoke(["B"]), CALL])
def test_a_branch_that_opens_a_fork_is_nested_and_its_children_are_not(reply: Any) -> None:
    run = Run(TALK)
    run.reply("A", reply)
    assert shown(run, "type") == {"b0": "nested", "b0.f1.b0": "simple"} and run.replayed() == run.state


def test_a_branch_is_of_user_interaction_while_it_waits_and_ever_after() -> None:
    run = Run(CHAIN)
    run.reply("A", build.ask_user("well?"))
    assert shown(run, "type") == {"b0": "user_interaction"}
    run.answer("yes")
    run.reply("A", build.final_response("done"))
    assert shown(run, "type") == {"b0": "user_interaction"} and run.replayed() == run.state


def test_a_type_rises_and_never_falls() -> None:
    run = Run(TALK)
    types = [run.state.branches["b0"].type]
    for agent, reply in [
        ("A", build.ask_user("?")),
        ("A", build.parallel_invoke(["B"])),
        ("B", "b"),
        ("A", "to B"),
    ]:
        run.reply(agent, reply)
        types.append(run.state.branches["b0"].type)
        for open_request in list(run.open):
            run.answer("yes", open_request)
    assert types == ["simple", *["user_interaction"] * 4]


def test_a_conversation_that_forks_is_nested_and_stays_so_while_it_talks_on() -> None:
    run = Run(TALK)
    types = []
    for agent, reply in [("A", "a"), ("B", "b"), ("A", build.parallel_invoke(["B"])), ("B", "back"), ("A", "a")]:
        run.reply(agent, reply)
        types.append(run.state.branches["b0"].type)
    assert types == ["conversation"] * 2 + ["nested"] * 3


def test_a_branch_waits_on_its_fork_runs_on_and_completes() -> None:
    run = Run(HUB)
    seen = [shown(run, "status")["b0"]]
    run.reply("H", build.parallel_invoke(["W1"]))
    seen.append(shown(run, "status")["b0"])
    run.reply("W1", "one")
    seen.append(shown(run, "status")["b0"])
    assert seen == ["running", "waiting", "running"]
    run.reply("H", build.final_response("done"))
    assert shown(run, "status") == {"b0": "completed", "b0.f1.b0": "completed"}
    assert run.replayed() == run.state


def test_a_branch_that_waits_for_admission_is_pending() -> None:
    run = Run({**HUB, "rules": ["max_parallel_branches(1)"]})
    run.reply("H", build.parallel_invoke(["W1", "W2"]))
    assert shown(run, "status") == {"b0": "waiting", "b0.f1.b0": "running", "b0.f1.b1": "pending"}
    run.reply("W1", "one")
    assert shown(run, "status")["b0.f1.b1"] == "running" and run.at("W2")


def test_a_branch_waits_for_a_person_and_runs_on() -> None:
    run = Run(CHAIN)
    run.reply("A", build.ask_user("well?"))
    assert shown(run, "status") == {"b0": "waiting"}
    run.answer("yes")
    assert shown(run, "status") == {"b0": "running"}


def test_branches_that_meet_wait_and_one_goes_on_for_all() -> None:
    run = Run({"nodes": ["A", "B", "Y"], "edges": ["A -> Y", "B -> Y"]})
    run.reply("A", "a")
    assert shown(run, "status") == {"b0": "waiting", "b1": "running"}
    run.reply("B", "b")
    assert shown(run, "status") == {"b0": "merged", "b1": "merged", "c2.1": "running"}
    assert run.replayed() == run.state


def test_a_failed_branch_is_failed_and_one_that_is_stopped_is_cancelled() -> None:
    run = Run(HUB, config={"convergence": {"min_ratio": 0}})
    run.reply("H", build.parallel_invoke(["W1", "W2"]))
    run.fail("W1")
    run.cancel("b0.f1.b1")
    assert shown(run, "status") == {"b0": "running", "b0.f1.b0": "failed", "b0.f1.b1": "cancelled"}
    assert [r["status"] for r in run.at("H")["request"]] == ["failed", "cancelled"]


def test_a_run_is_pending_until_it_was_taken_and_running_then() -> None:
    assert RunState(RUN).shown_status == "pending"
    assert run_status(Run(CHAIN)) == "running"


def test_a_run_waits_only_while_every_live_branch_waits_for_people() -> None:
    run = Run(HUB)
    run.reply("H", build.parallel_invoke(["W1", "W2"]))
    run.reply("W1", build.ask_user("one?"))
    assert run_status(run) == "running"
    run.reply("W2", build.ask_user("two?"))
    assert run_status(run) == "waiting"
    run.answer("yes", next(iter(run.open)))
    assert run_status(run) == "running" and run.replayed() == run.state


def test_a_paused_run_is_paused_whatever_it_waits_for() -> None:
    run = Run(CHAIN)
    run.reply("A", build.ask_user("well?"))
    run.pause()
    assert run_status(run) == "paused"
    run.resume()
    assert run_status(run) == "waiting"


def _completed() -> Run:
    run = Run({"nodes": ["A"]})
    run.reply("A", "a")
    return run


def _failed() -> Run:
    run = Run({"nodes": ["A"]})
    run.fail("A")
    return run


def _cancelled() -> Run:
    run = Run({"nodes": ["A"]})
    run.cancel()
    return run


ENDS = {"completed": _completed, "failed": _failed, "cancelled": _cancelled, "rejected": lambda: Run({"nodes": []})}


@pytest.mark.parametrize("status", ENDS)
def test_the_terminal_statuses_leave_nothing_to_be_done(status: str) -> None:
    run = ENDS[status]()
    assert run.state.terminal and run_status(run) == status and not run.asked and not run.open
    assert not run.state.timers and not run.state.branches and run.replayed() == run.state

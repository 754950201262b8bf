"""`terminate_orphans: false`: who is not waited for any more finishes unheard, and the run ends after them."""

from typing import Any

import pytest

from tests.unit.domain.runs import Run

HUB = {
    "nodes": ["H", "W1", "W2", "X", {"name": "Y", "is_convergence_point": True}],
    "edges": ["H <-> W1", "H <-> W2", "W2 <-> X", "X -> H", "X -> Y", "X -> End"],
    "entry": "H",
}
EAGER = {"eager": True, "min_ratio": 0.5, "terminate_orphans": False}


def fork(*agents: str, **more: Any) -> dict[str, Any]:
    return {"next_action": "parallel_invoke", "agents": list(agents), **more}


def invoke(agent: str) -> dict[str, Any]:
    return {"next_action": "invoke_agent", "action_input": agent, "request": "on"}


def final(value: object) -> dict[str, Any]:
    return {"next_action": "final_response", "final_response": value}


def eager(**more: Any) -> Run:
    """The hub has gone on with the first answer; the other spoke is still at work."""
    run = Run(HUB, config={"convergence": {**EAGER, **more}})
    run.reply("H", fork("W1", "W2"))
    run.reply("W1", final("one"))
    return run


def test_the_owner_is_told_that_the_orphan_still_runs() -> None:
    run = eager()
    assert [(r["agent"], r["status"]) for r in run.at("H")["request"]] == [("W1", "completed"), ("W2", "running")]
    assert run.at("W2")["step_id"] == "b0.f1.b1#1"


def test_by_default_it_is_cancelled_instead() -> None:
    run = eager(terminate_orphans=True)
    assert [r["status"] for r in run.at("H")["request"]] == ["completed", "cancelled"]
    assert [s["agent"] for s in run.asked.values()] == ["H"]


@pytest.mark.parametrize("home", ["H", "Y", "End"])
def test_an_orphan_goes_on_until_it_comes_to_where_it_was_waited_for(home: str) -> None:
    run = eager()
    run.reply("W2", invoke("X"))
    run.reply("H", final("done"))
    assert run.state.status == "running" and [s["agent"] for s in run.asked.values()] == ["X"]
    run.reply("X", invoke(home))
    assert run.state.status == "completed" and run.result == "done"
    discarded = run.last("StepResultDiscarded")
    assert discarded.step_id == "b0.f1.b1#2" and "gone on without it" in discarded.reason
    assert run.replayed() == run.state


def test_no_convergence_node_waits_for_an_orphan() -> None:
    topology = {**HUB, "edges": [*HUB["edges"], "H -> Y"]}
    run = Run(topology, config={"convergence": EAGER})
    run.reply("H", fork("W1", "W2"))
    run.reply("W1", final("one"))
    run.reply("W2", invoke("X"))
    run.reply("H", invoke("Y"))
    assert run.at("Y") and run.at("X")


def test_a_fork_of_an_orphan_comes_back_to_it() -> None:
    run = eager()
    run.reply("W2", fork("X"))
    run.reply("X", invoke("W2"))
    assert run.at("W2")["request"][0]["result"] == "on"
    run.reply("W2", final("unheard"))
    run.reply("H", final("done"))
    assert run.result == "done" and run.replayed() == run.state


def test_what_an_orphan_waits_for_is_an_orphan_too() -> None:
    run = Run(HUB, config={"convergence": {**EAGER, "min_ratio": 0.3}})
    run.reply("H", fork("W1", "W2"))
    run.reply("W2", fork("X", "X"))
    run.reply("W1", final("one"))
    run.reply("X", invoke("Y"), "b0.f1.b1.f1.b0#1")
    run.reply("H", final("done"))
    assert run.state.status == "running"
    run.reply("X", invoke("H"), "b0.f1.b1.f1.b1#1")
    assert run.state.status == "completed" and run.result == "done" and run.replayed() == run.state


def test_an_orphan_that_opens_a_fork_to_nobody_but_those_who_waited_is_done() -> None:
    run = eager()
    run.reply("W2", invoke("X"))
    run.reply("X", fork("Y", "End", "H"))
    run.reply("H", final("done"))
    assert run.state.status == "completed" and run.state.branch_count == 3


def test_an_orphan_that_fails_changes_nothing() -> None:
    run = eager()
    run.fail("W2")
    run.reply("H", final("done"))
    assert run.result == "done" and run.kinds().count("BranchFailed") == 1


def test_what_has_not_begun_is_not_begun_for_nobody() -> None:
    run = Run({**HUB, "rules": ["max_parallel_branches(1)"]}, config={"convergence": EAGER})
    run.reply("H", fork("W1", "W2"))
    run.reply("W1", final("one"))
    assert [r["status"] for r in run.at("H")["request"]] == ["completed", "cancelled"]


def test_one_that_comes_too_late_for_a_timeout_counts_as_failed_and_finishes() -> None:
    policy = {"timeout": 5, "on_timeout": "proceed", "terminate_orphans": False}
    run = Run(HUB, config={"convergence": policy})
    run.reply("H", fork("W1", "W2"))
    run.reply("W1", final("one"))
    run.wait(6)
    records = run.at("H")["request"]
    assert [r["status"] for r in records] == ["completed", "failed"] and records[1]["error"]["kind"] == "timeout"
    run.reply("H", final("done"))
    run.reply("W2", final("late"))
    assert run.result == "done" and run.last("StepResultDiscarded").branch_id == "b0.f1.b1"


def test_a_person_decides_about_a_fork_that_was_late_and_its_orphan_finishes() -> None:
    policy = {"timeout": 5, "on_timeout": "user", "terminate_orphans": False}
    run = Run(HUB, config={"convergence": policy})
    run.reply("H", fork("W1", "W2"))
    run.reply("W1", final("one"))
    run.wait(6)
    run.answer("skip")
    assert [r["status"] for r in run.at("H")["request"]] == ["completed", "failed"]
    run.reply("H", final("done"))
    run.reply("W2", final("late"))
    assert run.result == "done"


def test_a_run_can_be_cancelled_while_only_orphans_are_left() -> None:
    from anabranch.domain.deciders import Supervisor
    from anabranch_contracts.messages import CancelRun

    run = eager()
    run.reply("H", final("done"))
    run.tell(Supervisor(), CancelRun(run_id=run.state.run_id))
    assert run.state.status == "cancelled" and not run.asked


def test_a_failed_fork_that_leaves_its_children_alone_lets_them_finish_unheard() -> None:
    topology = {"nodes": ["S", "H", "W", "X"], "edges": ["S <-> H", "H <-> W", "S <-> X", "W -> End"], "entry": "S"}
    run = Run(topology)
    run.reply("S", fork(*["H", "X"], convergence={"on_insufficient": "proceed"}))
    run.reply("H", fork(*["W", "W"], convergence={"fail_fast": True, "terminate_orphans": False}))
    run.fail("W", step_id="b0.f1.b0.f1.b0#1")
    assert run.last("BranchOrphaned").branch_id == "b0.f1.b0.f1.b1" and run.last("BranchFailed").branch_id == "b0.f1.b0"
    assert not run.of("BranchCancelled")
    run.reply("X", "x")
    run.reply("S", final("done"))
    run.reply("W", invoke("End"))
    assert run.result == "done" and run.replayed() == run.state


def test_what_is_parked_deep_inside_an_orphan_is_taken_from_its_node() -> None:
    topology = {
        "nodes": ["H", "W", "V", "X", {"name": "Y", "is_convergence_point": True}],
        "edges": ["H <-> W", "H <-> V", "W <-> X", "X <-> V", "V -> Y", "X -> Y"],
        "entry": "H",
    }
    run = Run(topology, config={"convergence": {**EAGER, "min_ratio": 0.3}})
    run.reply("H", fork(*["W", "V"]))
    run.reply("W", fork(*["X"], convergence={"eager": False}))
    run.reply("X", fork(*["V", "V"], convergence={"eager": False}))
    run.reply("V", invoke("Y"), "b0.f1.b0.f1.b0.f1.b0#1")
    run.reply("V", final("enough"), "b0.f1.b1#1")
    assert run.last("BranchCancelled").branch_id == "b0.f1.b0.f1.b0.f1.b0" and not run.state.parked
    run.reply("H", final("done"))
    run.reply("V", invoke("Y"), "b0.f1.b0.f1.b0.f1.b1#1")
    run.reply("X", final("x")) if "X" in [s["agent"] for s in run.asked.values()] else None
    while run.asked:
        run.reply(run.asked[next(iter(run.asked))]["agent"], final(0))
    assert run.result == "done" and run.replayed() == run.state


def test_an_orphans_question_is_answered_and_its_answer_is_heard_by_nobody() -> None:
    topology = {"nodes": ["H", "W1", "W2"], "edges": ["H <-> W1", "H <-> W2", "W2 -> User", "User -> H"], "entry": "H"}
    run = Run(topology, config={"convergence": EAGER})
    run.reply("H", fork(*["W1", "W2"]))
    run.reply("W1", final("one"))
    run.reply("W2", fork(*["User"], convergence={"eager": False}))
    run.reply("H", final("done"))
    assert run.state.status == "running" and run.state.shown_status == "waiting"
    run.answer("to whom?")
    run.tend()
    assert not run.of("StepResultDiscarded"), "no step came of it"
    while run.asked:
        run.reply("W2", final("unheard"))
    assert run.result == "done" and run.replayed() == run.state


def test_a_fork_that_a_person_is_asked_about_may_become_an_orphans() -> None:
    topology = {"nodes": ["H", "W1", "W2", "X"], "edges": ["H <-> W1", "H <-> W2", "W2 <-> X"], "entry": "H"}
    run = Run(topology, config={"convergence": EAGER})
    run.reply("H", fork(*["W1", "W2"]))
    run.reply("W2", fork(*["X"], convergence={"eager": False, "min_ratio": 1, "on_insufficient": "user"}))
    run.fail("X")
    assert run.open
    run.reply("W1", final("one"))
    run.reply("H", final("done"))
    assert run.state.shown_status == "waiting"
    run.answer("skip")
    run.tend()
    run.reply("W2", final("unheard"))
    assert run.result == "done" and run.replayed() == run.state


def test_an_orphan_is_told_that_what_its_fork_had_parked_was_cancelled() -> None:
    run = Run({**HUB, "edges": [*HUB["edges"], "W2 -> Y"]}, config={"convergence": EAGER})
    run.reply("H", fork("W1", "W2"))
    run.reply("W2", fork("X", "Y", "Y", convergence={"eager": False, "on_insufficient": "proceed"}))
    run.reply("W1", final("one"))
    run.fail("X")
    failed, *parked = run.at("W2")["request"]
    assert (failed["branch_id"], failed["status"]) == ("b0.f1.b1.f1.b0", "failed")
    assert parked == [{"agent": "W2", "branch_id": f"b0.f1.b1.f1.b{i}", "status": "cancelled"} for i in (1, 2)]


def nested(inside: dict[str, Any], outside: dict[str, Any]) -> Run:
    """S waits for the hub within `outside`; the hub goes on with W1, and W2 waits for X within `inside`."""
    topology = {
        "nodes": ["S", "H", "W1", "W2", "X"],
        "edges": ["S <-> H", "H <-> W1", "H <-> W2", "W2 <-> X"],
        "entry": "S",
    }
    run = Run(topology)
    run.reply("S", fork(*["H"], convergence=outside))
    run.reply("H", fork(*["W1", "W2"], convergence=EAGER))
    run.reply("W2", fork(*["X"], convergence=inside))
    return run


def test_a_clock_inside_an_orphan_stands_while_a_person_is_asked() -> None:
    run = nested({"timeout": 5, "on_timeout": "fail"}, {})
    run.reply("W1", final("one"))
    run.reply("X", {"next_action": "ask_user", "prompt": "well?"})
    run.wait(100)
    run.answer("yes")
    run.tend()
    run.reply("X", final("x"))
    assert run.at("W2")["request"][0]["status"] == "completed"


def test_a_clock_around_goes_on_though_a_person_is_asked_about_an_orphans_fork() -> None:
    run = nested({"on_insufficient": "user"}, {"timeout": 5, "on_timeout": "proceed"})
    run.fail("X")
    assert run.open
    run.reply("W1", final("one"))
    assert run.state.forks["b0.f1"].asking == 0 and run.state.asking == 1
    run.wait(6)
    assert run.at("S")["request"][0]["error"]["kind"] == "timeout"


def test_what_an_orphan_does_is_no_work_of_the_fork_that_it_left() -> None:
    run = nested({}, {"timeout": 5, "on_timeout": "proceed"})
    run.reply("W1", final("one"))
    run.reply("X", final("x"))
    assert run.state.forks["b0.f1"].busy == 1 and run.at("H") and run.at("W2")

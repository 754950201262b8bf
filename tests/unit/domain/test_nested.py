"""Semantics 5: forks in forks: who came whole, what a node still waits for, and which failure dooms a run."""

from anabranch_contracts.reply_builders import final_response, invoke_agent, parallel_invoke
from tests.unit.domain.runs import Run


def test_a_fork_whose_inner_forks_came_whole_came_whole_itself() -> None:
    topology = {
        "nodes": ["S", "A", "B", "C", "D", "Y"],
        "edges": ["S -> A", "S -> D", "A -> B", "A -> C", "B -> Y", "C -> Y", "D -> Y"],
    }
    run = Run(topology)
    run.reply("S", parallel_invoke(["A", "D"]))
    run.reply("A", parallel_invoke(["B", "C"]))
    for step_id, step in run.asked.items():
        run.reply(step["agent"], invoke_agent("Y", step_id), step_id)
    converged = run.last("BranchConverged")
    assert (converged.continues, converged.into_branch_id, len(converged.tokens)) == ("owner", "b0", 3)
    run.reply("Y", "met")
    assert run.result == "met" and run.replayed() == run.state


def test_a_fork_that_comes_with_a_child_at_home_did_not_come_whole() -> None:
    topology = {
        "nodes": ["S", "A", "B", "C", {"name": "Y", "is_convergence_point": True}],
        "edges": ["S -> A", "S -> B", "A <-> B", "A -> C", "B -> Y", "C -> Y", "A -> Y"],
    }
    run = Run(topology)
    run.reply("S", parallel_invoke(["A", "B"]))
    run.reply("A", parallel_invoke(["B", "C"]))
    run.reply("B", invoke_agent("A", "home"), "b0.f1.b0.f1.b0#1")
    run.reply("C", invoke_agent("Y", "c"))
    run.reply("B", invoke_agent("Y", "b"), "b0.f1.b1#1")
    run.reply("A", final_response("a"))
    assert run.last("BranchConverged").continues == "new" and run.replayed() == run.state


def test_nobody_at_work_beside_the_way_keeps_a_node_from_firing_nor_does_who_waits_there() -> None:
    """H waits on a fork whose children work where Y cannot be reached from, and W's own fork holds what is at Y."""
    topology = {
        "nodes": ["S", "L", "R", "Z", {"name": "Y", "is_convergence_point": True}],
        "edges": ["S -> L", "S -> R", "L <-> Z", "R -> Y", "S -> Y"],
    }
    run = Run(topology)
    run.reply("S", parallel_invoke(["L", "R", "Y"]))
    run.reply("L", parallel_invoke(["Z"]))
    run.reply("R", invoke_agent("Y", "r"))
    assert [r["branch_id"] for r in run.at("Y")["request"]] == ["b0.f1.b1", "b0.f1.b2"] and run.at("Z")


def test_where_something_can_still_come_the_next_node_fires() -> None:
    meeting = [{"name": name, "is_convergence_point": True} for name in "XY"]
    run = Run({"nodes": ["S", "L", "R", *meeting], "edges": ["S -> L", "L -> R", "L -> X", "S -> Y", "S -> X"]})
    run.reply("S", parallel_invoke(["L", "X", "Y"]))
    assert sorted(s["agent"] for s in run.asked.values()) == ["L", "Y"]
    run.reply("L", parallel_invoke(["R"]))
    assert sorted(s["agent"] for s in run.asked.values()) == ["R", "Y"], "L waits, and may still go to X"


def bearing() -> Run:
    """An outer fork of three may lose one; its first child's own fork is unmet, which it bears."""
    topology = {"nodes": ["S", "A", "B"], "edges": ["S <-> A", "A <-> B"], "entry": "S"}
    run = Run(topology)
    run.reply("S", parallel_invoke(["A", "A", "A"], convergence={"min_ratio": 0.6}))
    run.reply("A", parallel_invoke(["B", "B"]), "b0.f1.b0#1")
    run.fail("B", step_id="b0.f1.b0.f1.b0#1")
    return run


def test_a_failure_that_the_fork_around_can_bear_dooms_nobody_yet() -> None:
    run = bearing()
    assert "b0.f1.b0.f1.b1#1" in run.asked and len(run.asked) == 3


def test_it_does_once_that_fork_has_lost_what_it_may() -> None:
    run = bearing()
    run.fail("A", step_id="b0.f1.b1#1")
    assert run.state.status == "failed" and run.state.error["type"] == "ForkFailed"
    assert "fork b0.f1.b0.f1 at A" in run.state.error["message"] and run.replayed() == run.state


def test_but_not_where_the_unmet_fork_has_settled_meanwhile() -> None:
    run = bearing()
    run.reply("B", "b", "b0.f1.b0.f1.b1#1")
    assert run.last("BranchFailed").branch_id == "b0.f1.b0" and run.state.status == "running"
    run.reply("A", final_response("one"), "b0.f1.b1#1")
    run.reply("A", final_response("two"), "b0.f1.b2#1")
    assert [r["status"] for r in run.at("S")["request"]] == ["failed", "completed", "completed"]


def test_what_dooms_a_run_in_a_pause_ends_it_when_it_goes_on() -> None:
    run = Run({"nodes": ["H", "W", "X"], "edges": ["H <-> W", "W <-> X"], "entry": "H"})
    run.reply("H", parallel_invoke(["W"]))
    run.reply("W", parallel_invoke(["X", "X"]))
    run.pause()
    run.fail("X", step_id="b0.f1.b0.f1.b0#1")
    assert run.state.shown_status == "paused" and list(run.asked) == ["b0.f1.b0.f1.b1#1"]
    run.resume()
    assert run.state.status == "failed" and run.replayed() == run.state

"""Semantics 5: forks in forks: who came whole, what a node still waits for, and which failure dooms a run."""

from anabranch.domain.settling import insufficient
from anabranch.domain.state import Fork
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


MEET: list[dict[str, object]] = [{"name": name, "is_convergence_point": True} for name in "ZY"]


def test_of_nodes_that_nothing_can_reach_any_more_the_first_declared_fires_first() -> None:
    run = Run({"nodes": ["S", *MEET], "edges": ["S -> Z", "S -> Y"]})
    run.reply("S", parallel_invoke(["Y", "Z"]))
    assert [e.node for e in run.of("BranchConverged")] == ["Z", "Y"]


def test_of_nodes_that_wait_for_each_other_the_one_furthest_upstream_fires_first_then_the_first_declared() -> None:
    edges = ["S -> Z", "S -> Y", "Z -> Y", "Y -> Z"]
    run = Run({"nodes": ["S", *MEET], "edges": edges})
    run.reply("S", parallel_invoke(["Y", "Z"]))
    assert run.of("BranchConverged")[0].node == "Z"
    late: dict[str, object] = {"name": "B", "is_convergence_point": True}
    run = Run({"nodes": ["S", late, *MEET], "edges": [*edges, "Y -> B", "B -> B", "S -> B"]})
    run.reply("S", parallel_invoke(["B", "Y", "Z"]))
    assert run.of("BranchConverged")[0].node == "Z", "B is declared before it, and downstream"


def met_anew() -> Run:
    """Of three children of a fork two meet, and the third comes home: who goes on is new, twice, at two depths."""
    topology = {
        "nodes": ["S", "H", "A", "B", "C", "Y"],
        "edges": ["S <-> H", "H <-> A", "H <-> B", "H <-> C", "A -> Y", "B -> Y", "Y -> H"],
        "entry": "S",
    }
    run = Run(topology)
    run.reply("S", parallel_invoke(["H"]))
    for number in (1, 2):
        run.reply("H", parallel_invoke(["A", "B", "C"]))
        run.reply("A", invoke_agent("Y", "a"))
        run.reply("C", final_response("c"))
        run.reply("B", invoke_agent("Y", "b"))
        if number == 1:
            run.reply("Y", invoke_agent("H", "y"))
    return run


def test_who_meets_anew_has_a_place_of_its_own_in_the_tree_each_time() -> None:
    first, second = met_anew().of("BranchConverged")
    assert (first.continues, first.into_branch_id) == ("new", "b0.f1.b0.f1.c5.1")
    assert (second.continues, second.into_branch_id) == ("new", "b0.f1.b0.f2.c5.2")
    assert first.order == [0, 0, 1, 0, 0, 1, 1, 5, 1] and second.order == [0, 0, 1, 0, 0, 2, 1, 5, 2]


def test_and_comes_after_the_children_that_were_invoked() -> None:
    run = met_anew()
    run.reply("Y", invoke_agent("H", "y"))
    assert [(r["agent"], r["branch_id"]) for r in run.at("H")["request"]] == [
        ("C", "b0.f1.b0.f2.b2"), ("Y", "b0.f1.b0.f2.c5.2"),
    ]  # fmt: skip
    assert run.replayed() == run.state


SHORT = {"nodes": ["S", "A", "B", "C", "Y"], "edges": ["S -> A", "S -> B", "S -> C", "A -> Y", "B -> Y", "C -> Y"]}


def short(**policy: object) -> Run:
    """One of three fails on its way to where the others meet."""
    run = Run(SHORT, config={"convergence": policy})
    run.reply("S", parallel_invoke(["A", "B", "C"]))
    run.fail("C")
    run.reply("A", invoke_agent("Y", "a"))
    run.reply("B", invoke_agent("Y", "b"))
    return run


def test_who_failed_on_the_way_does_not_keep_the_owner_from_going_on_where_the_others_met() -> None:
    assert short(min_ratio=0.5).last("BranchConverged").continues == "owner"
    assert short(on_insufficient="proceed").last("BranchConverged").continues == "owner"


def test_it_does_where_a_person_is_to_decide_whether_that_is_enough() -> None:
    assert short(on_insufficient="user").last("BranchConverged").continues == "new"


def test_a_fork_that_failed_names_itself_how_many_failed_and_the_first_that_did() -> None:
    run = Run(SHORT, config={"convergence": {"min_ratio": 0.75}})
    run.reply("S", parallel_invoke(["A", "B", "C"]))
    run.fail("C")
    said = "1 of 3 invocations of fork b0.f1 at S failed (min_ratio 0.75): b0.f1.b2 at C: broken"
    assert run.state.error["message"].startswith(said) and run.state.error["kind"] == "insufficient"
    run = Run({"nodes": ["A", "B"], "entry": ["A", "B"]})
    run.fail("B")
    assert run.state.error["message"].startswith(
        "1 of 2 invocations of the run failed (min_ratio 1.0): b1 at B: broken"
    )


def test_a_fork_whose_time_was_over_names_itself_and_the_time() -> None:
    run = Run(SHORT, config={"convergence": {"timeout": 2.5}})
    run.reply("S", parallel_invoke(["A", "B"]))
    run.wait(3)
    (cause,) = run.state.error["causes"]
    assert cause["message"].startswith("fork b0.f1 at S was not there after 2.5 s") and cause["agent"] == "S"
    run = Run({"nodes": ["A", "B"], "entry": ["A", "B"]}, config={"convergence": {"timeout": 60}})
    run.wait(60)
    assert run.state.error == {
        "kind": "timeout", "type": "ConvergenceTimeout", "message": "the run was not there after 60 s", "causes": [],
    }  # fmt: skip


def test_a_fork_recorded_without_a_policy_is_under_the_default_one() -> None:
    fork = Fork("b0.f1", "b0", "S", 2, {}, "", arrivals=1)
    assert not fork.unmet and fork.brittle and not fork.shared and not fork.wants_people and not fork.doubtful
    fork.failed = 1
    assert fork.unmet and fork.doubtful
    assert insufficient(fork)["message"] == "1 of 2 invocations of fork b0.f1 at S failed (min_ratio 1.0)"


def test_what_was_delivered_is_the_result_though_everybody_was_cancelled_since() -> None:
    run = Run({"nodes": ["A", "B"], "edges": ["A -> B", "A -> End"], "entry": "A"})
    run.reply("A", parallel_invoke(["End", "B"], {"End": "early"}))
    run.cancel("b0")
    run.tend()
    assert run.state.status == "completed" and run.result == "early"


def test_a_run_of_which_nothing_came_is_cancelled_only_if_everybody_was() -> None:
    run = Run({"nodes": ["A", "B"], "entry": ["A", "B"]}, config={"convergence": {"on_insufficient": "proceed"}})
    run.cancel("b0")
    run.fail("B")
    assert run.state.status == "completed" and run.result is None and run.state.result_count == 0


def test_a_fork_to_a_node_where_an_ancestor_waits_starts_a_branch_there_though_paths_meet_there_too() -> None:
    topology = {
        "nodes": ["S", "A", "B", "C"],
        "edges": ["S -> A", "S -> B", "B -> A", "A -> C", "C -> A"],
        "entry": "S",
    }
    run = Run(topology)
    run.reply("S", parallel_invoke(["A"]))
    run.reply("A", parallel_invoke(["C"]))
    run.reply("C", parallel_invoke(["A", "A"]))
    assert [e.fork_id for e in run.of("ContributionParked")] == ["b0.f1"], "only by who has no waiting ancestor there"
    assert list(run.asked) == ["b0.f2.b0.f1.b0#1", "b0.f2.b0.f1.b1#1"] and run.replayed() == run.state


DEEP = {
    "nodes": ["S", "A", "B", "C", "D", "E", "Y"],
    "edges": ["S -> A", "S -> E", "A -> B", "B <-> C", "B <-> D", "C -> Y", "D -> Y", "E -> Y"],
}


def deep() -> Run:
    """Three forks in each other; C of the innermost and E of the outermost are parked at Y, D is at work."""
    run = Run(DEEP)
    run.reply("S", parallel_invoke(["A", "E"]))
    run.reply("A", parallel_invoke(["B"]))
    run.reply("B", parallel_invoke(["C", "D"], convergence={"on_insufficient": "proceed"}))
    run.reply("C", invoke_agent("Y", "c"))
    run.reply("E", invoke_agent("Y", "e"))
    return run


def test_forks_come_whole_from_the_innermost_outwards() -> None:
    run = deep()
    run.reply("D", invoke_agent("Y", "d"))
    converged = run.last("BranchConverged")
    assert (converged.continues, converged.into_branch_id) == ("owner", "b0")


def test_who_failed_on_the_way_to_the_node_would_have_come() -> None:
    run = deep()
    run.fail("D")
    converged = run.last("BranchConverged")
    assert (converged.continues, converged.into_branch_id) == ("owner", "b0")


def test_around_a_fork_that_did_not_come_whole_none_did() -> None:
    run = deep()
    run.reply("D", invoke_agent("B", "home"))
    assert run.last("BranchConverged").continues == "new" and run.at("B")

"""Semantics 5: forks settle, convergence nodes fire, and who goes on."""

from typing import Any

from tests.unit.domain.runs import Run

HUB = {
    "nodes": [{"name": "H", "dispatch": "all"}, "W1", "W2"],
    "edges": ["H <-> W1", "H <-> W2"],
    "entry": "H",
}
DIAMOND = {
    "nodes": [{"name": "S", "dispatch": "all"}, "L", "R", "Y"],
    "edges": ["S -> L", "S -> R", "L -> Y", "R -> Y"],
}


def fork(*agents: str) -> dict[str, Any]:
    return {"next_action": "parallel_invoke", "agents": list(agents)}


def final(value: object) -> dict[str, Any]:
    return {"next_action": "final_response", "final_response": value}


def test_a_hub_resumes_with_records_in_tree_order_whatever_the_order_of_arrival() -> None:
    run = Run(HUB)
    run.reply("H", "split")
    run.reply("W2", "two")
    assert not [s for s in run.asked.values() if s["agent"] == "H"]
    run.reply("W1", "one")
    records = run.at("H")["request"]
    assert [(r["agent"], r["status"], r["result"]) for r in records] == [
        ("W1", "completed", "one"),
        ("W2", "completed", "two"),
    ]
    run.reply("H", "done")
    assert run.result == "done" and run.last("BranchCompleted").branch_id == "b0"


def test_rule_1_the_owner_of_a_fork_that_came_whole_goes_on_at_the_node() -> None:
    run = Run(DIAMOND)
    run.reply("S", "go")
    run.reply("R", "r")
    run.reply("L", "l")
    step = run.at("Y")
    assert step["branch_id"] == "b0" and [r["result"] for r in step["request"]] == ["l", "r"]
    assert run.last("BranchConverged").continues == "owner"


def test_where_detection_is_switched_off_paths_meet_only_where_it_was_declared() -> None:
    run = Run(DIAMOND, config={"auto_detect_convergence": False})
    run.reply("S", "go")
    run.reply("L", "l")
    assert run.at("Y")["request"] == "l" and not run.of("BranchParked")


def test_rule_2_a_single_branch_goes_on_itself() -> None:
    run = Run({**DIAMOND, "entry": ["L"], "nodes": ["L", "Y"], "edges": ["L -> Y"]})
    run = Run({"nodes": ["L", {"name": "Y", "is_convergence_point": True}], "edges": ["L -> Y"]})
    run.reply("L", "alone")
    assert run.at("Y")["branch_id"] == "b0" and run.last("BranchConverged").continues == "token"


def test_rule_3_else_a_new_branch_starts_inside_the_common_fork() -> None:
    run = Run({"nodes": ["A", "B", "Y"], "edges": ["A -> Y", "B -> Y"]})
    run.reply("A", "a")
    run.reply("B", "b")
    assert run.at("Y")["branch_id"] == "c2.1" and run.last("BranchConverged").continues == "new"
    run.reply("Y", "y")
    assert run.result == "y"


def test_a_child_that_ends_elsewhere_keeps_the_owner_from_going_on_at_the_node() -> None:
    run = Run(DIAMOND)
    run.reply("S", fork("L", "R"))
    run.reply("L", final("stays"))
    run.reply("R", "r")
    assert run.last("BranchConverged").continues == "token"
    run.reply("Y", "y")
    assert [r["result"] for r in run.at("S")["request"]] == ["stays", "y"]


def test_a_contribution_is_parked_by_the_fork_itself_and_names_its_agent() -> None:
    run = Run({**DIAMOND, "edges": [*DIAMOND["edges"], "S -> Y"]})
    run.reply("S", {"next_action": "parallel_invoke", "invocations": [
        {"agent": "Y", "request": "mine"}, {"agent": "L", "request": "do"}]})  # fmt: skip
    run.reply("L", "l")
    assert [(r["agent"], r["result"]) for r in run.at("Y")["request"]] == [("S", "mine"), ("L", "l")]


def test_the_ratio_decides_whether_failures_are_proceeded_over() -> None:
    config = {"convergence": {"min_ratio": 0.5}}
    run = Run(HUB, config=config)
    run.reply("H", "split")
    run.fail("W1")
    run.reply("W2", "two")
    records = run.at("H")["request"]
    assert [r["status"] for r in records] == ["failed", "completed"] and records[0]["error"]["message"]


def test_an_unmet_fork_that_dooms_the_run_ends_it_at_once() -> None:
    run = Run(HUB)
    run.reply("H", "split")
    run.fail("W1")
    assert run.state.status == "failed" and not run.asked
    assert run.state.error["causes"][0]["agent"] == "W1"


def test_an_unmet_fork_fails_its_owner_when_it_has_settled() -> None:
    topology = {
        "nodes": [
            {"name": "R", "dispatch": "all", "convergence": {"on_insufficient": "proceed"}},
            "H",
            "W1",
            "W2",
            "X",
        ],
        "edges": ["R <-> H", "R <-> X", "H <-> W1", "H <-> W2"],
        "entry": "R",
    }
    run = Run(topology)
    run.reply("R", "go")
    run.reply("H", fork("W1", "W2"))
    run.fail("W1")
    assert run.at("W2") and run.state.status == "running"
    run.reply("W2", "two")
    run.reply("X", "x")
    assert [r["status"] for r in run.at("R")["request"]] == ["failed", "completed"]


def test_all_failed_and_proceed_resumes_with_what_went_wrong() -> None:
    run = Run(HUB, config={"convergence": {"on_insufficient": "proceed"}})
    run.reply("H", "split")
    run.fail("W1")
    run.fail("W2")
    assert [r["status"] for r in run.at("H")["request"]] == ["failed", "failed"]


def test_return_goes_to_the_nearest_ancestor_that_waits() -> None:
    topology = {"nodes": ["A", "B", "C"], "edges": ["A <-> B", "B -> C", "C -> A"], "entry": "A"}
    run = Run(topology)
    run.reply("A", fork("B"))
    run.reply("B", fork("C"))
    run.reply("C", "over B's head")
    assert [r["agent"] for r in run.at("A")["request"]] == ["C"]
    assert [e for e in run.kinds() if e == "BranchMerged"] == ["BranchMerged"]


def test_quiescence_fires_the_node_furthest_upstream() -> None:
    topology = {
        "nodes": ["S", {"name": "P", "is_convergence_point": True}, {"name": "Q", "is_convergence_point": True}],
        "edges": ["S -> P", "S -> Q", "P -> Q", "Q -> P"],
    }
    run = Run(topology)
    run.reply("S", fork("Q", "P"))
    assert run.at("P")["request"][0]["agent"] == "S"


def test_several_entries_form_the_root_fork() -> None:
    run = Run({"nodes": ["A", "B"], "edges": [], "entry": ["A", "B"]})
    run.reply("B", "b")
    run.reply("A", "a")
    assert run.result == [
        {"agent": "A", "branch_id": "b0", "result": "a"},
        {"agent": "B", "branch_id": "b1", "result": "b"},
    ]


def test_only_ends_merge_the_forking_branch() -> None:
    run = Run({"nodes": ["A"], "edges": ["A -> End"]})
    run.reply("A", {"next_action": "parallel_invoke", "invocations": [{"agent": "End", "request": i} for i in (1, 2)]})
    assert [r["result"] for r in run.result] == [1, 2]


def test_what_is_parked_further_up_goes_first_though_it_was_declared_later() -> None:
    meeting = [{"name": name, "is_convergence_point": True} for name in "YX"]
    run = Run({"nodes": ["S", *meeting], "edges": ["S -> Y", "S -> X", "X -> Y"]})
    run.reply("S", fork("Y", "X"))
    assert [step["agent"] for step in run.asked.values()] == ["X"]
    run.reply("X", "x")
    assert [r["branch_id"] for r in run.at("Y")["request"]] == ["b0.f1.b0", "b0.f1.c2.1"]


def test_firings_of_one_node_follow_each_other() -> None:
    run = Run({"nodes": ["A", {"name": "Y", "is_convergence_point": True}], "edges": ["A -> Y", "Y -> A"]})
    for agent in ("A", "Y") * 3:
        run.reply(agent, "on")
    assert [event.convergence_id for event in run.of("BranchConverged")] == ["Y#1", "Y#2", "Y#3"]


def test_who_was_cancelled_on_the_way_did_not_arrive_and_keeps_nobody_from_coming_whole() -> None:
    run = Run({**DIAMOND, "nodes": ["S", "L", "R", "Y"]})
    run.reply("S", fork("L", "R", "R"))
    run.cancel("b0.f1.b2")
    run.reply("L", "l")
    run.reply("R", "r")
    assert run.last("BranchConverged").continues == "owner"
    (trace,) = [row for row in run.rows("convergences") if row["convergence_id"] == "b0.f1"]
    assert (trace["arrived"], trace["failed"]) == (2, 0)

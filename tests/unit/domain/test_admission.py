"""Semantics 10: `MaxParallelBranchesRule` is admission, not failure: who is too many waits as `pending`."""

from anabranch_contracts.reply_builders import ask_user, final_response, invoke_agent, parallel_invoke
from tests.unit.domain.runs import Run
from tests.unit.domain.test_rules import HUB, SPLIT


def admitted(run: Run) -> list[str]:
    return [step["branch_id"] for step in run.asked.values()]


def test_so_many_branches_run_at_once_and_the_others_wait() -> None:
    run = Run({**HUB, "rules": ["max_parallel_branches(2)"]})
    run.reply("H", SPLIT)
    assert admitted(run) == ["b0.f1.b0", "b0.f1.b1"]
    assert [row["status"] for row in run.rows("branch_rows")].count("pending") == 2
    run.reply("W", final_response(1), "b0.f1.b1#1")
    assert admitted(run) == ["b0.f1.b0", "b0.f1.b2"]
    for i in (0, 2, 3):
        run.reply("W", final_response(i), f"b0.f1.b{i}#1")
    assert [r["status"] for r in run.at("H")["request"]] == ["completed"] * 4
    assert run.state.most_running == 2 and not run.of("RuleApplied") and run.replayed() == run.state


def test_a_run_has_so_much_under_way_and_keeps_the_rest_for_later() -> None:
    run = Run({"nodes": ["H", "W"], "edges": ["H <-> W"], "entry": "H"})
    run.reply("H", parallel_invoke(["W"] * 300))
    assert len(run.asked) == run.state.config["max_in_flight"] == 256
    for i in range(300):
        run.reply("W", final_response(i), f"b0.f1.b{i}#1")
        assert len(run.asked) == min(256, 299 - i) or i == 299
    assert len(run.at("H")["request"]) == 300 and run.state.most_running == 256 and run.replayed() == run.state


def test_the_narrower_of_rule_and_setting_counts_and_runs_of_an_earlier_release_have_no_setting() -> None:
    for most, expected in ((2, 2), (9, 3), (None, 3)):
        run = Run({**HUB, "rules": ["max_parallel_branches(3)"]}, config={"max_in_flight": most or 1})
        if most is None:
            del run.state.config["max_in_flight"]
        run.reply("H", SPLIT)
        assert len(run.asked) == expected


def test_who_waits_for_a_person_or_a_fork_holds_no_place() -> None:
    topology = {"nodes": ["H", "W", "X"], "edges": ["H <-> W", "W <-> X"], "entry": "H"}
    run = Run({**topology, "rules": ["max_parallel_branches(1)"]})
    run.reply("H", SPLIT)
    run.reply("W", ask_user("well?"), "b0.f1.b0#1")
    run.reply("W", parallel_invoke(["X"]), "b0.f1.b1#1")
    assert admitted(run) == ["b0.f1.b2"]
    run.answer("so")
    assert admitted(run) == ["b0.f1.b2"]
    run.reply("W", final_response(2), "b0.f1.b2#1")
    assert admitted(run) == ["b0.f1.b3"]
    run.reply("W", final_response(3), "b0.f1.b3#1")
    assert admitted(run) == ["b0.f1.b1.f1.b0"]


def test_a_branch_that_runs_goes_on_without_asking_for_a_place() -> None:
    topology = {"nodes": ["H", "W", "X"], "edges": ["H <-> W", "W -> X"], "entry": "H"}
    run = Run({**topology, "rules": ["max_parallel_branches(1)"]})
    run.reply("H", SPLIT)
    run.reply("W", invoke_agent("X"), "b0.f1.b0#1")
    assert list(run.asked) == ["b0.f1.b0#2"]


def test_a_person_among_many_is_asked_at_once_and_what_follows_the_answer_waits_for_a_place() -> None:
    topology = {"nodes": ["H", "W", "X"], "edges": ["H <-> W", "H -> User", "User -> X"], "entry": "H"}
    run = Run({**topology, "rules": ["max_parallel_branches(1)"]})
    run.reply("H", parallel_invoke(["W", "User"], {"User": "well?"}))
    assert admitted(run) == ["b0.f1.b0"] and [r["branch_id"] for r in run.open.values()] == ["b0.f1.b1"]
    run.answer("so")
    assert admitted(run) == ["b0.f1.b0"] and not run.open and run.replayed() == run.state
    run.reply("W", final_response("w"))
    assert run.at("X")["request"] == "so"
    run.reply("X", final_response("x"))
    assert [r["result"] for r in run.at("H")["request"]] == ["w", "x"] and run.state.most_running == 1


def test_a_retry_that_comes_due_when_the_run_is_full_waits_for_its_place() -> None:
    rules = ["max_parallel_branches(1)"]
    run = Run({"nodes": ["A", "B"], "entry": ["A", "B"], "rules": rules}, config={"retry": {"base_delay": 10}})
    run.fail("A", "transient")
    assert not run.asked, "who waits for its retry keeps its place"
    run = Run({"nodes": ["A", "B"], "edges": ["A -> User", "User -> A"], "entry": ["A", "B"], "rules": rules})
    run.fail("A", "recoverable")
    assert list(run.asked) == ["b1#1"], "who waits for a person does not"
    run.answer("retry")
    run.tend()
    held = run.last("BranchHeld")
    assert list(run.asked) == ["b1#1"] and (held.branch_id, held.agent, held.request) == ("b0", "A", "task")
    run.reply("B", "b")
    step = run.at("A")
    assert (step["step_id"], step["attempt"], step["request"]) == ("b0#1", 2, "task")
    assert run.replayed() == run.state


def test_who_goes_on_from_a_convergence_stands_in_line_like_others() -> None:
    topology = {
        "nodes": ["S", "V", "A", "B", "W", "Y"],
        "edges": ["S -> A", "S -> B", "A -> Y", "B -> Y", "V <-> W"],
        "entry": ["S", "V"],
        "rules": ["max_parallel_branches(1)"],
    }
    run = Run(topology)
    run.reply("S", parallel_invoke(["A", "B"]))
    run.reply("V", parallel_invoke(["W", "W"]))
    run.reply("A", "a")
    run.reply("B", "b")
    (row,) = [row for row in run.rows("branch_rows") if row["branch_id"] == "b0"]
    assert admitted(run) == ["b1.f1.b0"] and (row["status"], row["agent"]) == ("pending", "Y")
    run.reply("W", final_response(0), "b1.f1.b0#1")
    run.reply("W", final_response(1), "b1.f1.b1#1")
    assert run.at("Y")["branch_id"] == "b0"


def test_what_has_come_to_the_run_is_counted_while_it_lives() -> None:
    run = Run({"nodes": ["A", "B", "C"], "entry": ["A", "B", "C"]})
    for agent, results in (("A", 1), ("B", 2)):
        run.reply(agent, "done")
        assert run.rows("run_rows")[-1]["result_count"] == results

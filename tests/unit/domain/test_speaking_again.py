"""Semantics 10: `pause` and `notify_user` speak when their condition becomes true, and again after it was false."""

from typing import Any

import pytest

from anabranch_contracts.reply_builders import final_response, invoke_agent, parallel_invoke
from anabranch_contracts.rules import PYTHON_CONDITIONS, ConditionalRule
from tests.unit.domain.runs import Run

JSON = Any
TALK = {"nodes": ["A", "B"], "edges": ["A <-> B"]}
HUB = {"nodes": ["H", "W", "X"], "edges": ["H <-> W", "H <-> X"], "entry": "H"}


def rule(condition: Any, action: str) -> JSON:
    return ConditionalRule(condition=condition, action=action).wire()  # type: ignore[arg-type]


def talk(condition: str, action: str) -> tuple[Run, list[int]]:
    """A and B take six steps in turn; those before which the rule spoke."""
    run, spoke = Run({**TALK, "rules": [rule(condition, action)]}), []
    for number in range(1, 7):
        if len(run.of("RuleApplied")) > len(spoke):
            spoke.append(number)
        if run.state.paused:
            assert not run.asked
            run.resume()
        run.reply("BA"[number % 2], "so")
    assert len(run.of("RuleApplied")) - len(spoke) <= 1 and run.replayed() == run.state
    return run, spoke


@pytest.mark.parametrize("action", ["pause", "notify_user"])
def test_a_rule_speaks_each_time_its_condition_becomes_true(action: str) -> None:
    run, spoke = talk("step.agent == 'B'", action)
    assert spoke == [2, 4, 6] and len(run.of("RuleLifted")) == 3
    assert len(run.of("RunPaused")) == (3 if action == "pause" else 0)
    assert len(run.open) == (3 if action == "notify_user" else 0)


@pytest.mark.parametrize("action", ["pause", "notify_user"])
def test_and_is_silent_while_it_stays_so(action: str) -> None:
    run, spoke = talk("step.number > 1 && step.number < 5", action)
    assert spoke == [2] and len(run.of("RuleLifted")) == 1


def test_a_step_that_a_rule_has_held_passes_although_others_lifted_the_rule_meanwhile() -> None:
    """About the run: true again when the held one is asked, and false in between."""
    run = Run({**HUB, "rules": [rule("run.total_steps > 0 && run.total_steps % 2 == 0", "pause")]})
    run.reply("H", parallel_invoke(["W", "X", "W", "X"]))
    assert run.state.paused and len(run.asked) == 1
    run.resume()
    assert len(run.asked) == 4 and not run.state.paused
    assert len(run.of("RunPaused")) == len(run.of("RuleLifted")) == 1 and run.replayed() == run.state


def test_what_passed_once_is_no_pass_for_the_steps_after_it() -> None:
    run = Run({**HUB, "rules": [rule("step.agent == 'W'", "pause")]})
    run.reply("H", parallel_invoke(["W", "X"]))
    assert run.state.paused and not run.asked
    run.resume()
    assert sorted(s["agent"] for s in run.asked.values()) == ["W", "X"]
    assert len(run.of("RunPaused")) == 1 and not run.state.paused
    for agent in "WX":
        run.reply(agent, final_response(agent))
    run.reply("H", invoke_agent("W"))
    assert run.state.paused and run.replayed() == run.state


@pytest.mark.parametrize("order", [["W", "W", "X", "W"], ["W", "X", "W", "W"], ["X", "W", "W", "W"]])
def test_a_rule_about_a_step_is_asked_of_each_branch_whatever_their_order(order: list[str]) -> None:
    run = Run({**HUB, "rules": [rule("step.agent == 'W'", "pause")]})
    run.reply("H", parallel_invoke(order))
    for held in (1, 2, 3):
        assert run.state.paused and len(run.of("RuleApplied")) == held
        run.resume()
    assert not run.state.paused and len(run.asked) == 4 and run.replayed() == run.state


def test_what_has_been_true_since_before_a_fork_is_not_asked_of_each_child() -> None:
    run = Run({**HUB, "rules": [rule("context.risky", "pause")]}, context={"risky": True})
    run.resume()
    run.reply("H", parallel_invoke(["W"] * 5))
    assert not run.state.paused and len(run.asked) == 5 and len(run.of("RuleApplied")) == 1


def test_nor_is_it_asked_of_the_branch_that_starts_where_children_meet() -> None:
    topology = {"nodes": ["H", "W", "X", "Z", "Y"], "edges": ["H -> W", "H -> X", "H -> Z", "W -> Y", "X -> Y"]}
    run = Run({**topology, "rules": [rule("context.risky", "pause")]}, context={"risky": True})
    run.resume()
    run.reply("H", parallel_invoke(["W", "X", "Z"]))
    run.reply("W", "w")
    run.reply("X", "x")
    assert run.last("BranchConverged").continues == "new"
    assert run.at("Y") and not run.state.paused and len(run.of("RuleApplied")) == 1


def test_another_topologys_rules_have_held_nobody_yet() -> None:
    run = Run({**TALK, "rules": [rule("step.agent == 'B'", "pause")]})
    run.reply("A", "so")
    forked = run.fork(len(run.events), topology={**TALK, "rules": [rule("step.number == 2", "pause")]})
    assert forked.state.paused and not forked.asked


def test_a_step_that_several_rules_hold_passes_each_of_them_once() -> None:
    run = Run({**TALK, "rules": [rule("step.agent == 'B'", "pause"), rule("step.number == 2", "pause")]})
    run.reply("A", "so")
    for place in (0, 1):
        assert run.state.paused and run.last("RuleApplied").rule == place
        run.resume()
    assert run.at("B") and run.replayed() == run.state


def test_a_fork_into_another_topology_amid_a_decision_may_lift_a_rule_that_never_spoke_there() -> None:
    topology = {**TALK, "rules": [rule("step.agent == 'B'", "notify_user")]}
    run = Run(topology)
    run.reply("A", "so")
    run.reply("B", "so")
    other = run.fork(run.kinds().index("RuleLifted"), topology=topology)
    assert other.at("A")["request"] == "so" and other.of("RuleLifted")
    other.reply("A", "so")
    assert len(other.of("RuleApplied")) == 2 and other.replayed() == other.state


def made(action: str) -> JSON:
    """A rule as it is made whenever its program starts."""
    return rule(lambda ctx: action == "allow", action)


@pytest.mark.parametrize("action", ["allow", "block", "pause", "notify_user"])
def test_a_python_condition_that_is_not_known_here_pauses_the_run_until_it_is(
    action: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run({**TALK, "rules": [made(action)]})
    name = made(action)["condition"]
    monkeypatch.delitem(PYTHON_CONDITIONS, name)
    run.reply("A", "so")
    for _ in range(2):
        assert run.state.shown_status == "paused" and not run.asked and not run.of("RuleApplied")
        assert f"{name} is not known here; make the rule, then resume" in run.last("RunPaused").reason
        run.resume()
    made(action)
    run.resume()
    assert run.at("B")["request"] == "so" and run.replayed() == run.state

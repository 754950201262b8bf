"""Semantics 10: conditions of rules, what they may ask, and what the guard keeps out."""

from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from anabranch.domain.conditions import MAX_LENGTH, holds, wrong_with
from anabranch_contracts.rules import ConditionalRule
from tests.unit.domain.runs import RUN, Run

JSON = Any
CHAIN = {"nodes": ["A", "B"], "edges": ["A -> B"]}


def ruled(*rules: tuple[str, str], **more: JSON) -> Run:
    """A chain under rules of (condition, action), its first step done."""
    written = [{"type": "ConditionalRule", "condition": c, "action": action} for c, action in rules]
    run = Run({**CHAIN, "rules": written}, **more)
    if run.asked:
        run.reply("A", "a")
    return run


VERDICTS = [
    ("allow", "true", "running"),
    ("allow", "false", "failed"),
    ("block", "false", "running"),
    ("block", "true", "failed"),
    ("terminate", "false", "running"),
    ("terminate", "true", "failed"),
    ("pause", "false", "running"),
    ("pause", "true", "paused"),
    ("notify_user", "false", "running"),
    ("notify_user", "true", "running"),
]


@pytest.mark.parametrize(("action", "outcome", "status"), VERDICTS)
def test_a_rule_speaks_before_a_step_and_every_verdict_but_allow_is_an_event(
    action: str, outcome: str, status: str
) -> None:
    condition = f"step.agent != 'B' || {outcome}" if action == "allow" else f"step.agent == 'B' && {outcome}"
    run = ruled(("step.number < 9", "allow"), (condition, action))
    spoke = (outcome == "false") == (action == "allow")
    assert run.state.shown_status == status and (status == "running") == bool(run.asked)
    assert [(r.rule, r.type, r.action, r.branch_id) for r in run.of("RuleApplied")] == [
        (1, "ConditionalRule", action, "b0")
    ] * spoke
    assert run.replayed() == run.state


def test_a_run_that_a_rule_ends_names_the_rule() -> None:
    run = ruled(("step.agent == 'B'", "block"))
    assert run.last("RuleApplied").reason == "block at B: step.agent == 'B'"
    assert run.state.error == {
        "kind": "rule",
        "type": "ConditionalRule",
        "message": "block at B: step.agent == 'B'",
    }
    assert "not allowed at B" in ruled(("step.agent == 'A'", "allow")).state.error["message"]


def test_a_rule_pauses_once_and_the_step_is_asked_when_the_run_goes_on() -> None:
    run = ruled(("true", "pause"))
    assert run.state.shown_status == "paused" and run.kinds().count("RunPaused") == 1
    run.resume()
    run.reply("A", "a")
    assert run.at("B")["request"] == "a" and run.kinds().count("RunPaused") == 1


def test_a_notice_tells_a_person_once_and_nothing_waits_for_it() -> None:
    run = ruled(("true", "notify_user"))
    (notice,) = run.open.values()
    assert notice["kind"] == "notice" and "notify_user at A: true" in notice["prompt"]
    assert run.at("B") and run.state.shown_status == "running"
    run.answer("seen")
    run.reply("B", "b")
    assert run.result == "b" and run.replayed() == run.state


def test_the_first_rule_that_says_no_is_the_one() -> None:
    run = ruled(("false", "block"), ("true", "terminate"), ("true", "block"))
    assert [r.rule for r in run.of("RuleApplied")] == [1]


FACTS = [
    f"run.id == '{RUN}'",
    "run.total_steps == 1 && run.branch_count == 1 && run.parallel_branches == 1",
    "run.tokens == 7 && run.cost == 0.5",
    "branch.id == 'b0' && branch.type == 'simple' && branch.agent == 'A' && branch.steps == 1",
    "step.number == 2 && step.agent == 'B' && step.request.words[0] == 'hi'",
    "context.user == 'ann' && context.k == 2",
    "has(context.user) && !has(context.other)",
]


@pytest.mark.parametrize("condition", FACTS)
def test_a_condition_may_ask_about_run_branch_step_and_context(condition: str) -> None:
    rule = {"type": "ConditionalRule", "condition": f"step.agent == 'A' || ({condition})", "action": "allow"}
    run = Run({**CHAIN, "rules": [rule]}, context={"user": "ann", "k": 1})
    reply = {"next_action": "invoke_agent", "action_input": "B", "request": {"words": ["hi"]}}
    run.reply("A", {**reply, "context_updates": {"k": 2}}, usage={"input_tokens": 3, "output_tokens": 4, "cost": 0.5})
    assert run.at("B")


JUST: list[JSON] = [[0] * 10_000, "x" * 10_000, {str(i): 0 for i in range(10_000)}]


@pytest.mark.parametrize("value", JUST, ids=["list", "text", "object"])
def test_what_is_just_not_too_large_is_seen(value: JSON) -> None:
    rule = {"type": "ConditionalRule", "condition": "size(context.just) == 10000", "action": "allow"}
    assert Run({**CHAIN, "rules": [rule]}, context={"just": value}).at("A")


def test_of_an_object_that_is_just_not_too_large_the_rest_is_seen() -> None:
    rule = {"type": "ConditionalRule", "condition": "size(context.just) == 9999", "action": "allow"}
    just = {**{str(i): 0 for i in range(9_999)}, "large": "x" * 10_001}
    assert Run({**CHAIN, "rules": [rule]}, context={"just": just}).at("A")


def test_what_is_too_large_inside_is_left_out_and_the_rest_is_seen() -> None:
    rule = {"type": "ConditionalRule", "condition": "has(context.o.small) && !has(context.o.large)", "action": "allow"}
    context = {"o": {"small": 1, "large": [{"deep": "x" * 10_001}]}}
    assert Run({**CHAIN, "rules": [rule]}, context=context).at("A")


LARGE = [
    ([0] * 10_001, "context.large"),
    ("x" * 10_001, "context.large"),
    ({"in": [[0] * 10_001]}, "context.large['in']"),
]


@pytest.mark.parametrize(("large", "where"), LARGE, ids=["list", "text", "inside"])
def test_what_is_too_large_to_go_through_is_left_out_of_what_they_see(large: JSON, where: str) -> None:
    rules = [{"type": "ConditionalRule", "condition": f"{where} != 0", "action": "block"}]
    rules += [{"type": "ConditionalRule", "condition": "context.small == 1", "action": "allow"}]
    run = Run({**CHAIN, "rules": rules}, context={"large": large, "small": 1})
    assert run.at("A")["context"]["large"] == large


NO_BOOLEAN = ["1", "'true'", "[true]", "null", "context"]
UNKNOWN = [
    "context.a.b.c == 1",
    "1 / 0 == 1",
    "'a' < 1",
]


@pytest.mark.parametrize("condition", [*NO_BOOLEAN, *UNKNOWN])
def test_what_cannot_be_evaluated_or_is_no_boolean_does_not_hold(condition: str) -> None:
    assert wrong_with(condition) is None and not holds(condition, {"run": {}, "context": {"a": {}}})
    assert ruled((condition, "allow")).state.status == "failed"
    assert ruled((condition, "block")).state.status == "running"


NESTED = "[1].map(x, [2].map(y, y)).size() == 1"
GUARDED = [
    ("x" * (MAX_LENGTH + 1), "4001 characters, the limit is 4000"),
    ("(" * 33 + "true" + ")" * 33, "nested deeper than 32"),
    ("size(" * 33 + "[]" + ")" * 33, "nested deeper than 32"),
    ("!" * 33 + "true", "nested deeper"),
    ("- " * 33 + "1 < 0", "nested deeper"),
    ("true ? true : " * 33 + "true", "nested deeper"),
    (NESTED, "a comprehension inside another"),
    (NESTED.replace(".map", " . map "), "a comprehension inside another"),
    (NESTED.replace("map", "existsOne"), "a comprehension inside another"),
    (NESTED.replace(".map(", ".map // (\n("), "a comprehension inside another"),
    (" && ".join(["[1].all(x, true)"] * 5), "a comprehension inside another"),
    (f"// '\n {NESTED} // '", "a comprehension inside another"),
    (f"'''it's''' == '' || {NESTED} || '' == \"'\"", "a comprehension inside another"),
    (f"r'\\' == '' || {NESTED} || '' == \"'\"", "a comprehension inside another"),
    (" + ".join(["1"] * 34) + " > 0", "33 additions, the limit is 32"),
    ("[1].map(x, x + x + x + x + x + x) != []", "5 additions, the limit is 4"),
    ("nobody", "asks about 'nobody'; known are run, branch, step, context"),
    ("[nobody].exists(x, x.knows == y)", "asks about 'nobody'"),
    ("run.nothing > 1 || has(context.run.nothing)", "asks about run.nothing; known of run are id, total_steps"),
    ("branch . nothing == ''", "asks about branch.nothing"),
    ("f(run) == 1", "calls 'f', which is not there; known are size, contains"),
    ("context.say.lowerAscii().contains('delete')", "calls 'lowerAscii'"),
    ("", "is no CEL expression"),
    ("run.total_steps <", "is no CEL expression"),
    ("lambda ctx: True", "is no CEL expression"),
    ("python:os.system:0", "cannot cross a wire"),
]


@pytest.mark.parametrize(("condition", "why"), GUARDED, ids=range(len(GUARDED)))
def test_the_guard_keeps_out_what_could_grow_without_end_and_says_why(condition: str, why: str) -> None:
    assert why in (wrong_with(condition) or "")
    run = ruled((condition, "allow"))
    assert run.state.status == "rejected" and "ConditionalRule" in run.state.error["message"]


LONG = "x" * 100
QUOTED = [
    (LONG, f"asks about '{LONG[:80]}'; known"),
    (f"run.{LONG} == 1", f"asks about run.{LONG[:80]}; known"),
    (f"{LONG}() == 1", f"calls '{LONG[:80]}', which"),
]


@pytest.mark.parametrize(("condition", "why"), QUOTED, ids=range(len(QUOTED)))
def test_what_is_strange_is_quoted_up_to_a_bound(condition: str, why: str) -> None:
    assert (wrong_with(condition) or "").startswith(why)


def test_what_the_parser_says_is_one_line_up_to_a_bound() -> None:
    said = wrong_with(f"'{'x' * 1000}' <") or ""
    assert said.startswith("is no CEL expression: ") and len(said) == len("is no CEL expression: ") + 300
    assert "\n" not in said and "  " not in said


FINE = [
    "(" * 32 + "true" + ")" * 32,
    "true ? true : " * 32 + "true",
    "true" + " " * (MAX_LENGTH - 4),
    " && ".join(["[1].all(x, x > 0)"] * 4),
    "'((((' + \"[].map(x, [].map(y, y))\" != '' // .map( .map( '",
    "'''[].map(x, [].map(y, y))''' != r'\\' // it's",
    "[1].all(x, (x in [1]) && size([x]) == 1)",
    "[1, 2].exists(x, x == 2) && [1].exists_one(x, true)",
    " + ".join(["1"] * 33) + " == 33",
]


@pytest.mark.parametrize("condition", FINE, ids=range(len(FINE)))
def test_what_is_flat_passes_whatever_its_texts_and_comments_say(condition: str) -> None:
    assert wrong_with(condition) is None and holds(condition, {})


def urgent(ctx: Any) -> bool:
    """The seed's own example."""
    return bool(ctx.metadata.get("priority") == "high")


@pytest.mark.parametrize(("priority", "status"), [("high", "running"), ("low", "failed"), (None, "failed")])
def test_in_one_process_a_condition_may_be_python(priority: JSON, status: str) -> None:
    rule = ConditionalRule(condition=urgent, action="allow")  # type: ignore[arg-type]
    context = {"metadata": {"priority": priority}} if priority else {}
    assert Run({**CHAIN, "rules": [rule.wire()]}, context=context).state.status == status


def test_a_python_condition_sees_what_cel_sees() -> None:
    seen: list[SimpleNamespace] = []
    rule = ConditionalRule(condition=lambda ctx: seen.append(ctx) or True)  # type: ignore[arg-type]
    Run({**CHAIN, "rules": [rule.wire()]}, context={"session_id": "s", "not a name": 1})
    (ctx,) = seen
    assert (ctx.session_id, ctx.user_data, ctx.run["id"], ctx.step["agent"]) == ("s", {}, str(RUN), "A")
    assert ctx.context["not a name"] == 1


def test_what_the_seed_asks_for_is_there_when_the_context_does_not_say_it() -> None:
    seen: list[SimpleNamespace] = []
    rule = ConditionalRule(condition=lambda ctx: seen.append(ctx) or True)  # type: ignore[arg-type]
    Run({**CHAIN, "rules": [rule.wire()]})
    (ctx,) = seen
    assert (ctx.metadata, ctx.user_data, ctx.session_id) == ({}, {}, None)


def test_a_python_condition_that_raises_does_not_hold() -> None:
    rule = ConditionalRule(condition=lambda ctx: ctx.nothing)  # type: ignore[arg-type]
    assert Run({**CHAIN, "rules": [rule.wire()]}).state.status == "failed"


def test_a_python_condition_of_another_process_is_refused_with_the_mend() -> None:
    foreign = ConditionalRule(condition=urgent).wire()  # type: ignore[arg-type]
    foreign["condition"] += str(UUID(int=1))
    run = Run({**CHAIN, "rules": [foreign]})
    assert run.state.status == "rejected"
    mend = "a Python condition cannot cross a wire; write it in CEL, as in 'branch.steps < 5'"
    assert wrong_with(foreign["condition"]) == mend and mend in run.state.error["message"]

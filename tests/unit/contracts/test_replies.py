"""Semantics 3: what an agent may answer."""

from collections.abc import Callable

import pytest
from hypothesis import given

from anabranch_contracts import replies as r
from anabranch_contracts import reply_builders as build
from anabranch_contracts.reply_notation import ACTIONS, parse_reply
from tests.unit.contracts.test_topology import JSON_VALUES

READ = [
    ("text", r.Content("text")),
    ({"a": 1}, r.Content({"a": 1})),
    (None, r.Content(None)),
    (build.invoke_agent("B", 1), r.Invoke("B", 1)),
    ({"next_action": "invoke_agent", "action_input": "B"}, r.Invoke("B", None)),
    ({"next_action": "invoke_agent", "action_input": "B", "content": 2}, r.Invoke("B", 2)),
    (build.parallel_invoke(["B", "C"], {"B": 1}), r.Parallel([r.Invocation("B", 1), r.Invocation("C", None)])),
    (build.parallel_invoke(invocations=[{"agent": "B", "request": 1}] * 2), r.Parallel([r.Invocation("B", 1)] * 2)),
    (build.final_response(0), r.Final(0)),
    (build.ask_user("p", ["a"]), r.AskUser("p", ["a"])),
    (build.retry_later(3), r.RetryLater(3.0)),
    (build.terminal_error("e"), r.Terminal("e")),
    ({"next_action": "error_recovery", "error": "e"}, r.ErrorRecovery("e")),
    (build.final_response(1, context_updates={"k": 2}), r.Final(1, {"k": 2})),
]


@pytest.mark.parametrize(("value", "reply"), READ)
def test_replies_are_read(value: object, reply: r.Reply) -> None:
    assert parse_reply(value) == reply


YEAR = 31_536_000
LISTS = "invocations must be a list of {agent, request}"
NO_CALL = "call needs `invocations` or `ask`, and a timeout in seconds if any"


def call(**parts: object) -> dict[str, object]:
    return {"next_action": "call", "number": 1, "print": "p", **parts}


def parallel(**parts: object) -> dict[str, object]:
    return {"next_action": "parallel_invoke", **parts}


def asking(**parts: object) -> dict[str, object]:
    return {"next_action": "ask_user", "prompt": "p", **parts}


READ_TOO = [
    ({"next_action": "invoke_agent", "agent": "B", "request": 1, "content": 2}, r.Invoke("B", 1)),
    ({"next_action": "invoke_agent", "agent_name": "B", "request": None, "content": 2}, r.Invoke("B", None)),
    ({"next_action": "invoke_agent", "action_input": {"agent": "B"}, "content": 2}, r.Invoke("B", 2)),
    ({"next_action": "invoke_agent", "action_input": {"agent": "B", "request": None}, "content": 2}, r.Invoke("B")),
    (parallel(agents=["B", "C"], agent_requests={"B": 1}, content=2),
     r.Parallel([r.Invocation("B", 1), r.Invocation("C", 2)])),
    (parallel(invocations=["B", {"agent_name": "C", "request": 1}], request=2),
     r.Parallel([r.Invocation("B", 2), r.Invocation("C", 1)])),
    (parallel(agents=["B"], convergence={"min_ratio": 0.5}, inherit_memory=True, context_updates={"k": 1}),
     r.Parallel([r.Invocation("B", None)], {"min_ratio": 0.5}, True, {"k": 1})),
    (parallel(agents=["B"], agent_requests=None, inherit_memory=False), r.Parallel([r.Invocation("B")], None, False)),
    ({"next_action": "final_response", "response": 3, "content": 2, "final_response": 1}, r.Final(1)),
    ({"next_action": "final_response", "response": 3, "content": 2}, r.Final(2)),
    ({"next_action": "final_response", "response": None}, r.Final(None)),
    (asking(choices=[0], schema=True, timeout=0, default=0, context_updates={}), r.AskUser("p", [0], True, 0, 0, {})),
    (asking(timeout=YEAR, schema={}), r.AskUser("p", None, {}, YEAR)),
    (build.retry_later(YEAR), r.RetryLater(float(YEAR))),
    ({"next_action": "retry_later", "after_seconds": 0.5, "context_updates": {"k": 1}}, r.RetryLater(0.5, {"k": 1})),
    ({"next_action": "error_recovery"}, r.ErrorRecovery("the agent asked for help")),
    ({"next_action": "terminal_error", "context_updates": {"k": 1}}, r.Terminal("the agent gave up", {"k": 1})),
    (build.error_recovery({"type": "T"}, context_updates={"k": 1}), r.ErrorRecovery({"type": "T"}, {"k": 1})),
    (call(invocations=[{"agent": "B", "request": 1}, "C"], timeout=5, context_updates={"k": 1}),
     r.Call(1, "p", [r.Invocation("B", 1), r.Invocation("C", None)], None, 5, {"k": 1})),
    (call(ask={"prompt": "p", "choices": [1]}), r.Call(1, "p", [], r.AskUser("p", [1]), None)),
    (call(number=2, print="q" * 200, invocations=["B"]), r.Call(2, "q" * 200, [r.Invocation("B")], None, None)),
]  # fmt: skip


@pytest.mark.parametrize(("value", "reply"), READ_TOO, ids=range(len(READ_TOO)))
def test_all_their_parts_are_read(value: object, reply: r.Reply) -> None:
    assert parse_reply(value) == reply


ONE_OF = f"is not one of {', '.join(ACTIONS)}"
INVOKES = "invoke_agent needs `action_input`: an agent's name, or {agent, request}"
INVOKES_ALL = "parallel_invoke needs `agents`: a list of names, or `invocations`"
TIMEOUT = f"timeout must be seconds, 0 to {YEAR}"
LATER = f"retry_later needs `after_seconds`, 0 to {YEAR}"
WRONG: list[tuple[object, str]] = [
    ({"next_action": 7}, f"next_action '7' {ONE_OF}"),
    ({"next_action": "dance"}, f"next_action 'dance' {ONE_OF}"),
    ({"next_action": "x" * 999}, f"next_action {'x' * 80!r} {ONE_OF}"),
    ({"next_action": "invoke_agent"}, INVOKES),
    ({"next_action": "invoke_agent", "action_input": ""}, INVOKES),
    ({"next_action": "invoke_agent", "action_input": {"request": 1}}, INVOKES),
    (parallel(), INVOKES_ALL),
    (parallel(agents=[]), "parallel_invoke names no agent"),
    (parallel(invocations=[]), "parallel_invoke names no agent"),
    (parallel(agents="B"), INVOKES_ALL),
    (parallel(agents=["B", ""]), INVOKES_ALL),
    (parallel(agents=["B", 1]), INVOKES_ALL),
    (parallel(agents=["B"], agent_requests=[1]), "agent_requests must be an object of requests by agent name"),
    (parallel(invocations="B"), LISTS),
    (parallel(invocations=["B", {"request": 1}]), LISTS),
    (parallel(agents=["B"], convergence={"min_ratio": 2}),
     "convergence.min_ratio: Input should be less than or equal to 1"),
    (parallel(agents=["B"], convergence={}, inherit_memory="yes"), "inherit_memory must be true or false"),
    (parallel(agents=["B"], convergence={"eagre": True}, inherit_memory=2),
     "convergence.eagre: unknown setting; remove it or correct its name; inherit_memory must be true or false"),
    ({"next_action": "final_response"}, "final_response needs the field `final_response`"),
    ({"next_action": "ask_user"}, "ask_user needs `prompt`"),
    (asking(choices=[]), "choices must be a list of at least one"),
    (asking(choices="ab"), "choices must be a list of at least one"),
    (asking(schema="string"), "schema must be a JSON Schema: an object"),
    (asking(timeout=-1), TIMEOUT),
    (asking(timeout=YEAR + 1), TIMEOUT),
    (asking(timeout=True), TIMEOUT),
    (asking(timeout="1"), TIMEOUT),
    ({"next_action": "retry_later"}, LATER),
    ({"next_action": "retry_later", "after_seconds": "soon"}, LATER),
    ({"next_action": "retry_later", "after_seconds": -1}, LATER),
    ({"next_action": "retry_later", "after_seconds": True}, LATER),
    ({"next_action": "final_response", "content": 1, "context_updates": [1]}, "context_updates must be an object"),
    (call(number="1", invocations=["B"]), "call needs `number` and `print`"),
    (call(print=None, invocations=["B"]), "call needs `number` and `print`"),
    (call(print="q" * 201, invocations=["B"]), "call needs `number` and `print`"),
    (call(invocations={"agent": "B"}), LISTS),
    (call(invocations=[7]), LISTS),
    (call(), NO_CALL),
    (call(invocations=["B"], ask={"prompt": "p"}), NO_CALL),
    (call(invocations=["B"], timeout="1"), NO_CALL),
    (call(ask={"prompt": "p", "choices": []}), "choices must be a list of at least one"),
    (call(ask={"question": "p"}), NO_CALL),
]  # fmt: skip


@pytest.mark.parametrize(("value", "why"), WRONG, ids=range(len(WRONG)))
def test_what_cannot_be_read_says_why(value: object, why: str) -> None:
    assert parse_reply(value) == r.Malformed(why)


BUILT: list[tuple[Callable[[], object], object]] = [
    (lambda: build.invoke_agent("B", 1, context_updates={}),
     {"next_action": "invoke_agent", "action_input": {"agent": "B", "request": 1}, "context_updates": {}}),
    (lambda: build.parallel_invoke(["B"], {"B": 1}, inherit_memory=True),
     {"next_action": "parallel_invoke", "agents": ["B"], "agent_requests": {"B": 1}, "inherit_memory": True}),
    (lambda: build.parallel_invoke(), {"next_action": "parallel_invoke", "agents": [], "agent_requests": {}}),
    (lambda: build.parallel_invoke(invocations=({"agent": "B"},), convergence={}),
     {"next_action": "parallel_invoke", "invocations": [{"agent": "B"}], "convergence": {}}),
    (lambda: build.final_response(1, k=2), {"next_action": "final_response", "final_response": 1, "k": 2}),
    (lambda: build.ask_user("p"), {"next_action": "ask_user", "prompt": "p"}),
    (lambda: build.ask_user("p", (1, 2), {}, 5, "d", k=2),
     {"next_action": "ask_user", "prompt": "p", "choices": [1, 2], "schema": {}, "timeout": 5, "default": "d", "k": 2}),
    (lambda: build.retry_later(5, k=2), {"next_action": "retry_later", "after_seconds": 5, "k": 2}),
    (lambda: build.error_recovery("e", k=2), {"next_action": "error_recovery", "error": "e", "k": 2}),
    (lambda: build.terminal_error("e", k=2), {"next_action": "terminal_error", "error": "e", "k": 2}),
]  # fmt: skip


@pytest.mark.parametrize(("built", "written"), BUILT, ids=range(len(BUILT)))
def test_builders_write_what_the_seed_writes(built: Callable[[], object], written: object) -> None:
    assert built() == written


@given(JSON_VALUES)
def test_reading_never_raises(value: object) -> None:
    parse_reply(value)
    parse_reply({"next_action": value, "agents": value})
    for action in ("invoke_agent", "parallel_invoke", "final_response", "ask_user", "retry_later"):
        parse_reply({"next_action": action, "action_input": value, "agents": value, "invocations": value})


def test_an_action_is_awaited_inside_an_agent_only() -> None:
    action = build.invoke_agent("B")
    with pytest.raises(RuntimeError, match="invoke_agent can be awaited only inside an agent; elsewhere return it"):
        action.__await__()


@pytest.mark.parametrize(("agents", "tasks"), [([], []), ([], [1]), (["A", "B"], [1])])
def test_each_agent_needs_a_task(agents: list[str], tasks: list[int]) -> None:
    with pytest.raises(ValueError, match=rf"{len(agents)} agents for {len(tasks)} tasks; name at least one agent"):
        build.parallel_invoke(agents, tasks=tasks)


def test_agents_take_turns_where_there_are_more_tasks() -> None:
    asked = build.parallel_invoke(["A", "B"], tasks=[1, 2, 3])["invocations"]
    assert [(i["agent"], i["request"]) for i in asked] == [("A", 1), ("B", 2), ("A", 3)]


def test_an_agent_for_each_task_is_enough() -> None:
    assert build.parallel_invoke(["A", "B"], tasks=[1, 2])["invocations"] == [
        {"agent": "A", "request": 1}, {"agent": "B", "request": 2},
    ]  # fmt: skip


async def test_an_action_is_awaited_by_whoever_runs_the_agent() -> None:
    asked = []

    async def perform(action: dict[str, object]) -> object:
        asked.append(action)
        return "answer"

    token = build.CALLER.set(perform)
    try:
        assert await build.invoke_agent("B", 1) == "answer" and asked == [build.invoke_agent("B", 1)]
    finally:
        build.CALLER.reset(token)
    with pytest.raises(RuntimeError, match="invoke_agent can be awaited only inside an agent; elsewhere return it"):
        await build.invoke_agent("B", 1)

"""Semantics 3: what an agent may answer."""

import pytest
from hypothesis import given

from anabranch_contracts import replies as r
from anabranch_contracts import reply_builders as build
from anabranch_contracts.reply_notation import parse_reply
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


WRONG = [
    {"next_action": 7},
    {"next_action": "dance"},
    {"next_action": "invoke_agent"},
    {"next_action": "invoke_agent", "action_input": {"request": 1}},
    {"next_action": "parallel_invoke"},
    {"next_action": "parallel_invoke", "agents": []},
    {"next_action": "parallel_invoke", "agents": "B"},
    {"next_action": "parallel_invoke", "agents": ["B"], "agent_requests": [1]},
    {"next_action": "parallel_invoke", "invocations": [{"request": 1}]},
    {"next_action": "final_response"},
    {"next_action": "ask_user"},
    {"next_action": "retry_later", "after_seconds": "soon"},
    {"next_action": "retry_later", "after_seconds": -1},
    {"next_action": "final_response", "content": 1, "context_updates": [1]},
]


@pytest.mark.parametrize("value", WRONG)
def test_what_cannot_be_read_says_why(value: object) -> None:
    reply = parse_reply(value)
    assert isinstance(reply, r.Malformed) and reply.reason


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

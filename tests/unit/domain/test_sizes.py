"""What a rule would multiply is bounded: nobody fills a disk, or stops a run, with a few bytes of a reply."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from anabranch.domain import routing, settling, sizes
from anabranch.domain.deciders import Router
from anabranch.domain.intake import LONGEST_ERROR, MOST_ERRORS, Request
from anabranch.domain.state import RunState
from anabranch.domain.turn import Refused, Turn
from anabranch_contracts.events import RunRejected
from tests.unit.domain.runs import RUN, Run

JSON = Any
TEAM = {"nodes": ["Boss", "W"], "edges": ["Boss -> W"]}
HUB = {"nodes": ["Boss", {"name": "W"}, "V"], "edges": ["Boss <-> W", "Boss <-> V"], "entry": "Boss"}
MEET = {"nodes": ["A", "W1", "W2", "Meet"], "edges": ["A -> W1", "A -> W2", "W1 -> Meet", "W2 -> Meet"]}
BOTH = {"next_action": "parallel_invoke", "agents": ["W", "V"]}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit that is soon reached."""
    for module in (sizes, routing):
        monkeypatch.setattr(module, "MAX_TOGETHER", 1000)


@pytest.mark.parametrize(
    "reply",
    [
        {"next_action": "parallel_invoke", "agents": ["W"] * 500, "request": "x" * 200_000},
        {"next_action": "parallel_invoke", "invocations": [{"agent": "W"}] * 90_000, "content": "x" * 800},
    ],
    ids=["few large", "many small"],
)
def test_one_request_is_not_copied_without_end(reply: JSON) -> None:
    run = Run(TEAM)
    run.reply("Boss", reply)
    assert "requests of" in run.at("Boss")["steering"] and "hand over references" in run.at("Boss")["steering"]
    assert run.state.branch_count == 1


def test_as_much_as_fits_is_taken() -> None:
    run = Run(TEAM)
    run.reply("Boss", {"next_action": "parallel_invoke", "agents": ["W"] * 500, "request": "x" * 100_000})
    assert run.state.branch_count == 501


def test_content_for_all_counts_for_each(small: None) -> None:
    run = Run({"nodes": [{"name": "Boss", "dispatch": "all"}, "W", "V"], "edges": ["Boss -> W", "Boss -> V"]})
    run.reply("Boss", "x" * 600)
    assert "2 invocations have 1204 bytes, the limit is 1000" in run.at("Boss")["steering"]


def test_calls_from_inside_an_agent_too(small: None) -> None:
    run = Run(TEAM)
    calls = [{"agent": "W", "request": "x" * 600}] * 2
    run.reply("Boss", {"next_action": "call", "number": 1, "print": "p", "invocations": calls})
    assert "hand over references" in run.at("Boss")["steering"]


def test_results_that_are_too_large_together_say_so_and_the_run_goes_on(small: None) -> None:
    run = Run(HUB)
    run.reply("Boss", BOTH)
    for agent in ("W", "V"):
        run.reply(agent, "x" * 600)
    for record in run.at("Boss")["request"]:
        assert record["status"] == "failed" and "result" not in record
        assert record["error"]["type"] == "ResultsTooLarge" and "1204 bytes" in record["error"]["message"]


def test_each_that_brought_something_says_why_it_is_not_there(small: None) -> None:
    records = [{"agent": "W", "status": "completed", "result": "x" * 600} for _ in range(2)]
    said = "all results together have 1208 bytes, the limit is 1000; hand over references"
    error = {"kind": "terminal", "type": "ResultsTooLarge", "message": said}
    assert sizes.affordable([*records, {"agent": "V", "status": "cancelled"}]) == [
        *[{"agent": "W", "status": "failed", "error": error}] * 2,
        {"agent": "V", "status": "cancelled"},
    ]
    assert sizes.affordable(records[:1]) == records[:1]


def test_a_limit_may_be_reached_and_not_passed() -> None:
    assert sizes.too_much("it has", 10, 10) is None
    assert sizes.too_much("it has", 11, 10) == "it has 11 bytes, the limit is 10; hand over references"


def test_what_many_share_counts_for_each_of_them() -> None:
    shared = {1: "one"}
    assert (sizes.size(shared), sizes.together([shared, shared, {}]), sizes.together([])) == (11, 24, 0)


def test_so_do_those_that_meet_and_those_of_calls(small: None) -> None:
    run = Run(MEET)
    run.reply("A", {"next_action": "parallel_invoke", "agents": ["W1", "W2"]})
    for agent in ("W1", "W2"):
        run.reply(agent, "x" * 600)
    assert [r["error"]["type"] for r in run.at("Meet")["request"]] == ["ResultsTooLarge"] * 2
    run = Run(HUB)
    calls = [{"agent": "W"}, {"agent": "V"}]
    run.reply("Boss", {"next_action": "call", "number": 1, "print": "p", "invocations": calls})
    for agent in ("W", "V"):
        run.reply(agent, "x" * 600)
    assert [r["status"] for r in run.at("Boss")["calls"][0]["value"]] == ["failed"] * 2


def test_what_failed_stays_as_it_failed(small: None) -> None:
    run = Run(
        {**HUB, "nodes": ["Boss", "W", "V"]}, config={"convergence": {"min_ratio": 0.1, "on_insufficient": "proceed"}}
    )
    run.reply("Boss", {**BOTH, "agents": ["W", "V", "V"]})
    run.fail("W")
    for step in list(run.asked.values()):
        run.reply("V", "x" * 600, step["step_id"])
    assert [r["error"]["type"] for r in run.at("Boss")["request"]] == ["Broken", "ResultsTooLarge", "ResultsTooLarge"]


def test_a_run_whose_results_are_too_large_together_fails(small: None) -> None:
    run = Run({"nodes": ["A", "B"]})
    for agent in ("A", "B"):
        run.reply(agent, "x" * 600)
    said = "all results together have 1204 bytes, the limit is 1000; hand over references"
    assert run.state.error == {"kind": "terminal", "type": "ResultsTooLarge", "message": said}
    alone = Run({"nodes": ["A"]})
    alone.reply("A", "x" * 1200)
    assert alone.result == "x" * 1200
    assert settling.too_large_together([{"result": "x" * 600}]) is None


def rejected(**more: JSON) -> list[str]:
    """Why a request is refused."""
    turn = Turn(RunState(RUN), datetime(2026, 1, 1, tzinfo=UTC), UUID(int=1), "router")
    Router().decide(turn, Request(RUN, {"task": "t", "topology": TEAM, **more}))
    (recorded,) = turn.events
    assert isinstance(recorded.event, RunRejected)
    return recorded.event.errors


def test_context_and_labels_are_bounded() -> None:
    reasons = rejected(context={"a": "x" * sizes.MAX_CONTEXT}, labels={"b": "x" * sizes.MAX_LABELS})
    assert reasons[0].startswith("context: has 262152 bytes, the limit is 262144")
    assert reasons[1].startswith("labels: has 65544 bytes, the limit is 65536")


def test_a_task_for_many_entries_counts_for_each() -> None:
    many = {"nodes": [f"n{i}" for i in range(2000)]}
    assert rejected(topology=many, task="x" * 40_000) == [
        "task: for 2000 entries it has 80004000 bytes, the limit is 67108864; hand over references"
    ]
    chain = {"nodes": many["nodes"], "edges": [f"n{i} -> n{i + 1}" for i in range(1999)]}
    run = Run(chain, task="x" * 40_000)
    assert run.state.status == "running"


def test_reasons_are_bounded_whatever_is_refused() -> None:
    assert len(rejected(config={f"k{i}": 1 for i in range(MOST_ERRORS + 500)})) == MOST_ERRORS
    (_, reason) = rejected(topology={"nodes": ["A"], "edges": [{"source": "x" * 5000, "target": "B"}]})
    assert len(reason) == LONGEST_ERROR + 1 and reason.endswith("…")


def test_a_fork_of_a_run_cannot_bring_a_larger_context() -> None:
    with pytest.raises(Refused, match=r"context: has .* the limit is 262144"):
        Run(TEAM).fork(1, context={"a": "x" * sizes.MAX_CONTEXT})


def test_a_question_is_bounded() -> None:
    run = Run(TEAM)
    run.reply("Boss", {"next_action": "ask_user", "prompt": "x" * sizes.MAX_QUESTION})
    assert "prompt and choices have" in run.at("Boss")["steering"]

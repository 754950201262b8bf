"""Semantics 2: a run that cannot run is rejected with every reason, before anything of it runs."""

from typing import Any
from uuid import UUID

import orjson
import pytest

from anabranch.domain.deciders import Router
from anabranch.domain.intake import Request
from anabranch.domain.state import RunState
from anabranch.domain.turn import Refused, Turn
from anabranch_contracts.addresses import agent_of, parked_key, step_key
from tests.acceptance.broken import invalid
from tests.unit.domain.runs import RUN, Run

JSON = Any
WRONG = invalid()


def taken(body: JSON, **asked: JSON) -> Turn:
    """What the router makes of a request."""
    turn = Turn(RunState(RUN), Run({"nodes": ["A"]}).now, UUID(int=1), "router")
    Router().decide(turn, Request(RUN, body, **asked))
    return turn


@pytest.mark.parametrize(("body", "why"), WRONG, ids=range(len(WRONG)))
def test_what_cannot_run_is_rejected_with_the_reason(body: bytes, why: str) -> None:
    turn = taken(orjson.loads(body), reply_to="q", reply_correlation="c")
    (rejected,) = [r.event for r in turn.events]
    assert type(rejected).__name__ == "RunRejected" and why in "; ".join(rejected.errors)  # type: ignore[attr-defined]
    assert turn.state.status == "rejected" and turn.state.replies == [("q", "c")]
    assert why in turn.state.error["message"] and turn.state.error["type"] == "InvalidRequest"


@pytest.mark.parametrize("body", [None, 7, "run", [], [{}]])
def test_what_is_no_object_is_rejected_too(body: JSON) -> None:
    turn = taken(body)
    assert turn.state.status == "rejected" and turn.state.error["causes"]
    (rejected,) = turn.events
    assert rejected.event.errors == [  # type: ignore[attr-defined]
        "body: Input should be a valid dictionary or instance of RunRequested"
    ]


def test_the_same_request_is_one_run_whether_it_names_it_or_not_and_another_is_refused() -> None:
    body = {"task": "t", "topology": {"nodes": ["A"]}}
    turn = taken(body)
    started = len(turn.events)
    Router().decide(turn, Request(RUN, {**body, "run_id": str(RUN)}))
    assert len(turn.events) == started
    with pytest.raises(Refused, match=f"^run {RUN} exists with another content; use a new run_id$"):
        Router().decide(turn, Request(RUN, {**body, "task": "u"}))


def test_what_is_taken_says_who_asked_and_under_which_labels() -> None:
    body = {"task": "t", "topology": {"nodes": ["A"]}, "labels": {"team": "blue"}}
    started = taken(body, reply_to="q", reply_correlation="c").events[0].event
    assert (started.labels, started.reply_to, started.reply_correlation) == (  # type: ignore[union-attr]
        {"team": "blue"}, "q", "c",
    )  # fmt: skip


STARTING: list[tuple[JSON, list[str]]] = [
    ({"nodes": ["A", "B"], "edges": ["A -> B", "B -> A"]}, ["A"]),
    ({"nodes": ["A", "B", "User"], "edges": ["User -> B", "B -> A"]}, ["B"]),
    ({"nodes": ["A", "B"], "edges": ["A <-> B"]}, ["A"]),
    ({"nodes": ["A", "B", "C"], "edges": ["A -> C"]}, ["A", "B"]),
    ({"nodes": ["A", "B"], "edges": ["A -> B", "B -> A"], "entry": "B"}, ["B"]),
    ({"nodes": ["A", "B"], "edges": ["Start -> B", "B -> A"], "entry": "A"}, ["B"]),
]


@pytest.mark.parametrize(("topology", "agents"), STARTING, ids=range(len(STARTING)))
def test_who_starts(topology: JSON, agents: list[str]) -> None:
    assert [step["agent"] for step in Run(topology).asked.values()] == agents


def test_every_reason_is_said_at_once() -> None:
    topology = {"nodes": ["A", "B", "C"], "entry": "A", "rules": ["max_agents(2)"]}
    (rejected,) = taken({"task": "t", "topology": topology}).events
    reasons = "; ".join(rejected.event.errors)  # type: ignore[attr-defined]
    assert all(part in reasons for part in ("node 'B'", "node 'C'", "3 agents, max_agents = 2"))
    (rejected,) = taken({"task": "t", "topology": {"nodes": []}, "config": {"max_steps": 0}}).events
    reasons = "; ".join(rejected.event.errors)  # type: ignore[attr-defined]
    assert "has no nodes" in reasons and "config.max_steps" in reasons


def test_somebody_must_be_able_to_start() -> None:
    (rejected,) = taken({"task": "t", "topology": {"nodes": ["A", "Start"]}}).events
    assert rejected.event.errors == [  # type: ignore[attr-defined]
        "topology: no agent can start; add an agent node without incoming edges, or name an `entry`"
    ]


def test_a_person_whom_nobody_asks_may_still_lead_to_who_starts() -> None:
    run = Run({"nodes": ["A", "B"], "edges": ["A -> B", "User -> B"], "entry": "A"})
    assert run.at("A")


def test_the_key_of_a_step_names_its_agent_and_no_other_key_does() -> None:
    assert [agent_of(step_key(name)) for name in ("A", "a b", "ä%#~", "x.y")] == ["A", "a b", "ä%#~", "x.y"]
    assert agent_of("step.completed") is None


REASONS: list[tuple[JSON, str]] = [
    ({"nodes": ["A", "B", "C"], "edges": ["A -> User", "User -> B", "User -> C"]},
     "an answer to 'A' has several ways on from 'User'; add an edge User -> A"),
    ({"nodes": ["A", "B"], "edges": ["A -> User", {"source": "User", "target": "B", "condition": "true"}]},
     "edge User -> B: its condition would never be asked; put it on an edge from an agent, or in a rule"),
    ({"nodes": ["A"], "edges": [{"source": "Start", "target": "A", "condition": "true"}]},
     "edge Start -> A: its condition would never be asked"),
    ({"nodes": ["A", "B"], "edges": [{"source": "A", "target": "B", "condition": "1 +"}]},
     "topology: edge A -> B: condition is no CEL expression: "),
    ({"nodes": ["A"], "rules": ["max_steps(9)", {"type": "ConditionalRule", "condition": "runs.steps > 1"}]},
     "topology: rules: ConditionalRule 1: condition asks about 'runs'"),
    ({"nodes": ["A", "B", "User"], "edges": ["A -> B", "A <-> User"], "entry": "A", "rules": ["max_agents(1)"]},
     "rule MaxAgentsRule: 2 agents, max_agents = 1"),
    ({"nodes": ["A", "B", "C"], "edges": ["A -> B", "C -> B"], "entry": "A"},
     "no entry reaches node 'C'; add an edge to it, name it in `entry`, or remove it"),
    ({"nodes": ["A", "B", "C"], "edges": ["A -> B"], "entry": "A"},
     "no entry reaches node 'C'; add an edge to it, name it in `entry`, or remove it"),
]  # fmt: skip


@pytest.mark.parametrize(("topology", "why"), REASONS, ids=range(len(REASONS)))
def test_a_well_formed_topology_that_cannot_run_is_rejected_for_that_reason_alone(topology: JSON, why: str) -> None:
    (rejected,) = taken({"task": "t", "topology": topology}).events
    (said,) = rejected.event.errors  # type: ignore[attr-defined]
    assert why in said


FINE: list[JSON] = [
    {"nodes": ["A", "B", "C"], "edges": ["A <-> User", "User -> B", "User -> C"], "entry": "A"},
    {"nodes": ["A"], "edges": [{"source": "A", "target": "User", "bidirectional": True, "condition": "true"}]},
    {"nodes": ["A", "B"], "edges": ["A -> B"], "rules": ["max_agents(2)"]},
]


@pytest.mark.parametrize("topology", FINE, ids=range(len(FINE)))
def test_one_that_can_is_taken(topology: JSON) -> None:
    assert taken({"task": "t", "topology": topology}).state.status == "running"


def test_what_a_party_sets_aside_has_a_key_that_says_whose_it_was() -> None:
    assert parked_key("worker") == "parked.worker" and agent_of(parked_key("worker")) is None


def test_an_outcome_is_awaited_by_queue_and_correlation() -> None:
    run = Run({"nodes": ["A"]})
    body = {"task": "task", "topology": {"nodes": ["A"]}, "config": {}, "context": {}}
    for correlation in ("one", "two", "one", None, None):
        run.tell(Router(), Request(RUN, body, "q", correlation))
    assert run.state.replies == [("q", "one"), ("q", "two"), ("q", None)]


def test_what_is_delivered_is_counted_while_the_run_goes_on() -> None:
    run = Run({"nodes": ["A", "B", "C"], "edges": ["A -> End", "B -> End", "C -> End"]})
    for i, agent in enumerate("AB", 1):
        run.reply(agent, agent)
        assert run.state.result_count == i

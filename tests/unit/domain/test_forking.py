"""Semantics 9: a new run from another's past, at any version, with another topology or context."""

from collections import Counter
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from anabranch.domain.deciders import Router, Supervisor
from anabranch.domain.forking import Fork, checkpoint_id, fork
from anabranch.domain.intake import Request
from anabranch.domain.pending import announcements
from anabranch.domain.state import RunState
from anabranch.domain.turn import Refused, Turn
from anabranch_contracts.events import RunErased
from anabranch_contracts.messages import ForkRun
from anabranch_contracts.reply_builders import ask_user, final_response, parallel_invoke
from tests.simulation.audit import audit
from tests.unit.domain.runs import FORKED, RUN, Run

JSON = Any
CHAIN = {"nodes": ["A", "B"], "edges": ["A -> B"]}
HUB = {"nodes": ["H", "W1", "W2"], "edges": ["H <-> W1", "H <-> W2"], "entry": "H"}
FLOW = {
    "nodes": [{"name": "S", "dispatch": "all"}, "L", "R", "Y"],
    "edges": ["S -> L", "S -> R", "L -> Y", "R -> Y"],
}


def finish(run: Run) -> set[str]:
    """Let agents and people do the same as ever until the run is over; the steps that were run."""
    done = set()
    while not run.state.terminal:
        if run.asked:
            step_id, step = next(iter(run.asked.items()))
            done.add(step_id)
            run.reply(step["agent"], said(step), step_id)
        elif run.open:
            run.answer("yes")
        else:
            run.wait(60)
    return done


def said(step: JSON) -> JSON:
    if step["agent"] != "Y":
        return step["agent"].lower()
    return ask_user("good?") if isinstance(step["request"], list) else final_response(step["request"])


def recorded() -> Run:
    """A run with a fork, a retry, a convergence, a checkpoint and a person, all over."""
    run = Run(FLOW)
    run.reply("S", "go")
    run.fail("L", "transient")
    run.checkpoint("before")
    finish(run)
    return run


SOURCE = recorded()


@pytest.mark.parametrize("at", range(1, len(SOURCE.events) + 1))
def test_a_run_goes_on_from_any_version_and_runs_no_completed_step_again(at: int) -> None:
    run = SOURCE.fork(at)
    assert [r.event for r in run.events[:at]] == [r.event for r in SOURCE.events[:at]]
    forked = run.events[at].event
    assert (type(forked).__name__, forked.source, forked.at_version) == ("RunForked", str(RUN), at)
    completed = {r.event.step_id for r in SOURCE.events[:at] if type(r.event).__name__ == "StepCompleted"}
    assert not finish(run) & completed
    assert run.result == SOURCE.result == "yes" and run.replayed() == run.state
    audit(run.events)


@pytest.mark.parametrize("at", range(1, len(SOURCE.events) + 1))
def test_what_was_pending_is_asked_again_once(at: int) -> None:
    run = SOURCE.fork(at)
    told = [o for _, o in announced(run) if o.type in ("StepRequested", "UserInputRequested")]
    assert Counter(o.body.get("step_id", o.body.get("request_id")) for o in told) == Counter([*run.asked, *run.open])


def announced(run: Run) -> list[Any]:
    return announcements(run.state, run.events)


def test_a_fork_of_a_finished_run_has_its_result() -> None:
    outcomes = [
        [(owed.type, owed.body["result"]) for _, owed in announced(SOURCE.fork(at)) if owed.type == "RunCompleted"]
        for at in (len(SOURCE.events) - 1, len(SOURCE.events))
    ]
    assert outcomes == [[("RunCompleted", "yes")]] * 2


PLACES = [
    (8, ["b0.f1.b0#1", "b0.f1.b1#1"]),
    ("8", ["b0.f1.b0#1", "b0.f1.b1#1"]),
    ("here", ["b0.f1.b1#1"]),
    (str(checkpoint_id(RUN, "here")), ["b0.f1.b1#1"]),
    ("b0#1", ["b0#1"]),
    ("b0.f1.b1#1", ["b0.f1.b0#1", "b0.f1.b1#1"]),
    ("auto:b0.f1", ["b0#2"]),
    (str(checkpoint_id(RUN, "auto:b0.f1")), ["b0#2"]),
]


@pytest.mark.parametrize(("at", "asked"), PLACES)
def test_a_place_is_a_version_a_checkpoint_or_a_step(at: int | str, asked: list[str]) -> None:
    run = Run(HUB)
    run.reply("H", parallel_invoke(["W1", "W2"]))
    run.reply("W1", final_response(1))
    run.checkpoint("here")
    run.reply("W2", final_response(2))
    run.reply("H", final_response("done"))
    assert sorted(run.fork(at).asked) == asked


@pytest.mark.parametrize("row", SOURCE.rows("checkpoints"), ids=lambda row: row["name"])
def test_a_checkpoint_is_exact(row: JSON) -> None:
    for at in (row["name"], str(row["checkpoint_id"])):
        assert SOURCE.fork(at).last("RunForked").at_version == row["version"]


def test_a_step_is_run_again_as_it_was_first_asked() -> None:
    run = Run(CHAIN, config={"retry": {"base_delay": 0}})
    run.fail("A", "transient")
    run.tend()
    run.reply("A", "a")
    run.reply("B", "b")
    again = run.fork("b0#1").at("A")
    assert again["attempt"] == 1 and run.fork("b0#2").at("B")["request"] == "a"


REFUSED = [
    (0, "version 0 is not one of 1 to 3"),
    (-1, "version -1"),
    (4, "version 4"),
    ("4", "version 4"),
    ("elsewhere", "'elsewhere' is no checkpoint and no step"),
    ("b0#2", "no step"),
    ("²", "no checkpoint"),
    ("9" * 5000, "no checkpoint"),
]


@pytest.mark.parametrize(("at", "why"), REFUSED, ids=range(len(REFUSED)))
def test_a_place_that_is_not_there_is_refused(at: int | str, why: str) -> None:
    with pytest.raises(Refused, match=why):
        Run(CHAIN).fork(at)


def test_a_fork_of_an_unknown_run_is_refused() -> None:
    run = Run(CHAIN)
    run.events = []
    with pytest.raises(Refused, match=f"run {RUN} is unknown"):
        run.fork(1)


def test_the_same_fork_twice_is_one_and_another_into_it_is_refused() -> None:
    source = Run(CHAIN)
    run = source.fork(3)
    again = ForkRun(run_id=RUN, new_run_id=FORKED, at=3)
    assert run.tell(Supervisor(), Fork(FORKED, again, events=source.events)) == []
    with pytest.raises(Refused, match="use another new_run_id"):
        run.tell(Supervisor(), Fork(FORKED, again.model_copy(update={"at": 2}), events=source.events))


def test_both_runs_go_their_own_way() -> None:
    run = Run(CHAIN)
    run.reply("A", ask_user("which?"))
    (question,) = run.open
    other = run.fork(run.state.version)
    assert list(other.open) == [question]
    other.answer("that")
    assert other.at("A")["request"] == "that" and list(run.open) == [question] and not run.asked


def test_a_fork_can_be_forked() -> None:
    run = SOURCE.fork("b0.f1.b0#1")
    finish(run)
    last = run.fork("auto:Y#1")
    assert last.at("Y") and [kind for kind in last.kinds() if kind == "RunForked"] == ["RunForked"] * 2


def test_another_context_replaces_the_runs_and_not_what_agents_added() -> None:
    run = Run(CHAIN, context={"user": "ann", "k": 0})
    run.reply("A", {"next_action": "invoke_agent", "action_input": "B", "context_updates": {"k": 1}})
    context = run.fork(run.state.version, context={"user": "bob"}).at("B")["context"]
    assert (context["user"], context["k"]) == ("bob", 1)


def test_another_topology_says_where_control_goes_from_there() -> None:
    run = Run(CHAIN)
    run.reply("A", "a")
    other = run.fork(run.state.version, topology={"nodes": ["B", "C"], "edges": ["B -> C"]})
    other.reply("B", "b")
    assert other.at("C")["request"] == "b"
    run.reply("B", "b")
    assert run.state.status == "completed"
    assert other.replayed() == other.state


def test_another_topology_brings_its_own_rules() -> None:
    ruled = {**CHAIN, "rules": [{"type": "ConditionalRule", "condition": "true", "action": "pause"}]}
    run = Run(ruled)
    run.resume()
    for topology, paused in ((None, False), (ruled, True), ({**CHAIN, "rules": ["max_steps(1)"]}, False)):
        other = run.fork(run.state.version, topology=topology)
        other.reply("A", "a")
        assert other.state.paused == paused and bool(other.asked) == (topology is None)
    assert other.state.error["type"] == "MaxStepsRule"


def test_branches_of_two_topologies_are_told_apart() -> None:
    meeting = {"nodes": ["A", "B", "Y"], "edges": ["A -> Y", "B -> Y"]}
    run = Run(meeting)
    run.reply("A", "a")
    run.reply("B", "b")
    other = Run(meeting).fork(5, topology={**meeting, "nodes": ["A", "Y", "B"]})
    other.reply("A", "a")
    other.reply("B", "b")
    assert (run.at("Y")["branch_id"], other.at("Y")["branch_id"]) == ("c2.1", "c1v1.1")


UNFIT = [
    ({"nodes": ["A", "B"], "edges": ["A -> C"]}, "unknown node 'C'"),
    ({"nodes": ["A", "B", "C", "D"], "edges": ["A -> B", "C <-> D"], "entry": "A"}, "no entry reaches node 'C'"),
    ({"nodes": ["A", "C"], "edges": ["A -> C"]}, "refers to B, which the new topology does not have"),
]


@pytest.mark.parametrize(("topology", "why"), UNFIT)
def test_a_topology_that_cannot_run_or_does_not_fit_is_refused(topology: JSON, why: str) -> None:
    run = Run(CHAIN)
    run.reply("A", "a")
    with pytest.raises(Refused, match=why):
        run.fork(run.state.version, topology=topology)


def test_an_agent_that_failed_on_the_way_may_be_left_out() -> None:
    run = Run(FLOW, config={"convergence": {"min_ratio": 0.5}})
    run.reply("S", "go")
    run.fail("L")
    meeting = {"nodes": ["S", "R", {"name": "Y", "is_convergence_point": True}], "edges": ["S -> R", "R -> Y"]}
    other = run.fork(run.state.version, topology=meeting)
    other.reply("R", "r")
    assert [r["result"] for r in other.at("Y")["request"]] == ["r"]


def test_an_agent_that_may_be_tried_again_may_not() -> None:
    run = Run(HUB, config={"convergence": {"on_insufficient": "user"}})
    run.reply("H", parallel_invoke(["W1", "W2"]))
    run.fail("W1")
    with pytest.raises(Refused, match="refers to W1"):
        run.fork(run.state.version, topology={"nodes": ["H", "W2"], "edges": ["H <-> W2"], "entry": "H"})


def test_what_waits_for_its_time_in_the_past_is_not_owed_by_the_new_run_before_it() -> None:
    run = Run(CHAIN)
    run.reply("A", {"next_action": "retry_later", "after_seconds": 9})
    assert not announced(run.fork(run.state.version))


@pytest.mark.parametrize("forked", [True, False])
def test_a_rate_limit_is_waited_out_anew_after_a_fork_and_after_a_pause(forked: bool) -> None:
    run = Run({"nodes": ["A"]}, config={"max_rate_limit_wait": 60, "retry": {"max_delay": 1}})
    run.fail("A", "rate_limit")
    run.pause()
    run.now += timedelta(seconds=50)
    other = run.fork(run.state.version) if forked else run
    if not forked:
        run.resume()
    other.wait(50)
    other.fail("A", "rate_limit")
    other.wait(20)
    assert other.state.status == "running", "sixty seconds from then on were not over"
    other.fail("A", "rate_limit")
    other.tend()
    assert other.state.status == "failed"


def test_a_fork_of_a_paused_run_goes_on() -> None:
    run = Run(CHAIN)
    run.pause()
    run.reply("A", "a")
    other = run.fork(run.state.version)
    assert other.at("B") and run.state.paused and not run.asked


def test_a_run_that_was_erased_is_no_past_and_is_not_asked_for_again() -> None:
    run = Run({"nodes": ["A"]})
    run.reply("A", "a")
    erased = Turn(run.state, run.now, UUID(int=9), "operator")
    erased.record(RunErased(upto=run.state.version))
    run.events += erased.events
    with pytest.raises(Refused, match=f"run {RUN} was erased: its past tells nothing"):
        run.fork(1)
    body = {"task": "task", "topology": {"nodes": ["A"]}, "config": {}, "context": {}}
    with pytest.raises(Refused, match=f"run {RUN} was erased; use a new run_id"):
        run.tell(Router(), Request(RUN, body, "q"))
    assert run.replayed() == run.state


NOWHERE: list[tuple[Any, str]] = [
    (0, "version 0 is not one of 1 to 3"),
    (4, "version 4 is not one of 1 to 3"),
    ("1" * 19, f"version {'1' * 19} is not one of 1 to 3"),
    ("1" * 20, f"'{'1' * 20}' is no checkpoint and no step of run {RUN}"),
    ("b9#1", f"'b9#1' is no checkpoint and no step of run {RUN}"),
    ("x" * 201, f"'{'x' * 200}' is no checkpoint and no step of run {RUN}"),
]


@pytest.mark.parametrize(("at", "why"), NOWHERE)
def test_a_place_that_is_none_is_refused_with_it(at: Any, why: str) -> None:
    run = Run({"nodes": ["A"]})
    with pytest.raises(Refused) as refusal:
        run.fork(at)
    assert str(refusal.value) == f"at: {why}"


def test_who_asks_for_a_fork_is_told_its_outcome() -> None:
    source = Run(CHAIN)
    command = ForkRun(run_id=RUN, new_run_id=FORKED, at=3)
    turn = Turn(RunState(FORKED), source.now, UUID(int=9), "branch-supervisor")
    fork(turn, Fork(FORKED, command, "q", "c", source.events))
    assert turn.state.replies == [("q", "c")]


def test_a_topology_that_cannot_replace_the_other_is_refused_with_every_reason() -> None:
    run = Run(CHAIN)
    with pytest.raises(Refused) as refusal:
        run.fork(3, topology={"nodes": ["A", "B", "C"], "entry": "A"})
    assert str(refusal.value).count("no entry reaches node") == 2 and "; topology: no entry" in str(refusal.value)
    with pytest.raises(Refused, match="the run refers to A, which the new topology does not have"):
        run.fork(3, topology={"nodes": ["B"]})


def test_who_asks_for_the_same_fork_once_more_is_told_the_outcome_too() -> None:
    source = Run(CHAIN)
    run = source.fork(3)
    command = ForkRun(run_id=RUN, new_run_id=FORKED, at=3)
    (awaited,) = run.tell(Supervisor(), Fork(FORKED, command, "q", "c"))
    assert (awaited.reply_to, awaited.reply_correlation) == ("q", "c") and run.state.replies == [("q", "c")]
    with pytest.raises(Refused, match="exists; use another new_run_id"):
        run.tell(Supervisor(), Fork(FORKED, ForkRun(run_id=RUN, new_run_id=FORKED, at=2), "q", "d"))


def test_of_nodes_that_are_missing_the_first_are_named() -> None:
    run = Run({"nodes": [f"n{i:02}" for i in range(25)]})
    with pytest.raises(Refused) as refusal:
        run.fork(run.state.version, topology={"nodes": ["A"]})
    named = ", ".join(f"n{i:02}" for i in range(20))
    assert str(refusal.value) == f"topology: the run refers to {named}, which the new topology does not have"


def test_a_topology_need_only_have_what_is_live_where_the_fork_begins() -> None:
    run = Run(CHAIN)
    run.reply("A", "a")
    other = run.fork(3, topology={"nodes": ["A", "C"], "edges": ["A -> C"]})
    other.reply("A", "a")
    assert other.at("C")["request"] == "a"


def test_what_the_rest_of_a_decision_brings_is_live_there() -> None:
    run = Run({"nodes": ["A", "B"]})
    assert run.kinds()[:3] == ["RunStarted", "BranchSpawned", "BranchSpawned"]
    with pytest.raises(Refused, match="the run refers to B, which the new topology does not have"):
        run.fork(2, topology={"nodes": ["A"]})

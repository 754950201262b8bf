"""Each event has its place, and who and what caused it; a decision that is repeated says the same again."""

from uuid import UUID, uuid5

from anabranch.domain.deciders import Supervisor
from anabranch_contracts.reply_builders import invoke_agent
from tests.unit.domain.runs import FORKED, RUN, Run

SUPERVISOR = Supervisor().actor
CHAIN = {"nodes": ["A", "B"], "edges": ["A -> B"]}


def test_an_event_has_the_next_version_and_an_identity_of_its_place() -> None:
    run = Run(CHAIN)
    run.reply("A", invoke_agent("B", "b"))
    assert [(r.run_id, r.version, r.message_id) for r in run.events] == [
        (RUN, version, uuid5(RUN, str(version))) for version in range(1, len(run.events) + 1)
    ]


def test_an_event_says_when_and_by_whom_and_because_of_what_it_was_recorded() -> None:
    run = Run(CHAIN)
    run.wait(5)
    run.reply("A", invoke_agent("B", "b"))
    assert {(r.at, r.causation_id, r.actor) for r in run.events[3:]} == {(run.now, UUID(int=4), "router")}
    before = len(run.events)
    run.wait(5)
    run.fail("B")
    assert {(r.at, r.causation_id, r.actor) for r in run.events[before:]} == {(run.now, UUID(int=7), SUPERVISOR)}


def test_a_new_run_takes_over_the_past_with_its_times_and_causes() -> None:
    run = Run(CHAIN)
    run.wait(5)
    other = run.fork(3)
    *taken, forked = other.events
    assert [(r.event, r.at, r.causation_id, r.actor) for r in taken] == [
        (r.event, r.at, r.causation_id, r.actor) for r in run.events
    ]
    assert [(r.run_id, r.version, r.message_id) for r in other.events] == [
        (FORKED, version, uuid5(FORKED, str(version))) for version in range(1, 5)
    ]
    assert (type(forked.event).__name__, forked.at) == ("RunForked", run.now)

"""Which messages are whose, and which say nothing new when they come."""

from typing import Any
from uuid import UUID, uuid5

import pytest

from anabranch.domain.deciders import Router, Supervisor
from anabranch.domain.forking import Fork
from anabranch.domain.intake import Request
from anabranch.domain.state import RunState
from anabranch.domain.turn import Refused, Turn
from anabranch_contracts import messages as m
from tests.unit.domain.runs import FORKED, RUN, Run

JSON = Any
NEW = RunState(RUN)
STEP: JSON = {"run_id": RUN, "branch_id": "b0", "step_id": "b0#1", "attempt": 1}
LATE: JSON = {**STEP, "attempt": 2}
ERROR = m.StepError(kind="transient", type="T", message="t")
REQUEST = m.ForkRun(run_id=RUN, new_run_id=FORKED, at=1)
COMMANDS = [
    m.UserInputProvided(run_id=RUN, request_id=UUID(int=9), value=1),
    m.CheckpointRun(run_id=RUN, name="n"),
    m.CancelRun(run_id=RUN),
    m.PauseRun(run_id=RUN),
    m.ResumeRun(run_id=RUN),
]
NEWS = [m.RecoverRun(run_id=RUN), m.BranchNews(run_id=RUN, branch_id="b0")]
OF_THE_ROUTER = [Request(RUN, {}), m.StepCompleted(**STEP, response=1)]
OF_THE_SUPERVISOR = [*COMMANDS, *NEWS, m.StepFailed(**STEP, error=ERROR), Fork(FORKED, REQUEST)]


def running() -> RunState:
    """The first step is asked for; `q` waits for the outcome."""
    run = Run({"nodes": ["A"]})
    run.state.replies = [("q", "c")]
    return run.state


STALE: list[tuple[Any, Any, bool]] = [
    (Router(), Request(RUN, {}), True),
    (Router(), Request(RUN, {}, "q", "c"), True),
    (Router(), Request(RUN, {}, "q", "other"), False),
    (Router(), Request(RUN, {}, "other", "c"), False),
    (Router(), m.StepCompleted(**STEP, response=1), False),
    (Router(), m.StepCompleted(**LATE, response=1), True),
    (Router(), NEWS[0], False),
    (Supervisor(), m.StepFailed(**STEP, error=ERROR), False),
    (Supervisor(), m.StepFailed(**LATE, error=ERROR), True),
    (Supervisor(), Fork(RUN, REQUEST), True),
    (Supervisor(), Fork(RUN, REQUEST, "q", "c"), True),
    (Supervisor(), Fork(RUN, REQUEST, "other"), False),
    *((Supervisor(), command, True) for command in COMMANDS),
    *((Supervisor(), news, False) for news in NEWS),
]


@pytest.mark.parametrize(("decider", "message", "stale"), STALE)
def test_what_could_only_be_a_repetition_is_stale(decider: Any, message: Any, stale: bool) -> None:
    assert decider.stale(running(), message) is stale


@pytest.mark.parametrize(("decider", "message", "_stale"), STALE)
def test_nothing_is_stale_where_nothing_was_recorded(decider: Any, message: Any, _stale: bool) -> None:
    assert decider.stale(NEW, message) is False


def refused(decider: Any, message: Any, state: RunState) -> str:
    turn = Turn(state, Run({"nodes": ["A"]}).now, UUID(int=1), decider.actor)
    with pytest.raises(Refused) as refusal:
        decider.decide(turn, message)
    assert not turn.events
    return str(refusal.value)


@pytest.mark.parametrize("message", [*COMMANDS, *NEWS, m.StepFailed(**STEP, error=ERROR)])
def test_the_supervisor_refuses_what_is_about_a_run_that_is_not_there(message: Any) -> None:
    assert refused(Supervisor(), message, RunState(RUN)) == f"run {RUN} is unknown"


def test_so_does_the_router() -> None:
    assert refused(Router(), m.StepCompleted(**STEP, response=1), RunState(RUN)) == f"run {RUN} is unknown"


@pytest.mark.parametrize("message", OF_THE_SUPERVISOR)
def test_the_router_does_not_take_what_is_the_supervisors(message: Any) -> None:
    assert "router does not take" in refused(Router(), message, running())


@pytest.mark.parametrize("message", OF_THE_ROUTER)
def test_nor_the_supervisor_what_is_the_routers(message: Any) -> None:
    assert "supervisor does not take" in refused(Supervisor(), message, running())


def test_what_is_due_is_done_in_the_same_turn() -> None:
    run = Run({"nodes": ["A", "B"], "edges": ["A -> B"]})
    assert [type(e.event).__name__ for e in run.events] == ["RunStarted", "BranchSpawned", "StepRequested"]
    assert [type(e).__name__ for e in run.late(run.at("A"), response={"next_action": "dance"})] == [
        "StepRejected", "StepRequested",
    ]  # fmt: skip
    assert run.tell(Supervisor(), NEWS[0]) == []


def test_news_only_wake_the_supervisor() -> None:
    for news in NEWS:
        run = Run({"nodes": ["A", "B"], "edges": ["A -> B"]})
        run.leave("A", {"next_action": "dance"})
        assert [type(e).__name__ for e in run.tell(Supervisor(), news)] == ["StepRequested"]
        assert run.tell(Supervisor(), news) == []


def test_what_is_recorded_has_an_id_of_its_own_that_every_repetition_gives_it_again() -> None:
    def played() -> Run:
        run = Run({"nodes": ["A", "B"], "edges": ["A -> B"]})
        run.reply("A", "a")
        return run

    for run in (played(), played().fork(3)):
        assert [r.message_id for r in run.events] == [uuid5(run.state.run_id, str(r.version)) for r in run.events]
        assert [r.version for r in run.events] == list(range(1, run.state.version + 1))
    assert [r.message_id for r in played().events] == [r.message_id for r in played().events]
    copied, source = played().fork(3).events[1], played().events[1]
    assert (copied.at, copied.causation_id, copied.actor) == (source.at, source.causation_id, source.actor)

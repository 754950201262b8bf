"""Apply one recorded event to the state: the only code that changes it.

One function per event type, found by the table at the end. Nothing here decides or refuses: what was
recorded has happened. The state is moved in place and handed back; whoever folds owns it.
"""

from collections.abc import Callable, Iterable
from datetime import datetime, tzinfo
from functools import lru_cache
from typing import Any

from anabranch.domain.evolving import branches, forks, orphans, people, runs, steps
from anabranch.domain.recorded import Recorded
from anabranch.domain.state import RunState
from anabranch_contracts import events as e


def fold(recorded: Iterable[Recorded], state: RunState | None = None) -> RunState | None:
    """Apply all events in order; None for a stream without events."""
    for one in recorded:
        state = evolve(state or RunState(one.run_id), one)
    return state


def evolve(state: RunState, recorded: Recorded) -> RunState:
    """Apply one event, in place."""
    state.version, state.at = recorded.version, _said(recorded.at, recorded.at.tzinfo)
    _TABLE[type(recorded.event)](state, recorded.event, state.at)
    return state


@lru_cache(64)
def _said(at: datetime, _: tzinfo | None) -> str:
    """A moment as it is kept in a state: all events of a turn have one. Equal moments differ by their zones."""
    return at.isoformat()


_TABLE: dict[type, Callable[[RunState, Any, str], None]] = {
    e.RunStarted: runs.run_started,
    e.RunRejected: runs.run_rejected,
    e.OutcomeAwaited: runs.outcome_awaited,
    e.RunForked: runs.run_forked,
    e.RunPaused: runs.run_paused,
    e.RunResumed: runs.run_resumed,
    e.CheckpointCreated: runs.checkpoint_created,
    e.RuleApplied: runs.rule_applied,
    e.RuleLifted: runs.rule_lifted,
    e.BranchSpawned: branches.branch_spawned,
    e.BranchHeld: branches.branch_held,
    e.StepRequested: steps.step_requested,
    e.StepCompleted: steps.step_completed,
    e.StepSuspended: steps.step_suspended,
    e.StepSkipped: steps.step_skipped,
    e.StepRejected: steps.step_rejected,
    e.StepFailed: steps.step_failed,
    e.StepRetryScheduled: steps.retry_scheduled,
    e.StepResultDiscarded: steps.discarded,
    e.ForkOpened: forks.fork_opened,
    e.ContributionParked: forks.contribution_parked,
    e.ContributionCancelled: forks.contribution_cancelled,
    e.ForkWaived: forks.fork_waived,
    e.FailuresRetried: forks.failures_retried,
    e.UserInputRequested: people.requested,
    e.UserInputProvided: people.provided,
    e.BranchParked: forks.branch_parked,
    e.ResultDelivered: branches.result_delivered,
    e.BranchCompleted: branches.branch_completed,
    e.BranchFailed: branches.branch_failed,
    e.BranchCancelled: branches.branch_cancelled,
    e.BranchOrphaned: orphans.branch_orphaned,
    e.BranchMerged: branches.branch_merged,
    e.ForkSettled: forks.fork_settled,
    e.BranchConverged: forks.converged,
    e.RunCompleted: runs.run_completed,
    e.RunFailed: runs.run_failed,
    e.RunCancelled: runs.run_cancelled,
    e.RunErased: runs.run_erased,
}

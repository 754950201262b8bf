"""Events: what is recorded, one stream per run, never edited after publication.

Plain frozen dataclasses, so that the hot path encodes them with orjson and decodes them by keyword
without validation. Nested values are JSON. A change of shape is a new schema version with an upcaster
(`catalog`); the stored type is the class name, never a Python path.
"""

from anabranch_contracts.events.branches import (
    BranchCancelled,
    BranchCompleted,
    BranchFailed,
    BranchHeld,
    BranchMerged,
    BranchOrphaned,
    BranchParked,
    BranchSpawned,
    ResultDelivered,
)
from anabranch_contracts.events.forks import (
    BranchConverged,
    ContributionCancelled,
    ContributionParked,
    FailuresRetried,
    ForkOpened,
    ForkSettled,
    ForkWaived,
)
from anabranch_contracts.events.people import UserInputProvided, UserInputRequested
from anabranch_contracts.events.runs import (
    CheckpointCreated,
    OutcomeAwaited,
    RuleApplied,
    RuleLifted,
    RunCancelled,
    RunCompleted,
    RunErased,
    RunFailed,
    RunForked,
    RunPaused,
    RunRejected,
    RunResumed,
    RunStarted,
)
from anabranch_contracts.events.steps import (
    StepCompleted,
    StepFailed,
    StepRejected,
    StepRequested,
    StepResultDiscarded,
    StepRetryScheduled,
    StepSkipped,
    StepSuspended,
)

__all__ = [
    "BranchCancelled",
    "BranchCompleted",
    "BranchConverged",
    "BranchFailed",
    "BranchHeld",
    "BranchMerged",
    "BranchOrphaned",
    "BranchParked",
    "BranchSpawned",
    "CheckpointCreated",
    "ContributionCancelled",
    "ContributionParked",
    "Event",
    "FailuresRetried",
    "ForkOpened",
    "ForkSettled",
    "ForkWaived",
    "OutcomeAwaited",
    "ResultDelivered",
    "RuleApplied",
    "RuleLifted",
    "RunCancelled",
    "RunCompleted",
    "RunErased",
    "RunFailed",
    "RunForked",
    "RunPaused",
    "RunRejected",
    "RunResumed",
    "RunStarted",
    "StepCompleted",
    "StepFailed",
    "StepRejected",
    "StepRequested",
    "StepResultDiscarded",
    "StepRetryScheduled",
    "StepSkipped",
    "StepSuspended",
    "UserInputProvided",
    "UserInputRequested",
]

Event = (
    RunStarted
    | RunRejected
    | OutcomeAwaited
    | RunForked
    | RunPaused
    | RunResumed
    | CheckpointCreated
    | RuleApplied
    | RuleLifted
    | RunCompleted
    | RunFailed
    | RunCancelled
    | RunErased
    | BranchSpawned
    | BranchHeld
    | BranchParked
    | ResultDelivered
    | BranchCompleted
    | BranchFailed
    | BranchCancelled
    | BranchOrphaned
    | BranchMerged
    | StepRequested
    | StepCompleted
    | StepSuspended
    | StepRejected
    | StepFailed
    | StepSkipped
    | StepRetryScheduled
    | StepResultDiscarded
    | ForkOpened
    | ContributionParked
    | ContributionCancelled
    | ForkWaived
    | FailuresRetried
    | ForkSettled
    | BranchConverged
    | UserInputRequested
    | UserInputProvided
)

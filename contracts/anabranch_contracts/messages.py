"""Messages: what travels on the wire. Bodies from outside are validated here, once, at the door."""

from functools import partial
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

JSON = Any
MOST = 2**31 - 1
"""What the tables hold."""


class Message(BaseModel):
    """A wire body; unknown fields are ignored unless a subclass says that they would change meaning."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class RunRequested(Message):
    """`run.requested`: start a run. `topology` and `config` are checked at intake, which lists all errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: UUID | None = None
    task: JSON
    topology: JSON
    context: dict[str, JSON] = Field(default_factory=dict)
    config: dict[str, JSON] = Field(default_factory=dict)
    labels: dict[str, JSON] = Field(default_factory=dict)


def _within(value: JSON, *, most: int, kind: type[int] | type[float]) -> JSON:
    """A number brought within bounds, and to its kind: no result is lost because its worker cannot count.

    What is no number is None.
    """
    try:
        number = float(value) if isinstance(value, str) else value
    except ValueError:
        return None
    if isinstance(number, bool) or not isinstance(number, int | float) or number != number:
        return None
    return kind(max(0, min(number, most)))


def _object(value: JSON) -> JSON:
    return value if isinstance(value, dict | Usage) else None


def _cut(text: str, *, most: int) -> str:
    return text[:most]


class Usage(Message):
    """What an agent invocation consumed; `cost` in the caller's currency. What is out of bounds is brought within."""

    input_tokens: Annotated[int | None, BeforeValidator(partial(_within, most=MOST, kind=int))] = None
    output_tokens: Annotated[int | None, BeforeValidator(partial(_within, most=MOST, kind=int))] = None
    cost: Annotated[float | None, BeforeValidator(partial(_within, most=10**9, kind=float))] = None


Word = Annotated[str, AfterValidator(partial(_cut, most=200))]
"""What a worker says of itself or the time; nobody needs more of it."""
LONGEST_ID = 10_000


class StepReference(Message):
    """Which attempt of which step a worker speaks of."""

    run_id: UUID
    branch_id: str = Field(min_length=1, max_length=LONGEST_ID)
    step_id: str = Field(min_length=1, max_length=LONGEST_ID)
    attempt: int = Field(ge=1, le=MOST)


class StepCompleted(StepReference):
    """`step.completed`: the agent's reply, any JSON. Times are ISO 8601."""

    response: JSON
    started_at: Word | None = None
    finished_at: Word | None = None
    worker: Word | None = None
    usage: Annotated[Usage | None, BeforeValidator(_object)] = None


class StepError(Message):
    """Why an attempt failed; `retry_after` in seconds."""

    kind: Literal["transient", "rate_limit", "recoverable", "terminal", "poison"]
    type: Annotated[str, AfterValidator(partial(_cut, most=200))]
    message: Annotated[str, AfterValidator(partial(_cut, most=10_000))]
    retry_after: float | None = Field(default=None, ge=0)


class StepFailed(StepReference):
    """`step.failed`: the agent raised, or the step cannot be run."""

    error: StepError
    started_at: Word | None = None
    finished_at: Word | None = None
    worker: Word | None = None
    usage: Annotated[Usage | None, BeforeValidator(_object)] = None


class StepRequested(StepReference):
    """`step.requested.<agent>`: everything a worker needs. `memory` items are `{role, content, name?}`.

    `deadline` is a moment (ISO 8601), `timeout` the seconds one invocation may take, `calls` what calls from
    inside the agent's code came to so far: `{"print", "value"}` each.
    """

    step_number: int = Field(le=MOST)
    agent: str
    request: JSON = None
    memory: list[dict[str, JSON]] = Field(default_factory=list)
    context: dict[str, JSON] = Field(default_factory=dict)
    can_invoke: list[str] = Field(default_factory=list)
    steering: str | None = None
    deadline: str | None = None
    timeout: float | None = None
    calls: list[dict[str, JSON]] = Field(default_factory=list)


class BranchNews(Message):
    """`branch.spawned|parked|completed|failed|merged|converged`: what became of a branch, for whoever listens."""

    run_id: UUID
    branch_id: str


class RecoverRun(Message):
    """`run.recover`: look at the run again and do what is due."""

    run_id: UUID


class Command(Message):
    """What people and clients tell a run; an unknown field could change the meaning, so it is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: UUID


class UserInputProvided(Command):
    """`user.provided`: the answer to a user request."""

    request_id: UUID
    value: JSON


class CancelRun(Command):
    """`run.cancel`: end the run, or one branch of it with everything inside."""

    branch_id: str | None = Field(default=None, min_length=1)
    reason: str = Field(default="cancelled", max_length=2000)


class PauseRun(Command):
    """`run.pause`: start nothing new."""

    reason: str = Field(default="paused", max_length=2000)


class ResumeRun(Command):
    """`run.resume`: go on."""


class CheckpointRun(Command):
    """`run.checkpoint`: name the present version."""

    name: str = Field(min_length=1, max_length=200)


class ForkRun(Command):
    """`run.fork`: a new run from the source's past.

    `at`: a version, a checkpoint's name or id, or a step's id (as that step was first asked). `topology` and
    `context` replace those of the source.
    """

    new_run_id: UUID | None = None
    at: Annotated[int, Field(ge=-MOST, le=MOST, strict=True)] | str
    topology: JSON = None
    context: dict[str, JSON] | None = None


class CommandAnswered(Message):
    """To `reply_to` of a command, or of what was parked: whether it was accepted, and if not, why."""

    run_id: UUID | None = None
    accepted: bool
    reason: str | None = None


class UserInputRequested(Message):
    """`user.requested`: a person is wanted; `expires_at` is ISO 8601."""

    run_id: UUID
    request_id: UUID
    branch_id: str
    agent: str | None
    kind: Literal["question", "call", "error", "fork", "notice"]
    prompt: JSON
    choices: list[JSON] | None = None
    json_schema: JSON = Field(default=None, alias="schema")
    expires_at: str | None = None


class Metrics(Message):
    """What a run cost; durations in seconds."""

    total_steps: int
    branch_count: int
    parallel_branches: int
    convergence_wait_time: float
    total_duration: float | None


class RunEnded(Message):
    """`run.completed|failed|cancelled|rejected`: the one outcome of a run.

    Where no broker would carry the result, `result` is null and `result_bytes` its size: `runs` has it.
    """

    run_id: UUID
    status: Literal["completed", "failed", "cancelled", "rejected"]
    result: JSON = None
    result_count: int | None = None
    result_bytes: int | None = None
    error: JSON = None
    metrics: Metrics

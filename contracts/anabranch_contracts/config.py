"""The configuration of a run, and its convergence and retry policies; every bound has a default."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from anabranch_contracts.errors import place

JSON = Any


class _Policy(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ConvergencePolicy(_Policy):
    """When a fork is met, and what happens when it is not; `timeout` in seconds."""

    min_ratio: float = Field(default=1.0, ge=0, le=1)
    on_insufficient: Literal["fail", "proceed", "user"] = "fail"
    eager: bool = False
    fail_fast: bool = False
    terminate_orphans: bool = True
    timeout: float | None = Field(default=None, gt=0)
    on_timeout: Literal["fail", "proceed", "user"] = "fail"


class MemoryPolicy(_Policy):
    """What an agent remembers per branch: the last messages, those of the last step, or nothing."""

    retention: Literal["last_n", "single_step", "none"] = "last_n"
    max_messages: int | None = Field(default=None, ge=0, le=10_000)


class RetryPolicy(_Policy):
    """How transient failures are retried; delays in seconds, `non_retryable` are exception type names."""

    max_attempts: int = Field(default=3, ge=1, le=1000)
    base_delay: float = Field(default=1.0, ge=0, le=86_400)
    max_delay: float = Field(default=60.0, ge=0, le=86_400)
    non_retryable: list[str] = Field(default_factory=list)


class RunConfig(_Policy):
    """`config` of RunRequested; all optional. Times in seconds."""

    auto_detect_convergence: bool = True
    convergence: ConvergencePolicy = Field(default_factory=ConvergencePolicy)
    max_steps: int = Field(default=100_000, ge=1, le=10_000_000)
    max_in_flight: int = Field(default=256, ge=1, le=1_000_000)
    max_branch_steps: int = Field(default=1_000, ge=1, le=1_000_000)
    max_messages: int = Field(default=100, ge=0, le=10_000)
    inherit_memory: bool = False
    max_steering: int = Field(default=3, ge=0, le=100)
    step_timeout: float | None = Field(default=600, gt=0)
    run_timeout: float | None = Field(default=None, gt=0)
    retry: RetryPolicy = Field(default_factory=RetryPolicy)
    max_rate_limit_wait: float = Field(default=600, ge=0)


def parse_config(value: JSON) -> tuple[RunConfig | None, list[str]]:
    """Read a configuration; lists all errors, each naming the setting."""
    return _parsed(RunConfig, value, "config")


def parse_policy(value: JSON, where: str) -> list[str]:
    """What is wrong with a partial convergence policy of a node or an invocation."""
    return _parsed(ConvergencePolicy, value, where, strict=True)[1]


def parse_memory(value: JSON, where: str) -> list[str]:
    """What is wrong with a node's memory policy."""
    return _parsed(MemoryPolicy, value, where, strict=True)[1]


def _parsed(model: type[Any], value: JSON, where: str, strict: bool = False) -> tuple[Any, list[str]]:
    """`strict` where the value itself is kept, not what was read from it: then "5" is no number."""
    try:
        return model.model_validate(value, strict=strict), []
    except ValidationError as error:
        return None, [f"{'.'.join(filter(None, [where, place(e['loc'])]))}: {_mend(e)}" for e in error.errors()]


def _mend(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return "unknown setting; remove it or correct its name"
    return str(error["msg"])

"""Rules of a topology, in their wire form and as the strings of the seed."""

import re
from collections.abc import Callable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from anabranch_contracts.errors import place
from anabranch_contracts.fingerprints import fingerprint

JSON = Any
PYTHON = "python:"
MOST = 10**12
PYTHON_CONDITIONS: dict[str, Callable[[Any], Any]] = {}
"""Conditions that are Python callables of this process, by the names that stand for them in a topology."""


class Rule(BaseModel):
    """A constraint on a run; `type` names it on the wire."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def wire(self) -> dict[str, JSON]:
        """The rule as JSON."""
        return {"type": type(self).__name__, **self.model_dump(exclude_none=True)}


class TimeoutRule(Rule):
    """The run may take `max_duration_seconds`, waiting for people not counted."""

    max_duration_seconds: float = Field(gt=0, allow_inf_nan=False)


class MaxStepsRule(Rule):
    """The run may take `max_steps` steps."""

    max_steps: int = Field(ge=1, le=MOST)


class MaxTurnsRule(Rule):
    """A conversation may take `max_turns` round trips."""

    max_turns: int = Field(ge=1, le=MOST)
    agents: list[str] | None = Field(default=None, min_length=2)
    on_limit: Literal["complete", "fail"] = "complete"


class MaxBranchesRule(Rule):
    """The run may have `max_branches` branches in all."""

    max_branches: int = Field(ge=1, le=MOST)


class MaxParallelBranchesRule(Rule):
    """At most `max_parallel_branches` run at once; the others wait."""

    max_parallel_branches: int = Field(ge=1, le=MOST)


class MaxAgentsRule(Rule):
    """The topology may have `max_agents` agents."""

    max_agents: int = Field(ge=1, le=MOST)


class MemoryLimitRule(Rule):
    """Each agent keeps at most `max_messages` messages per branch."""

    max_messages: int = Field(ge=0, le=MOST)


class BudgetRule(Rule):
    """The run may consume `max_tokens` tokens or `max_cost`."""

    max_tokens: int | None = Field(default=None, ge=1, le=MOST)
    max_cost: float | None = Field(default=None, gt=0, le=MOST)

    @model_validator(mode="after")
    def _one(self) -> "BudgetRule":
        if self.max_tokens is None and self.max_cost is None:
            raise ValueError("name max_tokens, max_cost or both")
        return self


class ConditionalRule(Rule):
    """`action` when `condition` holds: CEL over run, branch, step, context; in one process also a callable."""

    condition: str = Field(max_length=4000)
    action: Literal["allow", "block", "terminate", "pause", "notify_user"] = "allow"

    @field_validator("condition", mode="before")
    @classmethod
    def _named(cls, value: JSON) -> JSON:
        """A callable stays in this process; its name goes into the topology."""
        if not callable(value):
            return value
        name = f"{PYTHON}{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__name__)}"
        name = f"{name}:{fingerprint(value)}"
        PYTHON_CONDITIONS[name] = value
        return name


RULES: dict[str, type[Rule]] = {cls.__name__: cls for cls in Rule.__subclasses__()}
_WRITTEN = re.compile(r"\s*(\w+)\s*\((.*)\)\s*")
_NUMBERS: dict[str, tuple[type[Rule], Callable[[str], float]]] = {
    "max_steps": (MaxStepsRule, int),
    "timeout": (TimeoutRule, float),
    "max_branches": (MaxBranchesRule, int),
    "max_parallel_branches": (MaxParallelBranchesRule, int),
    "max_agents": (MaxAgentsRule, int),
    "max_messages": (MemoryLimitRule, int),
    "memory_limit": (MemoryLimitRule, int),
}


def parse_rule(value: JSON) -> tuple[Rule | None, list[str]]:
    """Read one rule; errors name it and the mend."""
    if isinstance(value, Rule):
        return value, []
    if isinstance(value, str):
        return _written(value)
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        return None, [f"rules: {str(value)[:80]!r} is no rule; write max_steps(100) or an object with a type"]
    cls = RULES.get(value["type"])
    if cls is None:
        return None, [f"rules: unknown rule {value['type'][:80]!r}; known are {', '.join(RULES)}"]
    return _built(cls, {k: v for k, v in value.items() if k != "type"})


def _built(cls: type[Rule], fields: dict[str, JSON]) -> tuple[Rule | None, list[str]]:
    try:
        return cls.model_validate(fields), []
    except ValidationError as error:
        where = [f"rules: {cls.__name__}.{place(e['loc'])}: {e['msg']}" for e in error.errors()]
        return None, where


def _written(text: str) -> tuple[Rule | None, list[str]]:
    match = _WRITTEN.fullmatch(text)
    name, inside = (match[1], match[2]) if match else ("", "")
    if name == "max_turns":
        return _turns(inside, text)
    if name not in _NUMBERS:
        known = ", ".join([*_NUMBERS, "max_turns"])
        return None, [f"rules: {text[:80]!r} is no rule; known are {known}, as in max_steps(100)"]
    cls, number = _NUMBERS[name]
    try:
        return _built(cls, {next(iter(cls.model_fields)): number(inside)})
    except (ValueError, OverflowError):
        return None, [f"rules: {text[:80]!r} needs one number"]


def _turns(inside: str, text: str) -> tuple[Rule | None, list[str]]:
    *who, last = inside.rsplit(",", 1)
    agents = [a.strip() for a in who[0].split("<->")] if who else None
    try:
        return _built(MaxTurnsRule, {"max_turns": int(last), "agents": agents})
    except ValueError:
        return None, [f"rules: {text[:80]!r} needs a number of turns, as in max_turns(A <-> B, 5)"]

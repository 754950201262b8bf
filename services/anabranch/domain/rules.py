"""The rules of a topology, prepared: bounds in force, turns of conversations, conditions."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

JSON = Any
COST_UNIT = 10**9
Rule = Mapping[str, JSON]


def _least(rules: Iterable[Rule], kind: str, field: str) -> Any:
    """The narrowest bound of a kind; None where there is none."""
    return min((r[field] for r in rules if r["type"] == kind and r.get(field) is not None), default=None)


def _numbers(rule: Rule) -> list[float]:
    return [v for v in rule.values() if isinstance(v, int | float)]


@dataclass(frozen=True, slots=True)
class Condition:
    """A conditional rule at its `place` in the topology's list."""

    place: int
    expression: str
    action: str


class Rules:
    """What the rules of one topology amount to; None = no bound."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.seconds: float | None = _least(rules, "TimeoutRule", "max_duration_seconds")
        self.steps: int | None = _least(rules, "MaxStepsRule", "max_steps")
        self.branches: int | None = _least(rules, "MaxBranchesRule", "max_branches")
        self.parallel: int | None = _least(rules, "MaxParallelBranchesRule", "max_parallel_branches")
        self.agents: int | None = _least(rules, "MaxAgentsRule", "max_agents")
        self.messages: int | None = _least(rules, "MemoryLimitRule", "max_messages")
        self.tokens: int | None = _least(rules, "BudgetRule", "max_tokens")
        self.cost: float | None = _least(rules, "BudgetRule", "max_cost")
        self.conditions = [
            Condition(i, r["condition"], r["action"]) for i, r in enumerate(rules) if r["type"] == "ConditionalRule"
        ]
        self._turns = [{**r, "place": i} for i, r in enumerate(rules) if r["type"] == "MaxTurnsRule"]
        self._bounds = {(r["type"], v): i for i, r in reversed(list(enumerate(rules))) for v in _numbers(r)}

    def place(self, kind: str, bound: float) -> int:
        """Where the rule with this bound stands in the topology's list; -1 where the bound is none of a rule's."""
        return self._bounds.get((kind, bound), -1)

    def turns(self, a: str, b: str) -> Rule | None:
        """The narrowest rule on the conversation of two agents, with its place in the topology's list."""
        about = [r for r in self._turns if not r.get("agents") or {a, b} <= set(r["agents"])]
        return min(about, key=lambda r: int(r["max_turns"]), default=None)


def least(*bounds: float | None) -> float | None:
    """The narrowest of some bounds; None where there is none."""
    return min((b for b in bounds if b is not None), default=None)

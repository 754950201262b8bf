"""Which parameters an agent names; it is given those and no others."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import Parameter
from typing import Any

from anabranch.agents.context import StepContext
from anabranch.agents.errors import InvalidAgent
from anabranch_contracts.messages import StepRequested

JSON = Any
OFFERED = ("memory", "context", "steering", "can_invoke", "step", "ctx")
BY_POSITION = (Parameter.POSITIONAL_ONLY, Parameter.VAR_POSITIONAL)
VARIADIC = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)


@dataclass(frozen=True, slots=True)
class Parameters:
    """How to fill a call: `request` names the parameter of the request, None = it goes by position."""

    takes_request: bool
    request: str | None
    offered: tuple[str, ...]

    def fill(self, step: StepRequested, ctx: StepContext) -> tuple[list[JSON], dict[str, JSON]]:
        """Arguments for one step; steering that is not asked for is the last message of the memory."""
        memory = step.memory
        if step.steering is not None and "steering" not in self.offered:
            memory = [*memory, {"role": "system", "content": step.steering}]
        values = {
            "memory": memory,
            "context": step.context,
            "steering": step.steering,
            "can_invoke": step.can_invoke,
            "step": step,
            "ctx": ctx,
        }
        named = {name: values[name] for name in self.offered}
        if not self.takes_request:
            return [], named
        return ([step.request], named) if self.request is None else ([], {self.request: step.request, **named})


def read_parameters(agent: str, function: Callable[..., Any], bound: bool = True) -> Parameters:
    """Read a signature; `bound` False = its first parameter is `self`. Raises `InvalidAgent`."""
    try:
        found = list(inspect.signature(function).parameters.values())
    except ValueError:  # some builtins have no signature
        return Parameters(True, None, ())
    found = found if bound else found[1:]
    request = _request(found)
    for one in found:
        _refuse_unknown(agent, one, request)
    offered = tuple(p.name for p in found if p is not request and p.name in OFFERED and p.kind not in VARIADIC)
    by_name = request.name if request is not None and request.kind not in BY_POSITION else None
    return Parameters(request is not None, by_name, offered)


def _request(found: Sequence[Parameter]) -> Parameter | None:
    """The parameter called request, else the first positional one that is not offered."""
    named = next((p for p in found if p.name == "request" and p.kind not in VARIADIC), None)
    if named is not None:
        return named
    kinds = (*BY_POSITION, Parameter.POSITIONAL_OR_KEYWORD)
    return next((p for p in found if p.kind in kinds and p.name not in OFFERED), None)


def _refuse_unknown(agent: str, one: Parameter, request: Parameter | None) -> None:
    known = one is request or one.name in OFFERED or one.kind in VARIADIC
    if not known and one.default is Parameter.empty:
        raise InvalidAgent(
            f"agent {agent!r}: nothing is known to pass as parameter {one.name!r}",
            hint=f"give it a default, or use one of: request, {', '.join(OFFERED)}",
        )

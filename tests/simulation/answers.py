"""What agents and people do: drawn from all that they are told, never from a schedule, so that runs can be compared.

Because memory and context go into the draw, a schedule that changed either would change what follows. An agent is
code: it takes its time, calls others durably in the middle of it, raises, and replies.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Protocol, TypeVar
from uuid import UUID

from anabranch.agents.context import StepContext
from anabranch.agents.registry import Agent, Registry
from anabranch_contracts.errors import RateLimited, RecoverableError, TerminalError
from anabranch_contracts.messages import StepRequested
from tests.simulation.generate import Size, policy

JSON = Any
T = TypeVar("T")
LONGEST_WORK = 10.0


class Flaky(Exception):
    """Try again."""


class Dice:
    """Chance that depends on the identity alone."""

    __slots__ = ("_bits",)

    def __init__(self, *identity: JSON) -> None:
        self._bits = int.from_bytes(blake2b(repr(identity).encode(), digest_size=64).digest())

    def random(self) -> float:
        self._bits, drawn = divmod(self._bits, 4096)
        return drawn / 4096

    def randint(self, low: int, high: int) -> int:
        self._bits, drawn = divmod(self._bits, high - low + 1)
        return low + drawn

    def choice(self, of: Sequence[T]) -> T:
        self._bits, drawn = divmod(self._bits, len(of))
        return of[drawn]


class Setting(Protocol):
    """What agents know of the world of a run besides their step."""

    seed: int
    loose: bool
    size: Size
    faulty: bool

    def toss(self) -> float:
        """Chance of the schedule: how long something takes."""
        ...

    def heard(self, step: StepRequested) -> None:
        """An agent was told this."""
        ...


class Cast(Registry):
    """All agents are one function, which is told whom it plays."""

    def __init__(self, names: Iterable[str], runs: Mapping[UUID, Setting]) -> None:
        super().__init__()
        self._names = sorted(names)
        self._agent = Agent("anybody", _of(runs))

    def resolve(self, name: str) -> Agent:
        return self._agent

    def names(self) -> list[str]:
        return self._names

    def __contains__(self, name: object) -> bool:
        return name in self._names


def _of(runs: Mapping[UUID, Setting]) -> Any:
    async def play(step: StepRequested, ctx: StepContext) -> JSON:
        world = runs[step.run_id]
        if world.faulty and world.toss() < 0.25:
            await asyncio.sleep(LONGEST_WORK * world.toss() ** 3)
        world.heard(step)
        return await _act(world, step, ctx)

    return play


async def _act(world: Setting, step: StepRequested, ctx: StepContext) -> JSON:
    context = {k: v for k, v in step.context.items() if k != "run_id"}  # a fork of the run has another
    told = (step.step_id, step.agent, step.request, step.memory, sorted(context.items()))
    dice = Dice(world.seed, step.attempt, len(step.calls), told)
    ctx.report_usage(dice.randint(0, 5), dice.randint(0, 5), dice.randint(0, 3) / 100)
    _fail(dice)
    script = Dice(world.seed, "script", told)
    if script.random() < 0.12 and step.can_invoke:
        await _call(script.randint(1, 2), world.size, step, ctx)
    return _reply(dice, world, step)


def _fail(dice: Dice) -> None:
    roll = dice.random()
    if roll < 0.03:
        raise TerminalError("for good") if dice.random() < 0.5 else RecoverableError("for good")
    if roll < 0.08:
        raise Flaky("try again")
    if roll < 0.10:
        raise RateLimited("later", retry_after=1.5)


async def _call(most: int, size: Size, step: StepRequested, ctx: StepContext) -> None:
    """The calls of an agent whose code makes some before it answers."""
    for made in range(most if step.step_id.count(".f") < size.depth else 0):
        one = Dice(step.step_id, made)
        if one.random() < 0.2:
            await ctx.ask_user("well?", choices=["yes", "no"])
            continue
        agents = [a for a in step.can_invoke if a not in ("User", "End")] or step.can_invoke
        calls = [{"agent": one.choice(agents), "request": i} for i in range(one.randint(1, size.width))]
        await ctx.parallel_invoke(invocations=calls, return_exceptions=one.random() < 0.8)


def _reply(dice: Dice, world: Setting, step: StepRequested) -> JSON:
    can, size = step.can_invoke, world.size
    said = f"{step.agent} at {step.step_id}"
    more = {"context_updates": {"k": dice.randint(0, 9)}} if dice.random() < 0.2 else {}
    roll, depth = dice.random(), step.step_id.count(".f")
    if roll < 0.05:
        return {"next_action": dice.choice(["invoke_agent", "dance", "parallel_invoke"]), "agents": "no list"}
    if roll < 0.07:
        return {"next_action": "retry_later", "after_seconds": 2}
    if roll < 0.085:
        return {"next_action": dice.choice(["error_recovery", "terminal_error"]), "error": "no idea"}
    if roll < 0.13:
        return {"next_action": "ask_user", "prompt": said, **_terms(dice, world.loose), **more}
    if roll < 0.13 + size.haste * step.step_number or not can:
        return {"next_action": "final_response", "final_response": said, **more}
    if roll < 0.45:
        return {"next_action": "invoke_agent", "action_input": {"agent": dice.choice(can), "request": said}, **more}
    if roll < 0.72 and depth < size.depth:
        return {**_parallel(dice, world, can, said), **more}
    if depth >= size.depth:
        return {"next_action": "final_response", "final_response": said}
    return said


def _terms(dice: Dice, loose: bool) -> dict[str, JSON]:
    terms: dict[str, JSON] = {}
    if dice.random() < 0.3:
        terms = {"choices": ["left", "right"], "default": "left"}
    elif dice.random() < 0.3:
        terms = {"schema": {"type": "integer", "minimum": 1}, "default": 1}
    return {**terms, "timeout": dice.choice([0.5, 3.0])} if loose and dice.random() < 0.5 else terms


def _parallel(dice: Dice, world: Setting, can: list[str], said: str) -> JSON:
    targets = [dice.choice(can) for _ in range(dice.randint(1, world.size.width))]
    calls = [{"agent": t, "request": [said, i]} for i, t in enumerate(targets)]
    reply: dict[str, JSON] = {"next_action": "parallel_invoke", "invocations": calls}
    if dice.random() < 0.2:
        reply["convergence"] = policy(dice, world.loose)
    if dice.random() < 0.2:
        reply["inherit_memory"] = dice.random() < 0.5
    return reply


def person(seed: int, request: dict[str, JSON]) -> JSON:
    """A person's answer to an open user request (a row)."""
    dice = Dice(seed, "person", request["branch_id"], request["kind"], request["prompt"])
    if request["kind"] in ("error", "fork"):
        decision = dice.choice(["retry", "skip", "skip", "abort"])
        if decision == "retry" and request["kind"] == "error" and dice.random() < 0.5:
            return {"decision": "retry", "request": "asked anew"}
        return decision
    if request["choices"]:
        return dice.choice(request["choices"])
    return dice.randint(1, 9) if request["schema"] else f"answer {dice.randint(0, 9)}"

"""A new run from another's past (semantics 9).

The new stream begins with the source's events up to a version, then `RunForked`, then lives on. A version may lie
inside a decision, between two events of one turn: then the rest of that turn is recorded too, so that no branch
stands where no rule would ever have left it. Steps completed in the prefix are not asked again; what was pending
there is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

import orjson

from anabranch.domain.evolve import fold
from anabranch.domain.graph import Graph
from anabranch.domain.identity import derived
from anabranch.domain.intake import await_outcome, check
from anabranch.domain.recorded import Recorded
from anabranch.domain.sizes import MAX_CONTEXT, size, too_much
from anabranch.domain.state import RunState
from anabranch.domain.turn import Refused, Turn
from anabranch_contracts import events as e
from anabranch_contracts.config import RunConfig
from anabranch_contracts.messages import ForkRun
from anabranch_contracts.notation import parse_topology
from anabranch_contracts.topology import Topology

JSON = Any


@dataclass(frozen=True, slots=True)
class Fork:
    """A `run.fork` as it came; `events` is the source's whole stream, fetched before it is decided."""

    run_id: UUID
    command: ForkRun
    reply_to: str | None = None
    reply_correlation: str | None = None
    events: Sequence[Recorded] = ()

    def content_hash(self) -> str:
        """Identity of what is asked."""
        return sha256(orjson.dumps(self.command.model_dump())).hexdigest()

    def with_source(self, events: Sequence[Recorded]) -> "Fork":
        """The same with the events it starts from."""
        return replace(self, events=events)


def checkpoint_id(run_id: UUID, name: str) -> UUID:
    """Identity of a checkpoint."""
    return derived(run_id, f"checkpoint/{name}")


def version_of(events: Sequence[Recorded], at: int | str) -> int:
    """The version that `at` means in a stream; raises `Refused`."""
    if isinstance(at, str) and at.isdecimal() and len(at) < 20:
        at = int(at)
    if isinstance(at, int):
        if not 1 <= at <= len(events):
            raise Refused(f"at: version {at} is not one of 1 to {len(events)}")
        return at
    for recorded in events:
        version = _named(recorded, at)
        if version is not None:
            return version
    raise Refused(f"at: {at[:200]!r} is no checkpoint and no step of run {events[0].run_id}")


def _named(recorded: Recorded, at: str) -> int | None:
    match recorded.event:
        case e.CheckpointCreated(name=name, version=version):
            pass
        case e.ForkSettled(fork_id=identity) | e.BranchConverged(convergence_id=identity):
            name, version = f"auto:{identity}", recorded.version
        case e.StepRequested(step_id=step_id):
            return recorded.version if step_id == at else None
        case _:
            return None
    return version if at in (name, str(checkpoint_id(recorded.run_id, name))) else None


def fork(turn: Turn, asked: Fork) -> None:
    """Start the new run; raises `Refused` with nothing recorded."""
    events, command = asked.events, asked.command
    if not events:
        raise Refused(f"run {command.run_id} is unknown")
    if any(isinstance(recorded.event, e.RunErased) for recorded in events):
        raise Refused(f"run {command.run_id} was erased: its past tells nothing to go on from")
    if (why := too_much("context: has", size(command.context), MAX_CONTEXT)) is not None:
        raise Refused(why)
    version = version_of(events, command.at)
    rest = _rest_of_turn(events, version)
    topology = _topology(command, events, version + len(rest))
    for recorded in events[:version]:
        turn.copy(recorded)
    turn.record(
        e.RunForked(
            source=str(command.run_id),
            at_version=version,
            request_hash=asked.content_hash(),
            topology=topology.canonical() if topology is not None else None,
            topology_hash=topology.content_hash() if topology is not None else None,
            context=command.context,
            reply_to=asked.reply_to,
            reply_correlation=asked.reply_correlation,
        )
    )
    for recorded in rest:
        turn.record(_anew(recorded, turn.now))


def _anew(recorded: Recorded, now: datetime) -> e.Event:
    """The event as it is recorded now: a person has as long to answer as in the other run."""
    event = recorded.event
    if not isinstance(event, e.UserInputRequested) or event.expires_at is None:
        return event
    return replace(event, expires_at=(now + (datetime.fromisoformat(event.expires_at) - recorded.at)).isoformat())


def _rest_of_turn(events: Sequence[Recorded], version: int) -> Sequence[Recorded]:
    """What the decision in hand at `version` recorded after it."""
    cause = events[version - 1].causation_id
    end = version
    while end < len(events) and events[end].causation_id == cause:
        end += 1
    return events[version:end]


def _topology(command: ForkRun, events: Sequence[Recorded], upto: int) -> Topology | None:
    """The topology that replaces the source's; raises `Refused` where it cannot run or does not fit."""
    if command.topology is None:
        return None
    topology, errors = parse_topology(command.topology)
    state = fold(events[:upto])
    assert state is not None
    if topology is not None:
        errors = check(topology, RunConfig.model_validate(state.config))
    if topology is None or errors:
        raise Refused("; ".join(errors))
    missing = sorted(_places(state) - Graph(topology.canonical()).node.keys())
    if missing:
        raise Refused(f"topology: the run refers to {', '.join(missing[:20])}, which the new topology does not have")
    return topology


def _places(state: RunState) -> set[str]:
    """Every node that something live refers to."""
    forks: Mapping[str, Any] = state.forks
    places = {b.agent for b in state.branches.values()} | {t.node for t in state.tokens.values()}
    places |= {f.node for f in forks.values() if f.node is not None}
    places |= {r.returns_to for r in state.requests.values() if r.returns_to is not None}
    lost = {agent for f in forks.values() for _, _, agent, _ in f.lost}
    return places | lost | {b.origin[0] for b in state.branches.values() if b.origin is not None}


def known(turn: Turn, asked: Fork) -> None:
    """A fork into a run that exists: the same command is an address more, another is refused."""
    if turn.state.request_hash != asked.content_hash():
        raise Refused(f"run {asked.run_id} exists; use another new_run_id")
    await_outcome(turn, asked.reply_to, asked.reply_correlation)

"""A turn: the events that one message leads to, each applied to the state as it is recorded.

The state is consumed: whoever loses the fence throws it away with the turn and reads the run again.
"""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from anabranch.domain.evolve import evolve
from anabranch.domain.identity import derived
from anabranch.domain.recorded import Recorded
from anabranch.domain.state import RunState
from anabranch_contracts.events import Event


class Refused(Exception):
    """The message cannot be acted on, now or later; the reason is for the person who sent it."""


@dataclass(slots=True)
class Turn:
    """What is being decided: the state, the clock's reading, and who and what caused it."""

    state: RunState
    now: datetime
    causation_id: UUID
    actor: str
    events: list[Recorded] = field(default_factory=list)

    def record(self, event: Event) -> None:
        """Append the event and apply it; its id is derived from its place, so a decision repeats exactly."""
        state = self.state
        version = state.version + 1
        identity = derived(state.run_id, str(version))
        recorded = Recorded(state.run_id, version, event, self.now, identity, self.causation_id, self.actor)
        evolve(state, recorded)
        self.events.append(recorded)

    def copy(self, recorded: Recorded) -> None:
        """Take over an event of another run, with its time and its cause, as the next one of this."""
        state = self.state
        version = state.version + 1
        identity = derived(state.run_id, str(version))
        taken = Recorded(
            state.run_id, version, recorded.event, recorded.at, identity, recorded.causation_id, recorded.actor
        )
        evolve(state, taken)
        self.events.append(taken)

    def identity(self, place: str) -> str:
        """A UUID derived from a place in this run, the same in every schedule."""
        return str(derived(self.state.run_id, place))

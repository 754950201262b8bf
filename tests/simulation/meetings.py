"""What a stream must tell of forks and convergence nodes: whoever waits is taken once, by the one firing that is due.

Read from the events alone. A token parks, and leaves by one firing that takes all that is parked there, or by its
end; firings of a node follow each other; a fork is opened once and settles once, with nobody of it left; who is parked
or waits for a fork takes no step meanwhile.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from anabranch.domain.recorded import Recorded
from anabranch_contracts import events as e
from tests.simulation.history import Broken


class Meetings:
    """What was read so far of one run."""

    def __init__(self) -> None:
        self._parked: dict[str, str] = {}
        self._place: dict[str, str] = {}
        self._members: dict[str, set[str]] = {}
        self._owners: dict[str, str] = {}
        self._waiting: dict[str, str] = {}
        self._firings: Counter[str] = Counter()
        self._known: set[str] = set()

    def read(self, recorded: Iterable[Recorded]) -> None:
        """All of it; raises `Broken`."""
        for one in recorded:
            self._one(one.event, f"version {one.version}")

    def _one(self, event: Any, at: str) -> None:
        match event:
            case e.StepRequested(branch_id=branch_id):
                self._is_free(branch_id, at)
            case e.BranchSpawned(branch_id=branch_id, fork_id=fork_id):
                self._join(branch_id, fork_id)
            case e.BranchParked(branch_id=branch_id, node=node):
                self._is_free(branch_id, at)
                self._parked[branch_id] = node
            case e.ContributionParked(token_id=token_id, fork_id=fork_id, node=node):
                self._join(token_id, fork_id)
                self._parked[token_id] = node
            case e.ContributionCancelled(token_id=token_id):
                self._end(token_id)
            case e.BranchCompleted() | e.BranchFailed() | e.BranchCancelled() | e.BranchMerged():
                self._end(event.branch_id)
            case e.BranchOrphaned(branch_id=branch_id):
                self._members[self._place.pop(branch_id)].discard(branch_id)
            case e.ForkOpened(fork_id=fork_id, branch_id=branch_id):
                self._opened(fork_id, branch_id, at)
            case e.ForkSettled():
                self._settled(event, at)
            case e.BranchConverged():
                self._fired(event, at)
            case e.RunCompleted() if self._parked or self._owners:
                raise Broken(f"{at}: the run is over, and {self._parked or self._owners} still wait")
            case _:
                pass

    def _is_free(self, branch_id: str, at: str) -> None:
        if branch_id in self._parked or branch_id in self._waiting:
            for_what = self._parked.get(branch_id) or self._waiting[branch_id]
            raise Broken(f"{at}: branch {branch_id} goes on, and waits for {for_what}")

    def _join(self, token: str, fork_id: str) -> None:
        self._place[token] = fork_id
        self._members.setdefault(fork_id, set()).add(token)

    def _end(self, token: str) -> None:
        self._parked.pop(token, None)
        if (fork_id := self._place.pop(token, None)) is not None:
            self._members[fork_id].discard(token)
        if (waited_for := self._waiting.pop(token, None)) is not None:
            del self._owners[waited_for]

    def _opened(self, fork_id: str, owner: str, at: str) -> None:
        self._is_free(owner, at)
        if fork_id in self._known:
            raise Broken(f"{at}: fork {fork_id} opens twice")
        self._known.add(fork_id)
        self._owners[fork_id], self._waiting[owner] = owner, fork_id

    def _settled(self, event: e.ForkSettled, at: str) -> None:
        if self._owners.pop(event.fork_id, None) != event.branch_id:
            raise Broken(f"{at}: fork {event.fork_id} settles, and is not open")
        if left := self._members.get(event.fork_id):
            raise Broken(f"{at}: fork {event.fork_id} settles with {sorted(left)} in it")
        del self._waiting[event.branch_id]

    def _fired(self, event: e.BranchConverged, at: str) -> None:
        self._firings[event.node] += 1
        here = {token for token, node in self._parked.items() if node == event.node}
        if event.convergence_id != f"{event.node}#{self._firings[event.node]}":
            raise Broken(f"{at}: {event.convergence_id} is not the firing that follows")
        if not here or here != set(event.tokens) or len(here) != len(event.tokens):
            raise Broken(f"{at}: {event.convergence_id} takes {event.tokens}, parked are {sorted(here)}")
        if event.continues == "owner":
            if self._owners.pop(event.fork_id, None) != event.into_branch_id:
                raise Broken(f"{at}: {event.into_branch_id} goes on for fork {event.fork_id}, which is not open")
            del self._waiting[event.into_branch_id]
        elif event.continues == "new":
            self._join(event.into_branch_id, event.fork_id)
        for token in here:
            del self._parked[token]
            if event.continues != "token":
                self._end(token)

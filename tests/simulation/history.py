"""What a stream must tell whatever happened: order in a run, nothing started after its end, budgets kept.

One reading of the events, without the state: what the rules believe to have counted is counted here again.
"""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from anabranch.domain.clocks import after
from anabranch.domain.recorded import Recorded
from anabranch_contracts import events as e

JSON = Any
LATER = e.StepResultDiscarded | e.CheckpointCreated | e.OutcomeAwaited  # what comes after the end of a run


class Broken(AssertionError):
    """The stream tells what must not be."""


class History:
    """What was read so far of one run."""

    def __init__(self, started: e.RunStarted, exact: bool = False) -> None:
        config = started.config
        rules = {r["type"]: r for r in started.topology["rules"]}
        self._most_branches = rules.get("MaxBranchesRule", {}).get("max_branches", 10**9)
        most = rules.get("MaxParallelBranchesRule", {}).get("max_parallel_branches", 10**9)
        self._most_parallel = min(most, config["max_in_flight"])
        budgets = [r for r in started.topology["rules"] if r["type"] == "BudgetRule"]
        self._most_tokens = min((r["max_tokens"] for r in budgets if r.get("max_tokens") is not None), default=10**9)
        self._most_cost = min((r["max_cost"] for r in budgets if r.get("max_cost") is not None), default=10**9)
        self._most_steps = min(config["max_steps"], rules.get("MaxStepsRule", {}).get("max_steps", 10**9))
        self._config = config
        self._live: set[str] = set()
        self._known: set[str] = set()
        self._cancelled: list[str] = []
        self._orphans: set[str] = set()
        self._steps: dict[str, tuple[str, int, int]] = {}
        self._open: dict[str, tuple[str, int]] = {}
        self._failures: Counter[str] = Counter()
        self._lives: Counter[str] = Counter()
        self._exact = exact
        self._due: dict[str, str] = {}
        self._patience: dict[str, float] = {}
        self._timed: set[str] = set()
        self._at = self._past = ""
        self._total = self._tokens = 0
        self._cost = 0.0
        self._over = False
        self._overspent: UUID | None = None

    def read(self, recorded: Iterable[Recorded]) -> None:
        """All of it; raises `Broken`."""
        position = 0
        for one in recorded:
            if one.position <= position:
                raise Broken(f"version {one.version} lies before {one.version - 1} in the log")
            position = one.position
            self._timely(one)
            self._one(one.event, f"version {one.version}")
            self._thrifty(one)

    def _thrifty(self, one: Recorded) -> None:
        """The turn in which more is spent than may be is the run's last, unless another run starts from the middle."""
        over = self._tokens > self._most_tokens or self._cost > self._most_cost + 1e-6
        if over and not self._over:
            self._overspent = one.causation_id
        elif isinstance(one.event, e.RunForked):
            self._overspent = None
        elif self._overspent not in (None, one.causation_id) and not isinstance(one.event, LATER):
            raise Broken(f"version {one.version}: the run goes on after {self._tokens} tokens, {self._cost:g} of money")
        self._over = over

    def _timely(self, one: Recorded) -> None:
        """Nothing happens before it is due; whether it is due is told by the clock that the event is dated by."""
        event, at = one.event, one.at.isoformat()
        match event:
            case e.RunForked():
                self._begin_anew(one)
            case e.StepRetryScheduled(branch_id=about, due_at=due):
                self._due[about] = due
            case e.UserInputRequested(request_id=about, expires_at=str(due)):
                self._due[about] = due
                self._patience[about] = (datetime.fromisoformat(due) - one.at).total_seconds()
            case e.ForkOpened(fork_id=about, policy={"timeout": float(seconds)}) if self._exact:
                self._due[about] = after(one.at, seconds).isoformat()
                self._timed.add(about)
            case (
                e.StepRequested(branch_id=about)
                | e.BranchHeld(branch_id=about)
                | e.ForkWaived(fork_id=about, reason="timeout")
            ):
                self._not_before(about, at)
            case e.UserInputProvided(request_id=about, by="timeout"):
                self._not_before(about, at)
            case _:
                pass
        self._at = at

    def _begin_anew(self, one: Recorded) -> None:
        """Into a world whose time begins anew: what was due in the past is due, and clocks count from here.

        How much of a fork's time was over is not known here.
        """
        self._past = self._at
        for about in self._due.keys() & self._patience.keys():
            self._due[about] = after(one.at, self._patience[about]).isoformat()
        for about in self._due.keys() & self._timed:
            del self._due[about]

    def _not_before(self, about: str, at: str) -> None:
        if max(at, "" if about in self._patience else self._past) < self._due.pop(about, ""):
            raise Broken(f"{about}: at {at}, before it was due")

    def _one(self, event: Any, at: str) -> None:
        match event:
            case e.StepRequested():
                self._requested(event, at)
            case e.StepCompleted() | e.StepSuspended() | e.StepRejected() | e.StepFailed():
                self._answered(event, at)
            case e.BranchSpawned(branch_id=branch_id):
                self._spawned(branch_id, at)
            case e.BranchConverged(into_branch_id=branch_id) if branch_id not in self._known:
                self._spawned(branch_id, at)
            case e.BranchCompleted() | e.BranchFailed() | e.BranchCancelled() | e.BranchMerged():
                self._ended(event, at)
            case e.FailuresRetried(branch_ids=branch_ids):
                self._live.update(branch_ids)
                self._lives.update(branch_ids)
            case e.UserInputProvided(branch_id=branch_id):
                self._lives[branch_id] += 1
            case e.BranchOrphaned(branch_id=branch_id):
                self._orphans.add(branch_id)
            case e.RunForked():
                self._cancelled.clear()
            case _:
                pass

    def _spawned(self, branch_id: str, at: str) -> None:
        if branch_id in self._known:
            raise Broken(f"{at}: branch {branch_id} starts twice")
        self._known.add(branch_id)
        self._live.add(branch_id)
        if len(self._known) > self._most_branches:
            raise Broken(f"{at}: {len(self._known)} branches, max_branches = {self._most_branches}")

    def _ended(self, event: Any, at: str) -> None:
        branch_id = event.branch_id
        if branch_id not in self._live:
            raise Broken(f"{at}: branch {branch_id} ends and does not live")
        self._live.discard(branch_id)
        self._open.pop(branch_id, None)
        if isinstance(event, e.BranchCancelled):
            self._cancelled.append(branch_id + ".")

    def _requested(self, event: e.StepRequested, at: str) -> None:
        branch_id = event.branch_id
        heard = not any(f"{branch_id}.".startswith(f"{orphan}.") for orphan in self._orphans)
        inside = heard and any(branch_id.startswith(c) for c in self._cancelled)
        if branch_id not in self._live or inside:
            raise Broken(f"{at}: {event.step_id} starts in a branch that has ended or was cancelled")
        step_id, number, attempt = self._steps.get(branch_id, ("", 0, 0))
        follows = (step_id, number, attempt + 1) if event.step_id == step_id else (event.step_id, number + 1, 1)
        if (event.step_id, event.step_number, event.attempt) != follows:
            raise Broken(f"{at}: {event.step_id} attempt {event.attempt} does not follow {step_id} attempt {attempt}")
        self._steps[branch_id] = follows
        self._open[branch_id] = (event.step_id, event.attempt)
        self._bounded(event, at, new=event.step_id != step_id)

    def _bounded(self, event: e.StepRequested, at: str, new: bool) -> None:
        self._total += new
        most = self._config["max_branch_steps"]
        if self._total > self._most_steps or event.step_number > most:
            raise Broken(f"{at}: step {self._total} of the run, {event.step_number} of {event.branch_id}: too many")
        if len(self._open) > self._most_parallel:
            raise Broken(f"{at}: {len(self._open)} steps at once, at most {self._most_parallel}")
        if self._tokens > self._most_tokens:
            raise Broken(f"{at}: {event.step_id} starts after {self._tokens} tokens, max = {self._most_tokens}")
        if self._cost > self._most_cost + 1e-6:
            raise Broken(f"{at}: {event.step_id} starts after {self._cost} was spent, max = {self._most_cost}")

    def _answered(self, event: Any, at: str) -> None:
        if self._open.pop(event.branch_id, None) != (event.step_id, event.attempt):
            raise Broken(f"{at}: nobody waits for an answer to {event.step_id} attempt {event.attempt}")
        usage = event.usage or {}
        self._tokens += (usage.get("input_tokens") or 0) + (usage.get("output_tokens") or 0)
        self._cost += usage.get("cost") or 0
        if isinstance(event, e.StepSuspended):
            self._failures[event.step_id] = 0
        if isinstance(event, e.StepFailed) and event.error["kind"] == "transient":
            self._failures[event.step_id] += 1
            most = self._config["retry"]["max_attempts"] + self._lives[event.branch_id]
            if self._failures[event.step_id] > most:
                raise Broken(f"{at}: {event.step_id} failed {self._failures[event.step_id]} times, allowed {most}")

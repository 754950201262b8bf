"""One line for each event worth telling a person."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import orjson

from anabranch.client.results import OrchestraResult
from anabranch.client.terminal import tame, tame_lines

JSON = Any
BRANCHES = {
    "BranchSpawned", "BranchCompleted", "BranchFailed", "BranchCancelled", "BranchOrphaned", "BranchMerged",
    "BranchConverged", "ForkOpened", "ForkSettled", "ForkWaived", "UserInputRequested", "UserInputProvided",
    "RunPaused", "RunResumed", "RunForked", "RuleApplied",
}  # fmt: skip
OUTCOMES = {"RunStarted", "RunRejected", "RunCompleted", "RunFailed", "RunCancelled"}


def short(value: JSON) -> str:
    """A value in a line."""
    text = value if isinstance(value, str) else orjson.dumps(value, default=str).decode()
    return tame(text[:1000])[:200]


def line(event: dict[str, JSON], verbosity: int = 2) -> str | None:
    """What to say of an event row; None where this verbosity says nothing."""
    kind, data = event["type"], event["data"]
    if kind not in OUTCOMES | BRANCHES and verbosity < 2:
        return None
    said = SAYINGS[kind](data) if kind in SAYINGS else None
    clock = event["recorded_at"].strftime("%H:%M:%S.%f")[:-3]
    if said is None:
        return None
    return f"{clock}  {said if kind == 'UserInputRequested' else _in_one_line(said)}"


def _in_one_line(said: str) -> str:
    """One line that says nothing to the terminal, its own blanks kept."""
    return tame_lines(said).replace("\n", " ").replace("\t", " ")


def _asks(d: JSON) -> str:
    if d["kind"] == "notice":
        return f"! {short(d['prompt'])}"
    wanted = f" one of {short(d['choices'])}" if d.get("choices") else ""
    asking = tame(f"? {d['agent'] or 'the run'} asks: {short(d['prompt'])}{wanted}")
    return f"{asking}\n{' ' * 16}anabranch respond {tame(d['request_id'])} VALUE"


def _step(d: JSON) -> str:
    again = f", attempt {d['attempt']}" if d["attempt"] > 1 else ""
    return f"  {d['branch_id']}  {d['agent']}: step {d['step_number']}{again}"


def _took(d: JSON) -> str:
    """How long the agent took, where its worker has said so."""
    try:
        began, ended = (datetime.fromisoformat(d[name]) for name in ("started_at", "finished_at"))
        return f", {(ended - began).total_seconds():.3f} s"
    except (TypeError, ValueError):
        return ""


def summary(result: OrchestraResult) -> str:
    """What a run came to, in a line."""
    took = "" if result.total_duration is None else f" in {result.total_duration:.3f} s"
    waited = f", {result.convergence_wait_time:.3f} s waited at convergences" if result.convergence_wait_time else ""
    return f"{result.total_steps} steps in {result.branch_count} branches{took}{waited}"


SAYINGS: dict[str, Callable[[JSON], str]] = {
    "RunStarted": lambda d: "run started",
    "RunForked": lambda d: f"run forked from {d['source']} at version {d['at_version']}",
    "RunPaused": lambda d: f"run paused: {d['reason'][:160]}",
    "RunResumed": lambda d: "run goes on",
    "RunCompleted": lambda d: "run completed",
    "RunFailed": lambda d: f"run failed: {d['error']['message'][:300]}",
    "RunCancelled": lambda d: f"run cancelled: {d['reason'][:160]}",
    "RunErased": lambda d: f"run erased up to version {d['upto']}",
    "RunRejected": lambda d: "run rejected: " + "; ".join(d["errors"])[:1000],
    "RuleApplied": lambda d: f"! {d['type']}: {d['reason'][:160]}",
    "RuleLifted": lambda d: f"  rule {d['rule']} holds no more",
    "CheckpointCreated": lambda d: f"  checkpoint {d['name']!r} at version {d['version']}",
    "BranchSpawned": lambda d: f"+ {d['branch_id']}  starts at {d['agent']}",
    "BranchHeld": lambda d: f"  {d['branch_id']}  waits for admission at {d['agent']}",
    "BranchParked": lambda d: f"  {d['branch_id']}  waits at {d['node']}",
    "BranchCompleted": lambda d: f"- {d['branch_id']}  done at {d['agent']}",
    "BranchCancelled": lambda d: f"- {d['branch_id']}  cancelled: {d['reason'][:160]}",
    "BranchOrphaned": lambda d: f"  {d['branch_id']}  goes on unheard",
    "BranchFailed": lambda d: f"! {d['branch_id']}  failed at {d['agent']}: {d['error']['message'][:160]}",
    "StepRequested": _step,
    "StepCompleted": lambda d: f"  {d['branch_id']}  {d['agent']}: {d['action']}{_took(d)}",
    "StepSuspended": lambda d: f"  {d['branch_id']}  {d['agent']} calls {', '.join(d['call']['of'][:8])}",
    "StepRejected": lambda d: f"! {d['branch_id']}  {d['agent']}: reply not accepted: {d['reason'][:160]}",
    "StepFailed": lambda d: f"! {d['branch_id']}  {d['agent']}: {d['error']['type']}: {d['error']['message'][:160]}",
    "StepRetryScheduled": lambda d: f"  {d['branch_id']}  tries again at {d['due_at'][11:23]}",
    "ForkOpened": lambda d: f"< {d['branch_id']}  {d['node']} invokes {d['invocations']} in parallel",
    "ForkWaived": lambda d: f"> fork {d['fork_id'] or 'of the run'} goes on with what is there ({d['reason']})",
    "ForkSettled": lambda d: f"> {d['branch_id']}  {d['arrived']} came back, {d['failed']} failed: {d['outcome']}",
    "BranchConverged": lambda d: (
        f"> {len(d['tokens'])} converge at {d['node']} after {d['wait_time']:.2f} s, {d['into_branch_id']} goes on"
    ),
    "UserInputRequested": _asks,
    "UserInputProvided": lambda d: f"  {d['branch_id'] or 'the run'}  answered by {d['by']}: {short(d['value'])}",
}
"""How each event is told, by its type; what is not here is told by others."""

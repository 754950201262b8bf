"""One line for each event worth telling a person."""

from typing import Any

JSON = Any
BRANCHES = {"BranchSpawned", "BranchCompleted", "BranchFailed", "BranchMerged", "BranchConverged"}
OUTCOMES = {"RunStarted", "RunRejected", "RunCompleted", "RunFailed", "RunCancelled"}


def line(event: dict[str, JSON], verbosity: int = 2) -> str | None:
    """What to say of an event row; None where this verbosity says nothing."""
    kind, data = event["type"], event["data"]
    if kind not in OUTCOMES | BRANCHES and verbosity < 2:
        return None
    said = _say(kind, data)
    clock = event["recorded_at"].strftime("%H:%M:%S.%f")[:-3]
    return f"{clock}  {said}" if said is not None else None


def _say(kind: str, d: dict[str, JSON]) -> str | None:
    match kind:
        case "RunStarted":
            return "run started"
        case "BranchSpawned":
            return f"+ {d['branch_id']}  starts at {d['agent']}"
        case "StepRequested":
            again = f", attempt {d['attempt']}" if d["attempt"] > 1 else ""
            return f"  {d['branch_id']}  {d['agent']}: step {d['step_number']}{again}"
        case "StepCompleted":
            return f"  {d['branch_id']}  {d['agent']}: {d['action']}"
        case "StepRejected":
            return f"! {d['branch_id']}  {d['agent']}: reply not accepted: {d['reason'][:160]}"
        case "StepFailed":
            return f"! {d['branch_id']}  {d['agent']}: {d['error']['type']}: {d['error']['message'][:160]}"
        case "StepRetryScheduled":
            return f"  {d['branch_id']}  tries again at {d['due_at'][11:23]}"
        case "ForkOpened":
            return f"< {d['branch_id']}  {d['node']} invokes {d['invocations']} in parallel"
        case "ForkSettled":
            return f"> {d['branch_id']}  {d['arrived']} came back, {d['failed']} failed: {d['outcome']}"
        case "BranchParked":
            return f"  {d['branch_id']}  waits at {d['node']}"
        case "BranchConverged":
            return f"> {len(d['tokens'])} converge at {d['node']}, {d['into_branch_id']} goes on"
        case "BranchCompleted":
            return f"- {d['branch_id']}  done at {d['agent']}"
        case "BranchFailed":
            return f"! {d['branch_id']}  failed at {d['agent']}: {d['error']['message'][:160]}"
        case "RunCompleted":
            return "run completed"
        case "RunFailed":
            return f"run failed: {d['error']['message'][:300]}"
        case "RunRejected":
            return "run rejected: " + "; ".join(d["errors"])[:1000]
        case _:
            return None

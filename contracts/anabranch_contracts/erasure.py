"""What of an event is payload, and goes when a run is erased; and what is its shape, and stays.

The database erases (`anabranch.erase`), by a copy of `PAYLOADS` in `anabranch.payload_fields`; whoever adds a field
to an event says here what it is, and adds a migration where it is payload.
"""

Kind = str
KINDS: dict[Kind, str] = {
    "value": "a marker of the same form: an object stays an object, a list a list, null and what is empty as it is",
    "error": "kind, class name and place stay, what was said goes",
    "topology": "nodes, edges and rules stay, conditions become `true`, metadata goes",
    "identity": "a text that tells nothing and is the run's own",
    "settings": "numbers and words of ours stay, names of exception classes go",
    "call": "number and targets stay, the fingerprint of what was asked goes",
    "new": "the object stays, what is in it goes",
    "time": "a time stays, any other text goes",
    "address": "becomes null",
}

_TIMES = {"started_at": "time", "finished_at": "time"}
PAYLOADS: dict[str, dict[str, Kind]] = {
    "RunStarted": {
        "task": "value", "topology": "topology", "topology_hash": "identity", "context": "value", "config": "settings",
        "labels": "value", "request_hash": "value", "reply_correlation": "address",
    },
    "RunRejected": {"errors": "value", "request": "value", "request_hash": "value", "reply_correlation": "address"},
    "OutcomeAwaited": {"reply_correlation": "address"},
    "RunForked": {
        "request_hash": "value", "topology": "topology", "topology_hash": "identity", "context": "value",
        "reply_correlation": "address",
    },
    "RunPaused": {"reason": "value"},
    "RuleApplied": {"reason": "value"},
    "RunCompleted": {"result": "value"},
    "RunFailed": {"error": "error"},
    "RunCancelled": {"reason": "value"},
    "BranchSpawned": {"request": "value"},
    "BranchHeld": {"request": "value"},
    "BranchParked": {"value": "value"},
    "ResultDelivered": {"value": "value"},
    "BranchCompleted": {"result": "value"},
    "BranchFailed": {"error": "error"},
    "BranchCancelled": {"reason": "value"},
    "BranchOrphaned": {"error": "error"},
    "StepRequested": {"request": "value", "steering": "value"},
    "StepCompleted": {"response": "value", "context_updates": "value", **_TIMES},
    "StepSuspended": {"call": "call", **_TIMES},
    "StepRejected": {"reason": "value", "response": "value", **_TIMES},
    "StepFailed": {"error": "error", "response": "value", **_TIMES},
    "StepRetryScheduled": {"request": "new"},
    "ContributionParked": {"value": "value"},
    "ContributionCancelled": {"reason": "value"},
    "ForkSettled": {"value": "value"},
    "BranchConverged": {"value": "value"},
    "UserInputRequested": {"prompt": "value", "choices": "value", "schema": "value", "default": "value"},
    "UserInputProvided": {"value": "value"},
}  # fmt: skip
"""Payload fields by type of event and name, with what becomes of them; of every schema version."""

SHAPE: dict[str, str] = {
    **dict.fromkeys(
        ("branch_id", "parent_branch_id", "fork_id", "step_id", "token_id", "branch_ids", "into_branch_id", "tokens",
         "convergence_id", "arrives_at", "order", "request_id", "source"),
        "an identity, derived from a place",
    ),
    **dict.fromkeys(("agent", "node", "user", "returns_to", "dispatched"), "a name in the topology"),
    **dict.fromkeys(("action", "outcome", "continues", "kind", "by", "type"), "a word of ours"),
    **dict.fromkeys(("due_at", "expires_at"), "a time of our clock"),
    "name": "of a checkpoint: a name, like that of an agent",
    "reply_to": "a queue, where the outcome goes",
    "worker": "a process, as it calls itself",
    "usage": "token counts and cost, numbers alone",
    "policy": "a validated policy: numbers and words of ours",
}  # fmt: skip
"""Fields that stay, whatever event has them, and why they tell nothing; numbers and booleans stay everywhere."""

KEPT = {
    ("ForkWaived", "reason"): "one of three words of ours",
    ("StepResultDiscarded", "reason"): "a sentence of ours",
}
"""Fields that stay in one type of event, though others of the name do not."""

"""The names that messages, replies, topologies and configurations are made of: no setting may take them away."""

from pydantic import BaseModel

from anabranch_contracts import config, messages, rules, topology

_PARTS = (config, messages, rules, topology)
_REPLY = (
    *("next_action", "action_input", "agent", "agent_name", "agents", "agent_requests", "invocations", "request"),
    *("content", "final_response", "response", "prompt", "choices", "schema", "timeout", "default", "after_seconds"),
    *("error", "context_updates", "convergence", "inherit_memory", "number", "print", "ask", "decision", "role"),
)


def needed() -> frozenset[str]:
    """Every field of a model on the wire, and every word that a reply is read by."""
    models = [one for part in _PARTS for one in vars(part).values() if isinstance(one, type)]
    fields = [name for model in models if issubclass(model, BaseModel) for name in model.model_fields]
    return frozenset({*fields, *_REPLY})

"""anabranch: durable multi-agent workflows on message queues."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anabranch.agents.registry import agent, register
    from anabranch.client.checkpoints import state_manager
    from anabranch.client.config import ExecutionConfig, StatusConfig
    from anabranch.client.orchestra import Orchestra
    from anabranch.client.pool import AgentPool
    from anabranch.client.results import OrchestraResult
    from anabranch_contracts.config import ConvergencePolicy, RetryPolicy
    from anabranch_contracts.errors import (
        CommandRefused,
        InvalidTopology,
        InvocationFailed,
        RateLimited,
        RecoverableError,
        TerminalError,
    )
    from anabranch_contracts.patterns import PatternConfig
    from anabranch_contracts.replies import BranchType
    from anabranch_contracts.reply_builders import (
        ask_user,
        error_recovery,
        final_response,
        invoke_agent,
        parallel_invoke,
        retry_later,
        terminal_error,
    )
    from anabranch_contracts.rules import (
        BudgetRule,
        ConditionalRule,
        MaxAgentsRule,
        MaxBranchesRule,
        MaxParallelBranchesRule,
        MaxStepsRule,
        MaxTurnsRule,
        MemoryLimitRule,
        TimeoutRule,
    )
    from anabranch_contracts.topology import Edge, Node, Topology

_HOMES = {
    "anabranch_contracts.config": ("ConvergencePolicy", "RetryPolicy"),
    "anabranch_contracts.errors": (
        "CommandRefused", "InvalidTopology", "InvocationFailed", "RateLimited", "RecoverableError", "TerminalError",
    ),
    "anabranch_contracts.patterns": ("PatternConfig",),
    "anabranch_contracts.replies": ("BranchType",),
    "anabranch_contracts.reply_builders": (
        "ask_user", "error_recovery", "final_response", "invoke_agent", "parallel_invoke", "retry_later",
        "terminal_error",
    ),
    "anabranch_contracts.rules": (
        "BudgetRule", "ConditionalRule", "MaxAgentsRule", "MaxBranchesRule", "MaxParallelBranchesRule",
        "MaxStepsRule", "MaxTurnsRule", "MemoryLimitRule", "TimeoutRule",
    ),
    "anabranch_contracts.topology": ("Edge", "Node", "Topology"),
    "anabranch.agents.registry": ("agent", "register"),
    "anabranch.client.checkpoints": ("state_manager",),
    "anabranch.client.pool": ("AgentPool",),
    "anabranch.client.config": ("ExecutionConfig", "StatusConfig"),
    "anabranch.client.orchestra": ("Orchestra",),
    "anabranch.client.results": ("OrchestraResult",),
}  # fmt: skip
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [  # noqa: RUF022 - by theme, as one learns them
    "agent", "register", "Orchestra", "OrchestraResult", "ExecutionConfig", "StatusConfig", "ConvergencePolicy",
    "RetryPolicy", "state_manager", "AgentPool",
    "Topology", "Node", "Edge", "PatternConfig", "BranchType",
    "invoke_agent", "parallel_invoke", "final_response", "ask_user", "retry_later", "error_recovery",
    "terminal_error",
    "TimeoutRule", "MaxStepsRule", "MaxTurnsRule", "MaxBranchesRule", "MaxParallelBranchesRule", "MaxAgentsRule",
    "MemoryLimitRule", "BudgetRule", "ConditionalRule",
    "RateLimited", "TerminalError", "RecoverableError", "InvocationFailed", "CommandRefused", "InvalidTopology",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import a name on first use, so that `import anabranch` costs next to nothing."""
    if name not in _HOME:
        raise AttributeError(f"module 'anabranch' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value

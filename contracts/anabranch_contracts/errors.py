"""Errors that users raise in agents, and errors that the client raises for users."""

from collections.abc import Iterable
from typing import Any

LONGEST_NAME, DEEPEST_PLACE = 80, 12


class AnabranchError(Exception):
    """Base of all errors of this package; `hint` says the mend."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint
        if hint:
            self.add_note(hint)


class CommandRefused(AnabranchError):
    """A command to a run was refused; the message says why."""


class RateLimited(Exception):
    """Raise in an agent when its model or service is busy; `retry_after` in seconds."""

    def __init__(self, message: str = "rate limited", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class TerminalError(Exception):
    """Raise in an agent when no retry can help: the branch fails."""


class RecoverableError(Exception):
    """Raise in an agent when a person could help."""


class InvocationFailed(Exception):
    """A call from inside an agent failed; `records` say what became of each invocation."""

    def __init__(self, records: list[dict[str, Any]]) -> None:
        failed = [r for r in records if r["status"] != "completed"]
        said = "; ".join(f"{r['agent']}: {(r.get('error') or {}).get('message', r['status'])}" for r in failed[:5])
        super().__init__(f"{len(failed)} of {len(records)} failed: {said}"[:2000])
        self.records = records


class InvalidTopology(AnabranchError):
    """The topology cannot run; `errors` lists every reason."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("; ".join(errors), hint="correct the topology and try again")
        self.errors = errors


def place(parts: Iterable[Any]) -> str:
    """Where in a value something is wrong, `a.0.b`; names that a stranger made up are cut."""
    return ".".join(str(part)[:LONGEST_NAME] for part in list(parts)[:DEEPEST_PLACE])

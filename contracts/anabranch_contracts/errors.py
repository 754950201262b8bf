"""Errors that users raise in agents, and errors that the client raises for users."""


class AnabranchError(Exception):
    """Base of all errors of this package; `hint` says the mend."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class RateLimited(Exception):
    """Raise in an agent when its model or service is busy; `retry_after` in seconds."""

    def __init__(self, message: str = "rate limited", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class TerminalError(Exception):
    """Raise in an agent when no retry can help: the branch fails."""


class RecoverableError(Exception):
    """Raise in an agent when a person could help."""


class InvalidTopology(AnabranchError):
    """The topology cannot run; `errors` lists every reason."""

    def __init__(self, errors: list[str]) -> None:
        super().__init__("; ".join(errors), hint="correct the topology and try again")
        self.errors = errors

"""What an agent's exception means for its step; foreign errors are known by the names of their classes."""

from typing import Any

from anabranch_contracts.errors import RateLimited, RecoverableError, TerminalError
from anabranch_contracts.messages import StepError

BUSY = {"RateLimitError", "ModelRateLimitError", "TooManyRequests", "ResourceExhausted"}
MAX_MESSAGE = 2000


def step_error(error: BaseException) -> StepError:
    """Class, name and message of a failure; never a traceback, which could carry secrets over the wire."""
    kind = type(error).__name__
    message = (str(error) or kind)[:MAX_MESSAGE].replace("\0", "\ufffd")
    if isinstance(error, RateLimited) or _is_busy(error):
        return StepError(kind="rate_limit", type=kind, message=message, retry_after=_retry_after(error))
    if isinstance(error, TerminalError):
        return StepError(kind="terminal", type=kind, message=message)
    if isinstance(error, RecoverableError):
        return StepError(kind="recoverable", type=kind, message=message)
    return StepError(kind="transient", type=kind, message=message)


def _is_busy(error: BaseException) -> bool:
    named = any(cls.__name__ in BUSY for cls in type(error).__mro__)
    return named or getattr(error, "status_code", None) == 429


def _retry_after(error: Any) -> float | None:
    given = getattr(error, "retry_after", None)
    if given is None:
        headers = getattr(getattr(error, "response", None), "headers", None) or {}
        given = headers.get("retry-after")
    try:
        return max(0.0, float(given)) if given is not None else None
    except (TypeError, ValueError):
        return None

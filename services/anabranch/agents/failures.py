"""What an agent's exception means for its step; foreign errors are known by the names of their classes."""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from anabranch.agents.calls import NondeterministicAgent
from anabranch_contracts.errors import InvocationFailed, RateLimited, RecoverableError, TerminalError
from anabranch_contracts.messages import StepError

BUSY = {
    "RateLimitError",
    "ModelRateLimitError",
    "TooManyRequests",
    "TooManyRequestsError",
    "ResourceExhausted",
}
TOO_MANY_REQUESTS = 429
MAX_MESSAGE = 2000


def step_error(error: BaseException) -> StepError:
    """Class and message of a failure; never a traceback, which could carry secrets over the wire."""
    kind, message = type(error).__name__, _message(error)
    if isinstance(error, RateLimited) or _is_busy(error):
        return StepError(kind="rate_limit", type=kind, message=message, retry_after=_retry_after(error))
    if isinstance(error, TerminalError | InvocationFailed | NondeterministicAgent):
        return StepError(kind="terminal", type=kind, message=message)
    if isinstance(error, RecoverableError):
        return StepError(kind="recoverable", type=kind, message=message)
    return StepError(kind="transient", type=kind, message=message)


def _message(error: BaseException) -> str:
    """The error's own words in what JSON and Postgres can carry."""
    try:
        said = str(error)
    except Exception:  # an exception that cannot even be shown is still the step's outcome
        said = ""
    clean = said.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
    return (clean or type(error).__name__)[:MAX_MESSAGE]


def _is_busy(error: Any) -> bool:
    if any(cls.__name__ in BUSY for cls in type(error).__mro__):
        return True
    response = getattr(error, "response", None)
    status = getattr(error, "status_code", None) or getattr(response, "status_code", None)
    return bool(status == TOO_MANY_REQUESTS)


def _retry_after(error: Any) -> float | None:
    """Seconds to wait, from the error itself or from its HTTP response."""
    given = getattr(error, "retry_after", None)
    if given is None:
        given = _header(getattr(getattr(error, "response", None), "headers", None))
    try:
        return None if given is None else min(max(0.0, float(given)), 86_400.0)
    except (TypeError, ValueError):
        return _seconds_until(given)


def _header(headers: Any) -> Any:
    try:
        return next((value for name, value in dict(headers or {}).items() if name.lower() == "retry-after"), None)
    except (TypeError, ValueError, AttributeError):
        return None


def _seconds_until(moment: Any) -> float | None:
    """Retry-After may be an HTTP date."""
    try:
        at = parsedate_to_datetime(str(moment))
    except ValueError:
        return None
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())

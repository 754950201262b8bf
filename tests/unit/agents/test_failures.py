"""What an exception means, and what of it may travel."""

from typing import Any

import pytest

from anabranch.agents.failures import step_error
from anabranch_contracts.errors import RateLimited, RecoverableError, TerminalError


class Response:
    def __init__(self, status_code: int, headers: dict[str, str]) -> None:
        self.status_code, self.headers = status_code, headers


class RateLimitError(Exception):
    """As the clients of model vendors call it."""


class Overloaded(RateLimitError):
    pass


class HTTPError(Exception):
    status_code: int | None = None
    response: Any = None


def http(status: int | None = None, response: Response | None = None) -> HTTPError:
    error = HTTPError("busy")
    error.status_code, error.response = status, response
    return error


class Unshowable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even this")


@pytest.mark.parametrize(
    ("error", "kind", "retry_after"),
    [
        (RateLimited(retry_after=7), "rate_limit", 7.0),
        (RateLimited(), "rate_limit", None),
        (Overloaded("slow down"), "rate_limit", None),
        (http(429), "rate_limit", None),
        (http(None, Response(429, {"Retry-After": "12"})), "rate_limit", 12.0),
        (http(None, Response(429, {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"})), "rate_limit", 0.0),
        (http(None, Response(429, {"retry-after": "soon"})), "rate_limit", None),
        (http(500), "transient", None),
        (TerminalError("no"), "terminal", None),
        (RecoverableError("ask"), "recoverable", None),
        (TimeoutError(), "transient", None),
        (ValueError("x"), "transient", None),
    ],
)
def test_kinds(error: Exception, kind: str, retry_after: float | None) -> None:
    found = step_error(error)
    assert (found.kind, found.type, found.retry_after) == (kind, type(error).__name__, retry_after)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("x" * 5000), "x" * 2000),
        (ValueError(), "ValueError"),
        (ValueError("a\0b"), "a\ufffdb"),
        (ValueError("\ud800"), "?"),
        (Unshowable(), "Unshowable"),
    ],
)
def test_the_message_is_short_and_can_be_stored(error: Exception, message: str) -> None:
    assert step_error(error).message == message

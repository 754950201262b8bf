"""What an error of the client library means: an outage passes by itself, a refusal needs a person.

Whoever waits while a connection ends is told its reason; where it has none (the stream ended between two frames) that
is a bare `Exception`, and where heartbeats ended it a cancellation, though nobody cancelled.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from ssl import SSLError

from aiormq.exceptions import (
    AMQPError,
    AuthenticationError,
    ChannelAccessRefused,
    ConnectionNotAllowed,
    ProbableAuthenticationError,
)

from anabranch.runtime.ports import Denied, Unavailable
from anabranch.runtime.rabbitmq.parties import Party

BROKEN = (AMQPError, OSError, TimeoutError, RuntimeError)
LOGIN = (AuthenticationError, ProbableAuthenticationError, ConnectionNotAllowed)
ANYTHING = (Exception, asyncio.CancelledError)


def broken(error: BaseException) -> bool:
    """Whether the connection or its broker is at fault; a defect of ours and a cancellation by us are not that."""
    if isinstance(error, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is None or not task.cancelling()
    return isinstance(error, BROKEN) or type(error) is Exception


@contextmanager
def reaching(what: str, party: Party) -> Iterator[None]:
    """Errors of the client become those of the port."""
    try:
        yield
    except ANYTHING as error:
        if not broken(error):
            raise
        raise unavailable(what, error, party) from error


@contextmanager
def leaving() -> Iterator[None]:
    """What is tried in vain on a connection that is gone, or going, is tried no more."""
    try:
        yield
    except ANYTHING as error:
        if not broken(error):
            raise


def unavailable(what: str, error: BaseException, party: Party) -> Unavailable:
    """The port's error for the client's; `what` was tried when it came."""
    if isinstance(error, Unavailable):
        return error
    if isinstance(error, ChannelAccessRefused):
        rights = f"give the user the rights of `{party.name}` in ops/rabbitmq/definitions.json"
        return Denied(f"RabbitMQ refuses this user a right: {_said(error)}", rights)
    if isinstance(error, LOGIN):
        return Denied(f"RabbitMQ does not let this user in: {_said(error)}", "correct user, password or virtual host")
    if isinstance(error, SSLError) or isinstance(error.__cause__, SSLError):
        mend = "amqps:// needs a TLS port, ?cafile= the authority that signed its certificate, and the host's name"
        return Denied(f"RabbitMQ's end of the TLS connection is not trusted: {_said(error)}", mend)
    return Unavailable(f"RabbitMQ {what}: {_said(error)}")


def _said(error: BaseException) -> str:
    """What the broker or the library said, in one line."""
    if type(error) in ANYTHING:
        return "the connection ended"
    said = error.args[-1] if isinstance(error, ChannelAccessRefused) and error.args else error
    return " ".join(str(said).split()) or type(error).__name__

"""What an error of the client library means: an outage passes by itself, a refusal needs a person."""

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


@contextmanager
def reaching(what: str, party: Party) -> Iterator[None]:
    """Errors of the client become those of the port."""
    try:
        yield
    except BROKEN as error:
        raise unavailable(what, error, party) from error


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
    said = error.args[-1] if isinstance(error, ChannelAccessRefused) and error.args else error
    return " ".join(str(said).split()) or type(error).__name__

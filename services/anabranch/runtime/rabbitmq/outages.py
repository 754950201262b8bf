"""What an error of the client library means: an outage passes by itself, a refusal needs a person."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ssl import SSLError

from pika.exceptions import AMQPError, ChannelClosed, ConnectionClosed

from anabranch.runtime.ports import Denied, Unavailable
from anabranch.runtime.rabbitmq.channel import AccessRefused
from anabranch.runtime.rabbitmq.connection import LoginRefused
from anabranch.runtime.rabbitmq.parties import Party

BROKEN = (AMQPError, OSError, TimeoutError, RuntimeError)


@contextmanager
def reaching(what: str, party: Party) -> Iterator[None]:
    """Errors of the client become those of the port."""
    try:
        yield
    except BROKEN as error:
        raise unavailable(what, error, party) from error


@contextmanager
def leaving() -> Iterator[None]:
    """What is tried in vain on a connection that is gone, or going, is tried no more."""
    with suppress(*BROKEN):
        yield


def unavailable(what: str, error: BaseException, party: Party) -> Unavailable:
    """The port's error for the client's; `what` was tried when it came."""
    if isinstance(error, Unavailable):
        return error
    if isinstance(error, AccessRefused):
        rights = f"give the user the rights of `{party.name}` in ops/rabbitmq/definitions.json"
        return Denied(f"RabbitMQ refuses this user a right: {_said(error)}", rights)
    if isinstance(error, LoginRefused):
        return Denied(f"RabbitMQ does not let this user in: {_said(error)}", "correct user, password or virtual host")
    if isinstance(error, SSLError) or isinstance(error.__cause__, SSLError):
        mend = "amqps:// needs a TLS port, ?cafile= the authority that signed its certificate, and the host's name"
        return Denied(f"RabbitMQ's end of the TLS connection is not trusted: {_said(error)}", mend)
    return Unavailable(f"RabbitMQ {what}: {_said(error)}")


def _said(error: BaseException) -> str:
    """What the broker or the library said, in one line."""
    said = error.reply_text if isinstance(error, ChannelClosed | ConnectionClosed) else error
    return " ".join(str(said).split()) or type(error).__name__

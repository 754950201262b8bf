"""One connection to RabbitMQ: pika's callbacks as coroutines, its errors as few as we tell apart."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from pika import ConnectionParameters, PlainCredentials, SSLOptions
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.adapters.utils.connection_workflow import (
    AMQPConnectionWorkflowFailed,
    AMQPConnectorException,
    AMQPConnectorPhaseErrorBase,
)
from pika.adapters.utils.io_services_utils import _AsyncPlaintextTransport
from pika.exceptions import AMQPConnectionError, AMQPError

from anabranch.runtime.rabbitmq.channel import Channel, settle
from anabranch.runtime.rabbitmq.frames import Frames

HEARTBEAT_SECONDS = 10
LEAVE_SECONDS = 5.0
PACKET_BYTES = 64 * 1024
REFUSED_LOGIN = re.compile(r"ConnectionClosedByBroker: \((?:403|530)\) (.*)", re.DOTALL)
OnClose = Callable[[BaseException], None]


class LoginRefused(AMQPConnectionError):
    """User, password or virtual host are not those of this broker."""


def parameters(url: str, heartbeat: int = HEARTBEAT_SECONDS) -> ConnectionParameters:
    """What the URL says: `amqp[s]://user:password@host:port/vhost?cafile=&capath=&certfile=&keyfile=`."""
    parts = urlsplit(url)
    secure = parts.scheme == "amqps"
    host = parts.hostname or "localhost"
    tls = SSLOptions(_context(dict(parse_qsl(parts.query))), host) if secure else None
    return ConnectionParameters(
        host=host,
        port=parts.port or (5671 if secure else 5672),
        virtual_host=unquote(parts.path[1:]) or "/",
        credentials=PlainCredentials(unquote(parts.username or "guest"), unquote(parts.password or "guest")),
        heartbeat=heartbeat,
        ssl_options=tls,
    )


def _context(said: dict[str, str]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=said.get("cafile"), capath=said.get("capath"))
    if "certfile" in said:
        context.load_cert_chain(said["certfile"], said.get("keyfile"))
    return context


class Stream(AsyncioConnection):
    """pika's connection, which sends and reads each frame by itself: here what is written together is sent together."""

    _unsent: list[bytes]
    _unsent_bytes = 0

    def __init__(self, *args: Any, **named: Any) -> None:
        self.frames = Frames(super()._on_data_available)
        super().__init__(*args, **named)

    def _proto_connection_made(self, transport: Any) -> None:
        transport._MAX_RECV_BYTES = PACKET_BYTES
        if isinstance(transport, _AsyncPlaintextTransport):  # what TLS has read already, nobody would tell again
            transport._MAX_CONSUME_BYTES = 1  # one reading a turn: what is left is told again
        super()._proto_connection_made(transport)

    def _on_data_available(self, data: bytes) -> None:
        self.bytes_received += len(data)  # by which a heartbeat is told from silence
        self.frames.feed(data)

    def _adapter_emit_data(self, data: bytes) -> None:
        if not self._unsent_bytes:
            self._unsent = []
            self.ioloop.call_soon(self.send_together)
        self._unsent.append(data)
        self._unsent_bytes += len(data)
        if self._unsent_bytes > PACKET_BYTES:
            self.send_together()

    def send_together(self) -> None:
        """Send what was written, and do not wait for the end of this turn of the loop."""
        if self._unsent_bytes and self._transport is not None:
            data = b"".join(self._unsent)
            if left := data[_sent(self._transport, data) :]:
                self._transport.write(left)
        self._unsent_bytes = 0


def _sent(transport: Any, data: bytes) -> int:
    """How much the kernel took at once; pika would first ask whether it takes any, and wait for the answer."""
    if not isinstance(transport, _AsyncPlaintextTransport) or transport._state != transport._STATE_ACTIVE:
        return 0
    try:
        return 0 if transport._tx_buffers else int(transport._sock.send(data))
    except OSError:  # it is full, or gone: pika finds out
        return 0


async def connect(url: str, heartbeat: int = HEARTBEAT_SECONDS) -> "Connection":
    """An open connection; raises what kept it from opening."""
    loop = asyncio.get_running_loop()
    opened: asyncio.Future[None] = loop.create_future()
    raw = Stream(
        parameters(url, heartbeat),
        on_open_callback=lambda _: settle(opened, None),
        on_open_error_callback=lambda _, error: settle(opened, _cause(error)),
        custom_ioloop=loop,
    )
    try:
        await opened
    except asyncio.CancelledError:
        with suppress(AMQPError):
            raw.close()
        raise
    return Connection(raw)


@asynccontextmanager
async def connected(url: str) -> AsyncIterator["Connection"]:
    """A connection for the duration."""
    connection = await connect(url)
    try:
        yield connection
    finally:
        await connection.close()


def _cause(error: BaseException) -> BaseException:
    """What went wrong, without the layers it was told through."""
    while (inner := _within(error)) is not None:
        error = inner
    if refusal := REFUSED_LOGIN.search(str(error)):
        return LoginRefused(refusal[1])
    return ConnectionError(repr(error)) if isinstance(error, AMQPConnectorException) else error


def _within(error: BaseException) -> BaseException | None:
    match error:
        case AMQPConnectionWorkflowFailed():
            return error.exceptions[-1]
        case AMQPConnectorPhaseErrorBase():
            return error.exception
        case AMQPConnectionError(args=[AMQPConnectorException() as inner, *_]):
            return inner
    return None


class Connection:
    """An open connection; never repaired, and its end is told once."""

    def __init__(self, raw: AsyncioConnection) -> None:
        self._raw: Any = raw
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.on_close: set[OnClose] = set()
        raw.add_on_close_callback(self._closed)

    @property
    def is_closed(self) -> bool:
        return not self._raw.is_open

    def _closed(self, _: object, reason: BaseException) -> None:
        settle(self._ended, None)
        for tell in list(self.on_close):
            tell(reason)

    async def channel(self) -> Channel:
        """A new channel."""
        opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        channel = Channel(self._raw.channel(on_open_callback=lambda _: settle(opened, None)))
        await channel.unless_closed(opened)
        return channel

    async def close(self) -> None:
        """Leave the broker properly, or leave it: one that does not answer in time is hung up on."""
        if self._raw.is_open:
            self._raw.close()
        try:
            async with asyncio.timeout(LEAVE_SECONDS):
                await asyncio.shield(self._ended)
        except TimeoutError:
            pass
        finally:
            if not self._raw.is_closed:  # what pika itself does when no heartbeat comes
                self._raw._terminate_stream(AMQPConnectionError("the broker did not answer a goodbye"))

"""A TCP link to a server that misbehaves on demand: cut, reset, held in either direction, slow, refused."""

import asyncio
import socket
import struct
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from urllib.parse import urlsplit

CHUNK = 65_536
SLOW_CHUNK = 4_096
NOT_LINGERING = struct.pack("ii", 1, 0)


class Link:
    """Passes bytes on to `url`'s server; `url` becomes its own address."""

    def __init__(self, url: str, port: int) -> None:
        parts = urlsplit(url)
        self._to = (parts.hostname, parts.port or port)
        self._ends: set[asyncio.StreamWriter] = set()
        self._flows = {way: asyncio.Event() for way in ("up", "down")}
        self._server: asyncio.Server | None = None
        self.delay = 0.0
        self.refusing = False
        self.url = url
        self.release()

    async def open(self) -> None:
        """Listen on a port of its own."""
        self._server = await asyncio.start_server(self._pass_on, "127.0.0.1", 0)
        parts, port = urlsplit(self.url), self._server.sockets[0].getsockname()[1]
        user = parts.netloc.rpartition("@")[0]
        self.url = parts._replace(netloc=f"{user}@127.0.0.1:{port}").geturl()

    def close(self) -> None:
        """End all of it."""
        self.refusing = True
        self.release()
        self.cut()
        if self._server is not None:
            self._server.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._ends.add(writer)
        try:
            await self._flows["up"].wait()
            if self.refusing:
                raise ConnectionRefusedError
            their_reader, their_writer = await asyncio.open_connection(*self._to)
        except OSError:
            _abort(writer, reset=True)
            return
        self._ends.add(their_writer)
        await asyncio.gather(self._copy("up", reader, their_writer), self._copy("down", their_reader, writer))
        self._ends -= {writer, their_writer}

    async def _copy(self, way: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(SLOW_CHUNK if self.delay else CHUNK):
                await self._flows[way].wait()
                if self.delay:
                    await asyncio.sleep(self.delay)
                writer.write(data)
                await writer.drain()
        writer.close()

    def ports(self) -> list[int]:
        """Where the server sees our connections come from."""
        names = [end.get_extra_info("sockname") for end in self._ends if end.get_extra_info("peername")]
        return [name[1] for name in names if name is not None]

    def cut(self, reset: bool = False) -> None:
        """End every connection there is, properly or by a reset; new ones are welcome."""
        for end in self._ends:
            _abort(end, reset)
        self._ends.clear()

    def hold(self, *ways: str) -> None:
        """A black hole: nothing passes `up` or `down` (default: both), and nobody is told."""
        for way in ways or self._flows:
            self._flows[way].clear()

    def release(self) -> None:
        """What was held passes on, as packets do that are sent again."""
        for flow in self._flows.values():
            flow.set()

    def mend(self) -> None:
        """As if nothing had been."""
        self.delay, self.refusing = 0.0, False
        self.release()

    def slow(self, seconds: float) -> None:
        """Each piece of at most 4 KiB takes so long; 0 = as fast as it goes."""
        self.delay = seconds


def _abort(writer: asyncio.StreamWriter, reset: bool) -> None:
    if reset:
        with suppress(OSError):
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NOT_LINGERING)
    writer.transport.abort()


@asynccontextmanager
async def linked(url: str, port: int = 5672) -> AsyncIterator[Link]:
    """A link in this loop, for the duration."""
    link = Link(url, port)
    await link.open()
    try:
        yield link
    finally:
        link.close()


class Links:
    """Links in a thread of their own, for tests that block."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._made: list[Link] = []

    def to(self, url: str, port: int) -> Link:
        """Another one."""

        async def opened() -> Link:
            link = Link(url, port)
            await link.open()
            return link

        self._made.append(asyncio.run_coroutine_threadsafe(opened(), self._loop).result(10))
        return self._made[-1]

    def do(self, action: Callable[[], None]) -> None:
        """Run it where the links live, and wait for it."""

        async def doing() -> None:
            action()

        asyncio.run_coroutine_threadsafe(doing(), self._loop).result(10)

    def close(self) -> None:
        """End them all."""
        for link in self._made:
            self.do(link.close)


@contextmanager
def links() -> Iterator[Links]:
    """A thread for links, for the duration."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    made = Links(loop)
    try:
        yield made
    finally:
        made.close()
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)

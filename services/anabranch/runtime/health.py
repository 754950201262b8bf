"""`/healthz`, `/readyz` and `/metrics` of one service, on a socket of its own.

It answers in the loop that does the service's work, so a loop that hangs is not alive.
"""

import asyncio
from collections.abc import Callable

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from anabranch_contracts.errors import AnabranchError

LINE_LIMIT = 8192
TEXT = "text/plain; charset=utf-8"


class HealthServer:
    """Answers GET requests; `ready` is asked each time, so readiness is what works now."""

    def __init__(self, ready: Callable[[], bool], host: str = "0.0.0.0", port: int = 0) -> None:
        self._ready = ready
        self._host = host
        self._server: asyncio.Server | None = None
        self.port = port

    async def __aenter__(self) -> "HealthServer":
        try:
            self._server = await asyncio.start_server(self._serve, self._host, self.port, limit=LINE_LIMIT)
        except OSError as error:
            what = f"port {self.port} for health and metrics cannot be used: {error.strerror}"
            raise AnabranchError(what, hint="set ANABRANCH_METRICS_PORT to a free one") from error
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(5):
                request = (await reader.readline()).split()
            status, kind, body = self._answer(request[1].decode("ascii", "replace") if len(request) > 1 else "")
            head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
            writer.write(f"{head}Connection: close\r\n\r\n".encode() + body)
            await writer.drain()
        except (OSError, ValueError, TimeoutError):
            pass  # the asker went away; there is nobody to tell
        finally:
            writer.close()

    def _answer(self, path: str) -> tuple[str, str, bytes]:
        match path.split("?")[0]:
            case "/healthz":
                return "200 OK", TEXT, b"alive\n"
            case "/readyz" if self._ready():
                return "200 OK", TEXT, b"ready\n"
            case "/readyz":
                return "503 Service Unavailable", TEXT, b"not ready\n"
            case "/metrics":
                return "200 OK", CONTENT_TYPE_LATEST, generate_latest()
            case _:
                return "404 Not Found", TEXT, b"ask /healthz, /readyz or /metrics\n"

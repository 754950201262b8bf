"""`/healthz`, `/readyz` and `/metrics` of one service, on a socket of its own."""

import asyncio
from collections.abc import Callable

from prometheus_client import generate_latest

LINE_LIMIT = 8192


class HealthServer:
    """Answers GET requests; `ready` is asked each time, so readiness is what works now."""

    def __init__(self, ready: Callable[[], bool], host: str = "0.0.0.0", port: int = 0) -> None:
        self._ready = ready
        self._host = host
        self._port = port
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> "HealthServer":
        self._server = await asyncio.start_server(self._serve, self._host, self._port, limit=LINE_LIMIT)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(5):
                request = (await reader.readline()).split()
            status, body = self._answer(request[1].decode("ascii", "replace") if len(request) > 1 else "")
            head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4\r\n"
            writer.write(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
            await writer.drain()
        except (OSError, ValueError, TimeoutError):
            pass  # the asker went away; there is nobody to tell
        finally:
            writer.close()

    def _answer(self, path: str) -> tuple[str, bytes]:
        match path.split("?")[0]:
            case "/healthz":
                return "200 OK", b"alive\n"
            case "/readyz":
                return ("200 OK", b"ready\n") if self._ready() else ("503 Service Unavailable", b"not ready\n")
            case "/metrics":
                return "200 OK", generate_latest()
            case _:
                return "404 Not Found", b"ask /healthz, /readyz or /metrics\n"

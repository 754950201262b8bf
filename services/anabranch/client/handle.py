"""A run that was asked for: wait for it, watch it, command it, answer its questions."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID

from anabranch.client.results import OrchestraResult, from_message
from anabranch_contracts.errors import AnabranchError
from anabranch_contracts.topology import Topology

if TYPE_CHECKING:
    from anabranch.client.session import Session

JSON = Any


class RunHandle:
    """A run that was asked for; `uses` are what still needs its connection."""

    def __init__(self, run_id: UUID, session: "Session", outcome: "asyncio.Future[dict[str, JSON]]") -> None:
        self.run_id = run_id
        self.session = session
        self.outcome = outcome
        self.uses: set[asyncio.Future[Any]] = {asyncio.ensure_future(self._final())}
        (self._result,) = self.uses
        self._result.add_done_callback(_seen)

    async def _final(self) -> OrchestraResult:
        body = await self.outcome
        if "result_bytes" in body and self.session.database is not None:  # too large for a message
            body = await self.session.outcome(self.run_id) or body
        return from_message(body, await self.session.branches(self.run_id))

    async def result(self) -> OrchestraResult:
        """Wait for the outcome."""
        result: OrchestraResult = await asyncio.shield(self._result)
        return result

    async def status(self) -> str:
        """The run's status now; `requested` while the router has not seen it."""
        from anabranch.client import queries

        async with self._connected() as session:
            row = await queries.run(session.needed_database(), self.run_id)
        return str(row["status"]) if row else "requested"

    async def version(self) -> int:
        """How many events the run has now."""
        from anabranch.client import queries

        async with self._connected() as session:
            row = await queries.run(session.needed_database(), self.run_id)
        return int(row["version"]) if row else 0

    async def events(self) -> AsyncIterator[dict[str, JSON]]:
        """The run's events as they are recorded, from the first to the last."""
        async with self._connected() as session:
            async for event in session.events(self.run_id, self.outcome):
                yield event

    @asynccontextmanager
    async def _connected(self) -> "AsyncIterator[Session]":
        """The handle's own session, kept open while it is used, or another where the run's end has closed it."""
        if not self.session.closed:
            using: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.uses.add(using)
            try:
                yield self.session
            finally:
                using.cancel()
                self.uses.discard(using)
            return
        from anabranch.client.orchestra import connected
        from anabranch.runtime.settings import load

        async with connected(load()) as session:
            yield session

    async def _command(self, key: str, **fields: JSON) -> None:
        async with self._connected() as session:
            await session.command(key, {"run_id": str(self.run_id), **fields})

    async def cancel(self, branch_id: str | None = None, reason: str = "cancelled") -> None:
        """End the run, or one branch with everything inside; running agents are told to stop."""
        await self._command("run.cancel", branch_id=branch_id, reason=reason)

    async def pause(self, reason: str = "paused") -> None:
        """Start nothing new until `resume`."""
        await self._command("run.pause", reason=reason)

    async def resume(self) -> None:
        """Go on."""
        await self._command("run.resume")

    async def checkpoint(self, name: str) -> None:
        """Name the present version."""
        await self._command("run.checkpoint", name=name)

    async def requests(self) -> list[dict[str, JSON]]:
        """The open user requests of the run, oldest first."""
        from anabranch.client import queries

        async with self._connected() as session:
            return await queries.rows(session.needed_database(), queries.INBOX_OF_RUN, self.run_id)

    async def respond(self, value: JSON, request_id: UUID | str | None = None) -> None:
        """Answer a user request, by default the only one open; raises `CommandRefused` where it does not fit."""
        if request_id is None:
            request_id = await self._only_request()
        await self._command("user.provided", request_id=str(request_id), value=value)

    async def _only_request(self) -> UUID:
        found = [r for r in await self.requests() if r["kind"] != "notice"]
        if len(found) != 1:
            raise AnabranchError(f"{len(found)} user requests are open", hint="name one: respond(value, request_id)")
        return UUID(str(found[0]["request_id"]))

    async def fork(
        self,
        at: int | str,
        topology: Topology | dict[str, JSON] | None = None,
        context: dict[str, JSON] | None = None,
        new_run_id: UUID | str | None = None,
    ) -> "RunHandle":
        """A new run from this one's past: `at` a version, a checkpoint or a step; completed steps are not run again."""
        written = topology.canonical() if isinstance(topology, Topology) else topology
        optional = {"topology": written, "context": context, "new_run_id": new_run_id and str(new_run_id)}
        body = {"run_id": str(self.run_id), "at": at, **{k: v for k, v in optional.items() if v is not None}}
        stack = AsyncExitStack()
        session = await stack.enter_async_context(self._connected())
        try:
            forked = await session.fork(body)
        except BaseException:
            await stack.aclose()
            raise
        close_after(forked, stack)
        return forked


def _seen(result: "asyncio.Future[Any]") -> None:
    """Why there is no outcome is told to who asks for it; nobody else need hear of it."""
    if not result.cancelled():
        result.exception()


_closers: set["asyncio.Task[None]"] = set()


def close_after(handle: RunHandle, stack: AsyncExitStack) -> None:
    """Close what the handle needs when nothing uses it any more."""
    closer = asyncio.create_task(_close_after(handle, stack))
    _closers.add(closer)
    closer.add_done_callback(_closers.discard)


async def _close_after(handle: RunHandle, stack: AsyncExitStack) -> None:
    async with stack:
        while open_uses := {use for use in handle.uses if not use.done()}:
            await asyncio.wait(open_uses)

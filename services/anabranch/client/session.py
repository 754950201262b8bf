"""One client's connection: publishes requests, hands each outcome to who waits for it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson

from anabranch.client.results import BranchResult, OrchestraResult, branch_results, from_message
from anabranch.runtime.ids import uuid7
from anabranch.runtime.ports import Inbox, Outgoing, Transport
from anabranch_contracts.errors import AnabranchError

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

JSON = Any
POLL_SECONDS = 0.1


class Session:
    """Submits runs over a connected transport; `database` (optional) answers questions about them."""

    def __init__(self, transport: Transport, database: "AsyncEngine | None" = None) -> None:
        self.database = database
        self._transport = transport
        self._waiting: dict[str, asyncio.Future[dict[str, JSON]]] = {}
        self._queue = ""
        self._inbox: Inbox | None = None
        self._listener: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None

    async def __aenter__(self) -> "Session":
        self._queue = await self._transport.declare_reply_queue()
        self._inbox = await self._transport.consume([self._queue], 1000)
        self._listener = asyncio.create_task(self._listen(self._inbox))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._inbox is not None:
            await self._inbox.stop()
        if self._listener is not None:
            self._listener.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await self._listener

    async def _listen(self, inbox: Inbox) -> None:
        try:
            while deliveries := await inbox.take(1000):
                for delivery in deliveries:
                    waiter = self._waiting.get(delivery.correlation_id or "")
                    if waiter is not None and not waiter.done():
                        waiter.set_result(orjson.loads(delivery.body))
                await inbox.ack(deliveries)
        except Exception as error:
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """Nobody will answer any more: tell all who wait."""
        self._failure = error
        for waiter in self._waiting.values():
            if not waiter.done():
                waiter.set_exception(error)

    async def submit(self, request: dict[str, JSON]) -> "RunHandle":
        """Publish the request; its `run_id` (made here if absent) makes it safe to repeat."""
        run_id = str(request.get("run_id") or uuid7())
        waiter: asyncio.Future[dict[str, JSON]] = asyncio.get_running_loop().create_future()
        self._waiting[run_id] = waiter
        body = orjson.dumps({**request, "run_id": run_id})
        message = Outgoing("run.requested", body, uuid7(), "RunRequested", run_id, reply_to=self._queue)
        await self._transport.publish([message])
        if self._failure is not None:
            raise self._failure
        return RunHandle(UUID(run_id), self, waiter)

    async def branches(self, run_id: UUID) -> list[BranchResult]:
        """The run's branches with their traces; nothing where there is no database to ask."""
        if self.database is None:
            return []
        from anabranch.client import queries

        branches = await queries.rows(self.database, queries.BRANCHES, run_id)
        return branch_results(branches, await queries.rows(self.database, queries.STEPS, run_id))


class RunHandle:
    """A run that was asked for; `uses` are what still needs its connection."""

    def __init__(self, run_id: UUID, session: Session, outcome: "asyncio.Future[dict[str, JSON]]") -> None:
        self.run_id = run_id
        self.session = session
        self.outcome = outcome
        self.uses: set[asyncio.Future[Any]] = {asyncio.ensure_future(self._final())}
        (self._result,) = self.uses

    async def _final(self) -> OrchestraResult:
        body = await self.outcome
        return from_message(body, await self.session.branches(self.run_id))

    async def result(self) -> OrchestraResult:
        """Wait for the outcome."""
        result: OrchestraResult = await asyncio.shield(self._result)
        return result

    async def status(self) -> str:
        """The run's status now; `requested` while the router has not seen it."""
        from anabranch.client import queries

        row = await queries.run(self._database(), self.run_id)
        return str(row["status"]) if row else "requested"

    def _database(self) -> "AsyncEngine":
        if self.session.database is None:
            raise AnabranchError("no database to ask", hint="set ANABRANCH_DATABASE_URL")
        return self.session.database

    async def events(self) -> AsyncIterator[dict[str, JSON]]:
        """The run's events as they are recorded, from the first to the last."""
        from anabranch.client import queries

        version, reading = 0, asyncio.get_running_loop().create_future()
        self.uses.add(reading)
        try:
            while True:
                over = self.outcome.done()  # read once more after the end, then stop
                for row in await queries.rows(self._database(), queries.EVENTS, self.run_id, version):
                    version = row["version"]
                    yield row
                if over:
                    return
                await asyncio.wait({self.outcome}, timeout=POLL_SECONDS)
        finally:
            reading.cancel()

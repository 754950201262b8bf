"""One client's connection: publishes requests and commands, hands each answer and outcome to who waits for it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson

from anabranch.client.handle import RunHandle
from anabranch.client.results import BranchResult, branch_results
from anabranch.runtime.ids import uuid7
from anabranch.runtime.ports import Inbox, Outgoing, Transport, Unavailable
from anabranch_contracts.errors import AnabranchError, CommandRefused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.ext.asyncio import AsyncEngine

JSON = Any
Waiter = "asyncio.Future[dict[str, JSON]]"
POLL_SECONDS = 0.1


class Session:
    """Submits and commands runs over a connected transport; `database` (optional) answers questions about them."""

    def __init__(
        self,
        transport: Transport,
        database: "AsyncEngine | None" = None,
        connect: Callable[[], Awaitable[Transport]] | None = None,
    ) -> None:
        self._connect = connect
        self.database = database
        self.closed = False
        self._transport = transport
        self._outcomes: dict[str, asyncio.Future[dict[str, JSON]]] = {}
        self._unseen: dict[str, asyncio.Future[dict[str, JSON]]] = {}
        self._answers: dict[str, asyncio.Future[dict[str, JSON]]] = {}
        self._queue = ""
        self._inbox: Inbox | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None

    async def __aenter__(self) -> "Session":
        self._queue = await self._transport.declare_reply_queue()
        self._inbox = await self._transport.consume([self._queue], 1000)
        self._tasks.add(asyncio.create_task(self._listen(self._inbox)))
        return self

    def close(self) -> None:
        """From now on it is for those who use it already."""
        self.closed = True

    async def __aexit__(self, *_: object) -> None:
        self.close()
        if self._inbox is not None:
            await self._inbox.stop()
        for task in list(self._tasks):  # the tasks that end leave the set
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task
        for waiter in [*self._answers.values(), *self._outcomes.values()]:
            _tell(waiter, Unavailable("the session was closed before the answer came; ask again"))

    async def _listen(self, inbox: Inbox) -> None:
        try:
            while deliveries := await inbox.take(1000):
                for delivery in deliveries:
                    self._hand_over(delivery.correlation_id or "", orjson.loads(delivery.body))
                await inbox.ack(deliveries)
        except Exception as error:
            self.fail(error)

    def _hand_over(self, correlation: str, body: dict[str, JSON]) -> None:
        if "accepted" not in body:
            self._unseen.pop(body["run_id"], None)
            _tell(self._outcomes.pop(correlation, None), body)
        elif correlation in self._answers:
            _tell(self._answers[correlation], body)
        elif not body["accepted"]:  # a request that was parked has no outcome
            _tell(self._outcomes.pop(correlation, None), CommandRefused(body["reason"]))

    def fail(self, error: BaseException) -> None:
        """Nobody will answer any more: tell all who wait."""
        self._failure = error
        for waiter in [*self._outcomes.values(), *self._answers.values()]:
            if not waiter.done():
                waiter.set_exception(error)

    async def _send(
        self, key: str, body: dict[str, JSON], kind: str, correlation: str, identity: UUID | None = None
    ) -> None:
        message = Outgoing(key, orjson.dumps(body), identity or uuid7(), kind, correlation, reply_to=self._queue)
        await self._transport.publish([message])
        if self._failure is not None:
            raise self._failure

    async def submit(self, request: dict[str, JSON], run_id: UUID | str | None = None) -> RunHandle:
        """Publish the request; `run_id` (made here if absent) makes it safe to repeat."""
        run, correlation = str(run_id or uuid7()), str(uuid7())
        outcome = self._outcomes[correlation] = asyncio.get_running_loop().create_future()
        self._unseen[run] = outcome
        await self._send("run.requested", {**request, "run_id": run}, "RunRequested", correlation)
        return RunHandle(UUID(run), self, outcome)

    async def command(
        self, key: str, body: dict[str, JSON], correlation: str | None = None, identity: UUID | None = None
    ) -> None:
        """Tell a run something and wait until it is accepted; raises `CommandRefused` with the reason.

        The same `identity` (message id) twice is one command.
        """
        await self._until_seen(body["run_id"])
        identity = identity or uuid7()
        correlation = correlation or str(identity)
        with self._awaiting_answer(correlation) as waiter:
            await self._send(key, body, "", correlation, identity)
            answer = await waiter
        if not answer["accepted"]:
            raise CommandRefused(answer["reason"])

    async def _until_seen(self, run_id: str) -> None:
        """A command goes another way than the request and could overtake it; that is only asked once."""
        from anabranch.client import queries

        outcome = self._unseen.pop(run_id, None)
        if self.database is None or outcome is None:
            return
        while not outcome.done() and await queries.run(self.database, UUID(run_id)) is None:
            await asyncio.wait({outcome}, timeout=POLL_SECONDS)

    @contextmanager
    def _awaiting_answer(self, correlation: str) -> "Iterator[asyncio.Future[dict[str, JSON]]]":
        self._answers[correlation] = asyncio.get_running_loop().create_future()
        try:
            yield self._answers[correlation]
        finally:
            del self._answers[correlation]

    async def fork(self, body: dict[str, JSON]) -> RunHandle:
        """Start a run from another's past; raises `CommandRefused`."""
        run_id, correlation = str(body.get("new_run_id") or uuid7()), str(uuid7())
        outcome = self._outcomes[correlation] = asyncio.get_running_loop().create_future()
        try:
            await self.command("run.fork", {**body, "new_run_id": run_id}, correlation)
        except CommandRefused:
            self._outcomes.pop(correlation, None)
            raise
        return RunHandle(UUID(run_id), self, outcome)

    async def attach(self, run_id: UUID) -> RunHandle:
        """A handle on a run that somebody asked for before; raises `AnabranchError` for one that is not known."""
        from anabranch.client import queries

        if await queries.run(self.needed_database(), run_id) is None:
            raise AnabranchError(f"run {run_id} is not known", hint="`anabranch runs` lists them")
        outcome: asyncio.Future[dict[str, JSON]] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self._follow(run_id, outcome))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return RunHandle(run_id, self, outcome)

    async def _follow(self, run_id: UUID, outcome: "asyncio.Future[dict[str, JSON]]") -> None:
        """Look at the run until it is over: its outcome message goes to who asked for it, not to us."""

        try:
            body = None
            while body is None:
                await asyncio.wait({outcome}, timeout=POLL_SECONDS)  # a row of another process gives no signal
                body = await self.outcome(run_id)
            outcome.set_result(body)
        except asyncio.CancelledError:  # the session closes: nobody will look at the run any more
            outcome.cancel()
            raise
        except Exception as error:
            outcome.set_exception(error)

    def needed_database(self) -> "AsyncEngine":
        """The database; raises `AnabranchError` where there is none to ask."""
        if self.database is None:
            raise AnabranchError("no database to ask", hint="set ANABRANCH_DATABASE_URL")
        return self.database

    async def outcome(self, run_id: UUID) -> "dict[str, JSON] | None":
        """What the tables say the run came to; None while it is not over."""
        from anabranch.client import queries

        return await queries.outcome(self.needed_database(), run_id)

    async def another_transport(self) -> Transport:
        """One more connection to the same broker, for who closes it."""
        if self._connect is None:
            raise AnabranchError("this session cannot open another connection")
        return await self._connect()

    async def branches(self, run_id: UUID) -> list[BranchResult]:
        """The run's branches with their traces; nothing where there is no database to ask."""
        if self.database is None:
            return []
        from anabranch.client import queries

        branches = await queries.rows(self.database, queries.BRANCHES, run_id)
        return branch_results(branches, await queries.rows(self.database, queries.STEPS, run_id))

    async def events(self, run_id: UUID, over: "asyncio.Future[Any]") -> AsyncIterator[dict[str, JSON]]:
        """The run's events as they are recorded, until `over` is done and all were told."""
        from anabranch.client import queries

        version = 0
        while True:
            last = over.done()  # read once more after the end, then stop
            for row in await queries.rows(self.needed_database(), queries.EVENTS, run_id, version):
                version = row["version"]
                yield row
            if last:
                return
            await asyncio.wait({over}, timeout=POLL_SECONDS)


def _tell(waiter: "asyncio.Future[dict[str, JSON]] | None", what: dict[str, JSON] | Exception) -> None:
    """Hand an answer, or why there will be none, to who waits for it."""
    if waiter is None or waiter.done():
        return
    if isinstance(what, Exception):
        waiter.set_exception(what)
    else:
        waiter.set_result(what)

"""Take steps, run agents, publish results; a step is acked only after its result is confirmed."""

import asyncio
import os
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import orjson
import structlog
from anabranch_contracts.addresses import step_queue
from anabranch_contracts.messages import StepError, StepRequested
from pydantic import ValidationError

from anabranch.agents.failures import step_error
from anabranch.agents.invoke import invoke
from anabranch.agents.registry import Registry
from anabranch.runtime.ids import uuid7
from anabranch.runtime.ports import Delivery, Inbox, Outgoing, Transport, Unavailable
from anabranch.runtime.telemetry import STEP_SECONDS, STEPS_RUN

MAX_RESULT = 8 * 1024 * 1024 - 64 * 1024
log = structlog.get_logger(__name__)


def _default(value: Any) -> Any:
    """What orjson does not know, where there is one obvious JSON of it."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


class Worker:
    """Runs up to `concurrency` steps at once of the agents it knows."""

    def __init__(
        self,
        transport: Transport,
        agents: Registry,
        concurrency: int = 16,
        name: str | None = None,
        max_deliveries: int = 5,
        drain_seconds: float = 25.0,
    ) -> None:
        self.name = name or f"{socket.gethostname()}-{os.getpid()}"
        self.ready = asyncio.Event()
        self._transport = transport
        self._agents = agents
        self._concurrency = concurrency
        self._max_deliveries = max_deliveries
        self._drain_seconds = drain_seconds
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="agent")
        self._running: dict[asyncio.Task[None], Delivery] = {}
        self._inbox: Inbox | None = None
        self._broken: BaseException | None = None

    async def run(self) -> None:
        """Serve until `stop`, then drain; raises `Unavailable` when the broker is gone."""
        names = self._agents.names()
        await self._transport.declare_steps(names)
        self._inbox = await self._transport.consume([step_queue(n) for n in names], self._concurrency)
        self.ready.set()
        try:
            while deliveries := await self._inbox.take(self._concurrency):
                for delivery in deliveries:
                    self._begin(delivery)
        finally:
            await self._drain(self._inbox)
            self._threads.shutdown(wait=False, cancel_futures=True)
        if self._broken is not None:
            raise self._broken

    async def stop(self) -> None:
        """Take no more steps; `run` ends when those in hand are done."""
        if self._inbox is not None:
            await self._inbox.stop()

    def _begin(self, delivery: Delivery) -> None:
        task = asyncio.create_task(self._handle(delivery))
        self._running[task] = delivery
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._running.pop(task, None)
        error = None if task.cancelled() else task.exception()
        if error is not None and self._broken is None:
            self._broken = error
            log.error("worker cannot go on", error=str(error))
            asyncio.get_running_loop().create_task(self.stop())

    async def _drain(self, inbox: Inbox) -> None:
        """Let running steps finish for a while; offer the rest to other workers."""
        if self._running:
            await asyncio.wait(list(self._running), timeout=self._drain_seconds)
        left = dict(self._running)
        for task in left:
            task.cancel()
        await inbox.requeue(list(left.values()))

    async def _handle(self, delivery: Delivery) -> None:
        assert self._inbox is not None
        try:
            step = StepRequested.model_validate_json(delivery.body)
        except ValidationError as error:
            await self._transport.park(delivery, f"unreadable step: {error.errors()[0]['msg']}")
        else:
            await self._publish([await self._result(step, delivery)])
        await self._inbox.ack([delivery])

    async def _result(self, step: StepRequested, delivery: Delivery) -> Outgoing:
        began = datetime.now(UTC)
        outcome, said = await self._outcome(step, delivery)
        ended = datetime.now(UTC)
        STEPS_RUN.labels(step.agent, outcome).inc()
        STEP_SECONDS.labels(step.agent).observe((ended - began).total_seconds())
        body = {
            "run_id": step.run_id,
            "branch_id": step.branch_id,
            "step_id": step.step_id,
            "attempt": step.attempt,
            "started_at": began,
            "finished_at": ended,
            "worker": self.name,
        }
        kind = "StepCompleted" if outcome == "completed" else "StepFailed"
        return self._message(kind, f"step.{outcome}", body | said, delivery)

    def _message(self, kind: str, key: str, body: dict[str, Any], delivery: Delivery) -> Outgoing:
        trace = {k: v for k, v in delivery.headers.items() if k == "traceparent"}
        run_id = str(body["run_id"])
        return Outgoing(key, orjson.dumps(body, default=_default), uuid7(), kind, run_id, headers=trace)

    async def _outcome(self, step: StepRequested, delivery: Delivery) -> tuple[str, dict[str, Any]]:
        if delivery.delivery_count > self._max_deliveries:
            lost = f"{delivery.delivery_count} workers were lost with this step"
            return _failed(StepError(kind="poison", type="Poison", message=lost))
        if step.agent not in self._agents:
            return _failed(StepError(kind="terminal", type="UnknownAgent", message=f"no agent {step.agent!r} here"))
        try:
            async with asyncio.timeout(_seconds_left(step)):
                reply = await invoke(self._agents.resolve(step.agent), step, self._threads)
        except TimeoutError as error:
            return _failed(StepError(kind="transient", type="StepTimeout", message=str(error) or "took too long"))
        except Exception as error:  # whatever an agent raises is its step's outcome
            return _failed(step_error(error))
        return _completed(reply)

    async def _publish(self, messages: Sequence[Outgoing]) -> None:
        """Publish until confirmed; a result is not lost because one publish was cut off."""
        if not self._transport.healthy():
            raise Unavailable("RabbitMQ: the connection is gone; the step will be offered again")
        await self._transport.publish(messages)


def _seconds_left(step: StepRequested) -> float | None:
    seconds = step.timeout
    if step.deadline is not None:
        left = (datetime.fromisoformat(step.deadline) - datetime.now(UTC)).total_seconds()
        seconds = left if seconds is None else min(left, seconds)
    return seconds


def _failed(error: StepError) -> tuple[str, dict[str, Any]]:
    return "failed", {"error": error.model_dump(exclude_none=True)}


def _completed(reply: Any) -> tuple[str, dict[str, Any]]:
    try:
        encoded = orjson.dumps(reply, default=_default)
    except TypeError as error:
        return _failed(StepError(kind="terminal", type="UnserialisableReply", message=str(error)[:2000]))
    if len(encoded) > MAX_RESULT:
        size = f"the reply has {len(encoded)} bytes, the limit is {MAX_RESULT}; hand over a reference"
        return _failed(StepError(kind="terminal", type="ReplyTooLarge", message=size))
    return "completed", {"response": orjson.Fragment(encoded)}

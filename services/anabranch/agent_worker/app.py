"""Take steps, run agents, publish results.

A step is acked only after its result is confirmed. A lost connection does not end the steps in hand: they go
on, their results are published over the next connection (`attach`, then `run` again), and when the broker
offers such a step again meanwhile, to this worker, it joins the one in hand and is not run twice.
"""

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog

from anabranch.agent_worker.steps import Outcome, completed, failed, read_step, result_message, seconds_left
from anabranch.agent_worker.stops import Stops
from anabranch.agents.context import StepContext
from anabranch.agents.failures import step_error
from anabranch.agents.invoke import Answer, invoke
from anabranch.agents.registry import Agent, Registry
from anabranch.runtime.handler import utcnow
from anabranch.runtime.ids import uuid7
from anabranch.runtime.ports import Delivery, Inbox, Outgoing, Transport, Unavailable
from anabranch.runtime.reading import Unreadable
from anabranch.runtime.telemetry import PARKED, STEP_SECONDS, STEPS_RUN
from anabranch_contracts.addresses import STOP_SIGNAL, step_queue
from anabranch_contracts.messages import StepError, StepRequested

LONGEST_PAUSE = 1.0
Key = tuple[UUID, str, int]
log = structlog.get_logger(__name__)


class StepTimeout(Exception):
    """The agent took longer than its step may take."""


class Stopped(Exception):
    """The step is wanted no longer."""


@dataclass(slots=True)
class Job:
    """A step in hand and the deliveries that asked for it."""

    step: StepRequested
    deliveries: list[tuple[Inbox, Delivery]] = field(default_factory=list)
    started: bool = False
    unwanted: "asyncio.Future[None]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    task: "asyncio.Task[None] | None" = None


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
        clock: Callable[[], datetime] = utcnow,
        new_id: Callable[[], UUID] = uuid7,
    ) -> None:
        self.name = name or f"{socket.gethostname()}-{os.getpid()}"
        self.ready = asyncio.Event()
        self._transport = transport
        self._agents = agents
        self._concurrency = concurrency
        self._max_deliveries = max_deliveries
        self._drain_seconds = drain_seconds
        self._clock = clock
        self._new_id = new_id
        self._slots = asyncio.Semaphore(concurrency)
        self._jobs: dict[Key, Job] = {}
        self._inbox: Inbox | None = None
        self._stopping = False
        self._stopped = Stops()
        self._defect: BaseException | None = None
        self._leaving: asyncio.Task[None] | None = None

    def attach(self, transport: Transport) -> None:
        """Go on over another connection; takes effect for results at once, for steps with the next `run`."""
        self._transport = transport

    async def run(self) -> None:
        """Serve until `stop`, then drain; raises `Unavailable` when the broker is gone (steps go on)."""
        self.ready.clear()
        names = self._agents.names()
        await self._transport.declare_steps(names)
        self._inbox = await self._transport.consume([step_queue(n) for n in names], self._concurrency)
        self.ready.set()
        if self._stopping:
            await self._inbox.stop()
        listening = asyncio.create_task(self._listen(self._transport))
        try:
            while deliveries := await self._inbox.take(self._concurrency):
                for delivery in deliveries:
                    await self._accept(delivery, self._inbox)
            await self._drain()
        except asyncio.CancelledError:
            await self._give_back(list(self._jobs.values()))
            raise
        finally:
            listening.cancel()
        if self._defect is not None:
            raise self._defect

    async def stop(self) -> None:
        """Take no more steps; `run` ends when those in hand are done."""
        self._stopping = True
        if self._inbox is not None:
            await self._inbox.stop()

    async def _listen(self, transport: Transport) -> None:
        """Stop what is wanted no longer; signals that are missed cost time, nothing else."""
        with suppress(Unavailable):
            async for _, body in transport.listen_signals(STOP_SIGNAL):
                self._stopped.add(body)
                for job in self._jobs.values():
                    if self._stopped.unwanted(job.step) and not job.unwanted.done():
                        job.unwanted.set_result(None)

    async def _accept(self, delivery: Delivery, inbox: Inbox) -> None:
        try:
            step = read_step(delivery)
        except Unreadable as why:
            await self._transport.park(delivery, f"unreadable step: {why}")
            PARKED.labels("agent-worker").inc()
            await inbox.ack([delivery])
            return
        key = (step.run_id, step.step_id, step.attempt)
        job = self._jobs.setdefault(key, Job(step))
        job.deliveries.append((inbox, delivery))
        if job.task is None:
            job.task = asyncio.create_task(self._work(key, job))
            job.task.add_done_callback(self._done)

    async def _work(self, key: Key, job: Job) -> None:
        async with self._slots:
            job.started = True
            result = await self._result(job, job.deliveries[0][1])
        if result is not None:
            await self._publish(result)
        del self._jobs[key]
        for inbox, delivery in job.deliveries:
            with suppress(Unavailable):  # of a connection that is gone: the step is offered again and found stale
                await inbox.ack([delivery])

    def _done(self, task: "asyncio.Task[None]") -> None:
        """An exception here is a defect of ours: leave, so that others get what is in hand."""
        error = None if task.cancelled() else task.exception()
        if error is not None and self._defect is None:
            log.error("worker cannot go on", error=repr(error))
            self._defect = error
            self._leaving = asyncio.get_running_loop().create_task(self.stop())

    async def _result(self, job: Job, delivery: Delivery) -> Outgoing | None:
        """What to publish; nothing of a step that was stopped."""
        began, step = self._clock(), job.step
        try:
            outcome = self._refusal(step, delivery) or await self._outcome(job)
        except Stopped:
            log.info("step stopped", agent=step.agent, step_id=step.step_id, run_id=str(step.run_id))
            return None
        STEPS_RUN.labels(step.agent, outcome.status).inc()
        ended = self._clock()
        STEP_SECONDS.labels(step.agent).observe((ended - began).total_seconds())
        return result_message(step, outcome, self.name, (began, ended), delivery, self._new_id())

    def _refusal(self, step: StepRequested, delivery: Delivery) -> Outcome | None:
        """Why the step is not even tried."""
        if delivery.delivery_count >= self._max_deliveries:
            lost = f"{delivery.delivery_count} workers were lost with this step"
            return failed(StepError(kind="poison", type="Poison", message=lost))
        if step.agent not in self._agents:
            return failed(StepError(kind="terminal", type="UnknownAgent", message=f"no agent {step.agent!r} here"))
        return None

    async def _outcome(self, job: Job) -> Outcome:
        step, ctx = job.step, StepContext.of(job.step)
        if self._stopped.unwanted(step):
            raise Stopped
        try:
            return completed(await _bounded(self._agents.resolve(step.agent), job, ctx, self._clock()))
        except Stopped:
            raise
        except Exception as error:  # whatever an agent raises is its step's outcome
            log.info("step failed", agent=step.agent, step_id=step.step_id, run_id=str(step.run_id), exc_info=error)
            return failed(step_error(error), ctx.usage)

    async def _publish(self, message: Outgoing) -> None:
        """Publish until confirmed; each doubt means again, by the connection that is there then."""
        pause = 0.05
        while True:
            try:
                return await self._transport.publish([message])
            except Exception as error:  # whatever the adapter could not name is an unknown outcome too
                log.warning("result not confirmed, publishing again", error=str(error), seconds=pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _drain(self) -> None:
        """Offer to others what has not begun; let the rest finish for a while, then offer that too."""
        await self._give_back([job for job in self._jobs.values() if not job.started])
        running = [job.task for job in self._jobs.values() if job.task is not None]
        if running:
            await asyncio.wait(running, timeout=self._drain_seconds)
        await self._give_back(list(self._jobs.values()))

    async def _give_back(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            if job.task is not None:
                job.task.cancel()
            self._jobs.pop((job.step.run_id, job.step.step_id, job.step.attempt), None)
        for job in jobs:
            for inbox, delivery in job.deliveries:
                await inbox.requeue([delivery])


async def _bounded(agent: Agent, job: Job, ctx: StepContext, now: datetime) -> Answer:
    """The answer within the step's time, unless it is wanted no longer; who will not be cancelled is left behind."""
    seconds = seconds_left(job.step, now)
    if seconds is not None and seconds <= 0:
        raise StepTimeout("the deadline had passed before the step began")
    running = asyncio.create_task(invoke(agent, job.step, ctx))
    ends: set[asyncio.Future[Any]] = {running, job.unwanted}
    try:
        await asyncio.wait(ends, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if job.unwanted.done():
            raise Stopped
        if running.cancelled():
            raise RuntimeError("the agent cancelled itself")
        if not running.done():
            raise StepTimeout(f"the agent took longer than {seconds:g} s")
        return running.result()
    finally:
        running.cancel()
        running.add_done_callback(_hush)


def _hush(task: "asyncio.Task[Answer]") -> None:
    """What an agent raises after it was left behind is of no interest."""
    if not task.cancelled():
        task.exception()

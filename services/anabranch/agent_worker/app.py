"""Take steps, run agents, publish results.

A step is acked only after its result is confirmed. A lost connection does not end the steps in hand: they go
on, their results are published over the next connection (`attach`, then `run` again), and when the broker
offers such a step again meanwhile, to this worker, it joins the one in hand and is not run twice.

A worker that dies takes what it has in hand with it, and the broker counts that for each of its steps. So that one
which kills its workers does not take its neighbours along until all of them count as poison, a step that several
workers were lost with is suspect: never two of them in one hand, and nothing new beside one. What a worker hands over
while it lives (it leaves, makes room, or lets a step wait for long) goes back as a copy, which no broker counts; where
it may make none, it is given back, which the broker counts, and what waits long goes on waiting.
"""

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from uuid import UUID

import structlog

from anabranch.agent_worker.jobs import Job, Stopped, bounded
from anabranch.agent_worker.steps import (
    LOST,
    Outcome,
    completed,
    failed,
    losses,
    read_step,
    result_message,
    uncounted,
)
from anabranch.agent_worker.stops import Stops
from anabranch.agents.context import StepContext
from anabranch.agents.failures import step_error
from anabranch.agents.registry import Registry
from anabranch.runtime.handler import utcnow
from anabranch.runtime.ids import uuid7
from anabranch.runtime.outbox import again
from anabranch.runtime.ports import Delivery, Inbox, Outgoing, Transport, Unavailable
from anabranch.runtime.reading import Unreadable
from anabranch.runtime.telemetry import PARKED, step_meters
from anabranch_contracts.addresses import STOP_SIGNAL, step_queue
from anabranch_contracts.messages import StepError, StepRequested

LONGEST_PAUSE = 1.0
SUSPECT = 3  # a step that so many workers were lost with
Key = tuple[UUID, str, int]
log = structlog.get_logger(__name__)


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
        patience: float = 30.0,
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
        self._patience = patience
        self._clock = clock
        self._new_id = new_id
        self._slots = asyncio.Semaphore(concurrency)
        self._jobs: dict[Key, Job] = {}
        self._inbox: Inbox | None = None
        self._stopping = asyncio.Event()
        self._unhandled: deque[Delivery] = deque()
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
        listening = asyncio.create_task(self._listen(self._transport))
        try:
            await self._serve([step_queue(n) for n in names], listening)
            await self._drain()
        except asyncio.CancelledError:  # no time is left to hand anything over
            await self._let_go(list(self._jobs.values()))
            raise
        finally:
            listening.cancel()
        if self._defect is not None:
            raise self._defect

    async def _serve(self, queues: Sequence[str], listening: "asyncio.Task[None]") -> None:
        """Take steps until `stop`; with one that is suspect in hand take no others, and after it one at first."""
        prefetch = self._concurrency
        self._unhandled.clear()  # what a connection that is gone had brought
        while not self._stopping.is_set():
            self._inbox = await self._transport.consume(queues, prefetch)
            self.ready.set()
            if self._stopping.is_set():
                await self._inbox.untaken()
            suspect = await self._take(self._inbox, cautious=prefetch == 1)
            await self._clear_table(self._inbox, suspect)
            prefetch = 1 if suspect is not None else self._concurrency
            if suspect is not None:
                await self._alone(suspect, listening)

    async def _take(self, inbox: Inbox, cautious: bool) -> Job | None:
        """Take steps, and return with one that is suspect; when `cautious`, after the first that is not, too."""
        while deliveries := await inbox.take(self._concurrency):
            self._unhandled.extend(deliveries)
            while self._unhandled:
                delivery = self._unhandled.popleft()
                job = await self._accept(delivery, inbox)
                if job is not None and self._suspect(delivery):
                    return job
            if cautious and self._concurrency > 1:
                return None
        return None

    def _suspect(self, delivery: Delivery) -> bool:
        return SUSPECT <= losses(delivery) < self._max_deliveries

    async def _clear_table(self, inbox: Inbox, suspect: Job | None) -> None:
        """Hand over what has come and has not begun: it must not be lost together with the suspect."""
        waiting = [*self._unhandled, *await inbox.untaken()]
        self._unhandled.clear()
        for delivery in waiting:
            await self._part_with(inbox, delivery)
        if suspect is not None:
            await self._give_back([job for job in self._jobs.values() if job is not suspect and not job.started])

    async def _alone(self, job: Job, listening: "asyncio.Task[None]") -> None:
        """Wait until the suspect is done, `stop`, or the connection is gone."""
        assert job.task is not None
        log.warning("run with nothing new beside it: workers were lost with it", step_id=job.step.step_id)
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({job.task, stopping, listening}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if listening.done() and not job.task.done():
            raise Unavailable("the connection is gone")

    async def stop(self) -> None:
        """Take no more steps; `run` ends when those in hand are done."""
        self._stopping.set()
        if self._inbox is not None:
            for delivery in await self._inbox.untaken():
                await self._part_with(self._inbox, delivery)

    async def _listen(self, transport: Transport) -> None:
        """Stop what is wanted no longer; signals that are missed cost time, nothing else."""
        with suppress(Unavailable):
            async for _, body in transport.listen_signals(STOP_SIGNAL):
                self._stopped.add(body)
                for job in self._jobs.values():
                    if self._stopped.unwanted(job.step):
                        job.stop()

    async def _accept(self, delivery: Delivery, inbox: Inbox) -> Job | None:
        """Begin the step, or join it where it is in hand; None where that is not for now."""
        try:
            step = read_step(delivery)
        except Unreadable as why:
            await self._transport.park(delivery, f"unreadable step: {why}")
            PARKED.labels("agent-worker").inc()
            await inbox.ack([delivery])
            return None
        key = (step.run_id, step.step_id, step.attempt)
        if key not in self._jobs and uncounted(delivery) and await self._handed_over(inbox, delivery, more=1):
            return None
        job = self._jobs.setdefault(key, Job(step))
        job.deliveries.append((inbox, delivery))
        if job.task is None:
            job.task = asyncio.create_task(self._work(key, job))
            job.task.add_done_callback(self._done)
        return job

    async def _part_with(self, inbox: Inbox, delivery: Delivery) -> None:
        """Hand it over, or give it back, which the broker counts."""
        if not await self._handed_over(inbox, delivery):
            await inbox.requeue([delivery])

    async def _handed_over(self, inbox: Inbox, delivery: Delivery, more: int = 0) -> bool:
        """Offer it to others by a copy: no broker counts that as a worker lost, and what was counted goes with it.

        False where this worker may make no copies, or it is not known whether there is one.
        """
        if inbox.failed:
            return True  # the broker offers it again by itself, and counts
        copy = again(delivery, self._new_id(), **{LOST: losses(delivery) + more})
        try:
            if offered := await self._transport.offer_again(copy):
                await inbox.ack([delivery])
        except Unavailable:
            return inbox.failed
        return offered

    async def _work(self, key: Key, job: Job) -> None:
        if not await self._turn(key, job):
            return
        try:
            job.started = True
            result = await self._result(job, job.deliveries[0][1])
        finally:
            self._slots.release()
        if result is not None:
            await self._publish(result)
        del self._jobs[key]
        await self._ack(job.deliveries)

    async def _turn(self, key: Key, job: Job) -> bool:
        """Whether there is a slot for it now; what waits long is offered to others, who may have room."""
        if not self._slots.locked():
            return await self._slots.acquire()
        try:
            async with asyncio.timeout(self._patience):
                return await self._slots.acquire()
        except TimeoutError:
            return not await self._offered(key, job) and await self._slots.acquire()

    async def _offered(self, key: Key, job: Job) -> bool:
        """Whether others have it now. Who comes to join meanwhile may be its copy, and is taken for itself."""
        (one, others), known = job.parting(), len(job.deliveries)
        if not await self._handed_over(*one):
            return False
        self._jobs.pop(key, None)
        await self._ack(others)
        for inbox, delivery in job.deliveries[known:]:
            await self._accept(delivery, inbox)
        return True

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
        ended = self._clock()
        ran, lasted = step_meters(step.agent, outcome.status)
        ran.inc()
        lasted.observe((ended - began).total_seconds())
        return result_message(step, outcome, self.name, (began, ended), delivery, self._new_id())

    def _refusal(self, step: StepRequested, delivery: Delivery) -> Outcome | None:
        """Why the step is not even tried."""
        if losses(delivery) >= self._max_deliveries:
            lost = f"{losses(delivery)} workers were lost with this step"
            return failed(StepError(kind="poison", type="Poison", message=lost))
        if step.agent not in self._agents:
            return failed(StepError(kind="terminal", type="UnknownAgent", message=f"no agent {step.agent!r} here"))
        return None

    async def _outcome(self, job: Job) -> Outcome:
        step, ctx = job.step, StepContext.of(job.step)
        if self._stopped.unwanted(step):
            raise Stopped
        try:
            return completed(await bounded(self._agents.resolve(step.agent), job, ctx, self._clock()))
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
        self._forget(jobs)
        for job in jobs:
            one, others = job.parting()
            await self._part_with(*one)
            await self._ack(others)

    async def _ack(self, deliveries: Sequence[tuple[Inbox, Delivery]]) -> None:
        for inbox, delivery in deliveries:
            with suppress(Unavailable):  # of a connection that is gone: the step is offered again and found stale
                await inbox.ack([delivery])

    async def _let_go(self, jobs: Sequence[Job]) -> None:
        self._forget(jobs)
        for job in jobs:
            for inbox, delivery in job.deliveries:
                await inbox.requeue([delivery])

    def _forget(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            if job.task is not None:
                job.task.cancel()
            self._jobs.pop((job.step.run_id, job.step.step_id, job.step.attempt), None)

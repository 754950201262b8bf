"""A step in hand: who asked for it, and its agent's answer within the time it has."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime

from anabranch.agent_worker.steps import seconds_left
from anabranch.agents.context import StepContext
from anabranch.agents.invoke import Answer, invoke
from anabranch.agents.registry import Agent
from anabranch.runtime.ports import Delivery, Inbox
from anabranch_contracts.messages import StepRequested


class StepTimeout(Exception):
    """The agent took longer than its step may take."""


class Stopped(Exception):
    """The step is wanted no longer."""


@dataclass(slots=True)
class Job:
    """A step in hand and the deliveries that asked for it; `over` when it is answered, late, or `unwanted`."""

    step: StepRequested
    deliveries: list[tuple[Inbox, Delivery]] = field(default_factory=list)
    started: bool = False
    unwanted: bool = False
    over: "asyncio.Future[None]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    task: "asyncio.Task[None] | None" = None

    def end(self) -> None:
        """There is nothing more to wait for."""
        if not self.over.done():
            self.over.set_result(None)

    def stop(self) -> None:
        """It is wanted no longer."""
        self.unwanted = True
        self.end()

    def parting(self) -> tuple[tuple[Inbox, Delivery], list[tuple[Inbox, Delivery]]]:
        """The delivery to hand on, of a connection that lasts if there is one, and the others."""
        live = [one for one in self.deliveries if not one[0].failed] or self.deliveries
        return live[-1], [one for one in self.deliveries if one is not live[-1]]


async def bounded(agent: Agent, job: Job, ctx: StepContext, now: datetime) -> Answer:
    """The answer within the step's time, unless it is wanted no longer; who will not be cancelled is left behind."""
    seconds = seconds_left(job.step, now)
    if seconds is not None and seconds <= 0:
        raise StepTimeout("the deadline had passed before the step began")
    loop = asyncio.get_running_loop()
    running = loop.create_task(_begun(agent, job, ctx))
    timer = loop.call_later(seconds, job.end) if seconds is not None else None
    try:
        await job.over
        if job.unwanted:
            raise Stopped
        if running.cancelled():
            raise RuntimeError("the agent cancelled itself")
        if not running.done():
            raise StepTimeout(f"the agent took longer than {seconds:g} s")
        return running.result()
    finally:
        if timer is not None:
            timer.cancel()
        _leave(running)


async def _begun(agent: Agent, job: Job, ctx: StepContext) -> Answer:
    """An agent that ends this process takes no ack along that others' steps have earned."""
    try:
        job.deliveries[-1][0].flush()
        return await invoke(agent, job.step, ctx)
    finally:
        job.end()


def _leave(running: "asyncio.Task[Answer]") -> None:
    if running.done():
        _hush(running)
    else:
        running.cancel()
        running.add_done_callback(_hush)


def _hush(task: "asyncio.Task[Answer]") -> None:
    """What an agent raises after it was left behind is of no interest."""
    if not task.cancelled():
        task.exception()

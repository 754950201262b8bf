"""`AgentPool`: many requests to instances of one agent class, so many at a time, the rest wait.

A pool's work is a run like any other: an agent that hands the requests out forks once for each, and a rule admits
`num_instances` branches at a time. So it shows in SQL, and goes on after a crash as soon as the pool is there again.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from anabranch.agent_worker.app import Worker
from anabranch.agents.calls import values
from anabranch.agents.context import StepContext
from anabranch.agents.invoke import invoke
from anabranch.agents.registry import Agent, Registry
from anabranch.client.orchestra import connected, request
from anabranch.client.session import Session
from anabranch.runtime.settings import load
from anabranch_contracts.errors import AnabranchError
from anabranch_contracts.fingerprints import fingerprint
from anabranch_contracts.messages import StepRequested
from anabranch_contracts.reply_builders import final_response, parallel_invoke
from anabranch_contracts.rules import MaxParallelBranchesRule
from anabranch_contracts.topology import Edge, Node, Topology

JSON = Any


class AgentPool:
    """`num_instances` instances of an agent class (or of one function) that serve requests in parallel."""

    def __init__(self, agent_class: Any, num_instances: int = 4, name: str | None = None, **arguments: Any) -> None:
        if num_instances < 1:
            raise AnabranchError(f"num_instances is {num_instances}", hint="a pool needs at least one instance")
        called = name or str(getattr(agent_class, "__name__", type(agent_class).__name__))
        home = getattr(agent_class, "__qualname__", agent_class)
        self.name = f"{called} of pool {fingerprint(home, num_instances, arguments)}"
        is_class = isinstance(agent_class, type)
        self.instances = [agent_class(**arguments) if is_class else agent_class for _ in range(num_instances)]

    async def execute_parallel(
        self, requests: list[JSON], return_exceptions: bool = False, run_id: UUID | str | None = None
    ) -> list[JSON]:
        """The answers in the order of the requests; raises `InvocationFailed`, unless failures are wanted there.

        The same `run_id` again, after a crash say, goes on with the same work; what was answered is not asked again.
        """
        if not requests:
            return []
        async with connected(load()) as session, self._serving(session):
            body = request({"requests": list(requests)}, self._topology(), None, None, None)
            handle = await session.submit(body, run_id)
            result = await handle.result()
        if not result.success:
            reason = (result.error or {}).get("message")
            raise AnabranchError(f"the pool's run {result.run_id} {result.status}: {reason}")
        return values(result.final_response, return_exceptions)

    @property
    def _source(self) -> str:
        return f"source of {self.name}"

    def _topology(self) -> Topology:
        rule = MaxParallelBranchesRule(max_parallel_branches=len(self.instances))
        return Topology(
            nodes=(Node(name=self._source), Node(name=self.name)),
            edges=(Edge(source=self._source, target=self.name),),
            rules=(rule.wire(),),
        )

    @asynccontextmanager
    async def _serving(self, session: Session) -> AsyncIterator[None]:
        """A worker of the pool's own agents for as long as it is at work."""
        transport = await session.another_transport()
        worker = Worker(transport, self._registry(), len(self.instances) + 1)
        working = asyncio.create_task(worker.run())
        working.add_done_callback(lambda task: _report(task, session))
        try:
            yield
        finally:
            await worker.stop()
            await asyncio.wait({working})
            await transport.close()

    def _registry(self) -> Registry:
        free: asyncio.Queue[Agent] = asyncio.Queue()
        for instance in self.instances:
            free.put_nowait(Agent(self.name, instance))
        agents = Registry()
        agents.register(self._source, self._hand_out)
        agents.register(self.name, _lending(free))
        return agents

    def _hand_out(self, request: JSON) -> JSON:
        """Fork once for each request; then hand over what came back."""
        if isinstance(request, list):
            return final_response(request)
        calls = [{"agent": self.name, "request": one} for one in request["requests"]]
        return parallel_invoke(invocations=calls, convergence={"on_insufficient": "proceed"})


def _lending(free: "asyncio.Queue[Agent]") -> Any:
    async def serve(request: JSON, step: StepRequested, ctx: StepContext) -> JSON:
        """Run the step on an instance that no other step uses."""
        instance = await free.get()
        try:
            return (await invoke(instance, step, ctx)).reply
        finally:
            free.put_nowait(instance)

    return serve


def _report(task: "asyncio.Task[None]", session: Session) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        session.fail(error)

"""`Orchestra.run` and `Orchestra.submit`: the seed's way to ask for a run."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from anabranch.agents.registry import AGENTS
from anabranch.client.config import ExecutionConfig
from anabranch.client.progress import line
from anabranch.client.results import OrchestraResult
from anabranch.client.session import RunHandle, Session
from anabranch.domain.intake import check
from anabranch.runtime.settings import Settings, load
from anabranch_contracts.config import RunConfig
from anabranch_contracts.errors import AnabranchError, InvalidTopology
from anabranch_contracts.notation import parse_topology
from anabranch_contracts.topology import Topology

JSON = Any
Config = ExecutionConfig | dict[str, JSON] | None


def checked(topology: Topology | dict[str, JSON], config: Config = None) -> Topology:
    """The canonical topology; raises `InvalidTopology` with every reason."""
    parsed, errors = parse_topology(topology)
    if parsed is not None:
        run = RunConfig.model_validate(_wire(config))
        errors = check(parsed, run)
    if errors or parsed is None:
        raise InvalidTopology(errors)
    return parsed


def _wire(config: Config) -> dict[str, JSON]:
    return config.wire() if isinstance(config, ExecutionConfig) else dict(config or {})


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[Session]:
    """A session: on RabbitMQ where ANABRANCH_AMQP_URL is set, else on the embedded engine."""
    if settings.amqp_url is None:
        from anabranch.client.embedded import shared_engine

        async with shared_engine(settings) as session:
            yield session
        return
    from anabranch.runtime.rabbitmq.transport import RabbitTransport

    async with AsyncExitStack() as stack:
        transport = RabbitTransport(settings.amqp_url, settings.queue_type)
        stack.push_async_callback(transport.close)
        await transport.connect()
        yield await stack.enter_async_context(Session(transport, _database(settings, stack)))


def _database(settings: Settings, stack: AsyncExitStack) -> Any:
    if settings.database_url is None:
        return None
    from anabranch.runtime.postgres.engine import create_engine

    engine = create_engine(settings.database_url)
    stack.push_async_callback(engine.dispose)
    return engine


def request(
    task: JSON,
    topology: Topology | dict[str, JSON],
    context: dict[str, JSON] | None,
    config: Config,
    labels: dict[str, JSON] | None,
) -> dict[str, JSON]:
    """The body of RunRequested."""
    canonical = checked(topology, config).canonical()
    return {
        "task": task,
        "topology": canonical,
        "context": context or {},
        "config": _wire(config),
        "labels": labels or {},
    }


def need_agents(body: dict[str, JSON]) -> None:
    """In one process nobody else can serve a step: refuse at once what nobody here can do."""
    missing = [n["name"] for n in body["topology"]["nodes"] if n["kind"] == "agent" and n["name"] not in AGENTS]
    if missing:
        hint = f'decorate a function with @agent("{missing[0]}") and import it, or name its module with --agents'
        raise AnabranchError(f"no agent is registered for: {', '.join(missing)}", hint=hint)


class Orchestra:
    """Runs topologies."""

    @staticmethod
    async def run(
        task: JSON,
        topology: Topology | dict[str, JSON],
        context: dict[str, JSON] | None = None,
        config: Config = None,
        labels: dict[str, JSON] | None = None,
    ) -> OrchestraResult:
        """Run to the outcome; failures of the run are in the result, not raised."""
        async with Orchestra.submitted(task, topology, context, config, labels) as handle:
            verbosity = config.status.verbosity if isinstance(config, ExecutionConfig) else 0
            watcher = asyncio.create_task(_watch(handle, verbosity)) if verbosity else None
            result = await handle.result()
            if watcher is not None:
                await watcher
            return result

    @staticmethod
    @asynccontextmanager
    async def submitted(
        task: JSON,
        topology: Topology | dict[str, JSON],
        context: dict[str, JSON] | None = None,
        config: Config = None,
        labels: dict[str, JSON] | None = None,
    ) -> AsyncIterator[RunHandle]:
        """A handle on a run just asked for, its connection open for as long as the context is."""
        settings = load()
        body = request(task, topology, context, config, labels)
        if settings.amqp_url is None:
            need_agents(body)
        async with connected(settings) as session:
            yield await session.submit(body)

    @staticmethod
    async def submit(
        task: JSON,
        topology: Topology | dict[str, JSON],
        context: dict[str, JSON] | None = None,
        config: Config = None,
        labels: dict[str, JSON] | None = None,
    ) -> RunHandle:
        """A handle on a run just asked for; its connection closes when the outcome is there."""
        stack = AsyncExitStack()
        handle = await stack.enter_async_context(Orchestra.submitted(task, topology, context, config, labels))
        closer = asyncio.create_task(_close_after(handle, stack))
        _closers.add(closer)
        closer.add_done_callback(_closers.discard)
        return handle


_closers: set["asyncio.Task[None]"] = set()


async def _close_after(handle: RunHandle, stack: AsyncExitStack) -> None:
    async with stack:
        while open_uses := {use for use in handle.uses if not use.done()}:
            await asyncio.wait(open_uses)


async def _watch(handle: RunHandle, verbosity: int) -> None:
    async for event in handle.events():
        if (said := line(event, verbosity)) is not None:
            print(said, file=sys.stderr, flush=True)

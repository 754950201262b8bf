"""`Orchestra.run` and `Orchestra.submit`: the seed's way to ask for a run."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID

from anabranch.agents.registry import AGENTS
from anabranch.client.config import ExecutionConfig
from anabranch.client.handle import RunHandle, close_after
from anabranch.client.progress import line, summary
from anabranch.client.results import OrchestraResult
from anabranch.client.session import Session
from anabranch.domain.intake import check
from anabranch.runtime.settings import Settings, load
from anabranch.runtime.telemetry import log_quietly
from anabranch_contracts.config import parse_config
from anabranch_contracts.errors import AnabranchError, InvalidTopology
from anabranch_contracts.notation import parse_topology
from anabranch_contracts.rules import PYTHON
from anabranch_contracts.topology import Topology

if TYPE_CHECKING:
    from anabranch.client.checkpoints import Checkpoint
    from anabranch.runtime.ports import Transport

JSON = Any
Config = ExecutionConfig | dict[str, JSON] | None


def checked(topology: Topology | dict[str, JSON], config: Config = None) -> Topology:
    """The canonical topology; raises `InvalidTopology` with every reason."""
    parsed, errors = parse_topology(topology)
    run, unfit = parse_config(_wire(config))
    errors = [*errors, *unfit]
    if parsed is not None and run is not None:
        errors = check(parsed, run)
    if errors or parsed is None:
        raise InvalidTopology(errors)
    return parsed


def _wire(config: Config) -> dict[str, JSON]:
    return config.wire() if isinstance(config, ExecutionConfig) else dict(config or {})


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[Session]:
    """A session: on RabbitMQ where ANABRANCH_AMQP_URL is set, else on the embedded engine."""
    log_quietly(settings)
    if settings.amqp_url is None:
        from anabranch.client.embedded import shared_engine

        async with shared_engine(settings) as session:
            yield session
        return
    from anabranch.runtime.rabbitmq.parties import CLIENT
    from anabranch.runtime.rabbitmq.transport import RabbitTransport
    from anabranch.runtime.redacting import redacting

    broker = settings.amqp_url

    async def connect() -> "Transport":
        transport = redacting(RabbitTransport(broker, settings.queue_type, party=CLIENT), settings.redaction)
        await transport.connect()
        return transport

    async with AsyncExitStack() as stack:
        transport = await connect()
        stack.push_async_callback(transport.close)
        yield await stack.enter_async_context(Session(transport, _database(settings, stack), connect))


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
    """The body of RunRequested; raises `InvalidTopology`."""
    canonical = checked(topology, config).canonical()
    if load().amqp_url is not None:
        _refuse_python(canonical)
    return {
        "task": task,
        "topology": canonical,
        "context": context or {},
        "config": _wire(config),
        "labels": labels or {},
    }


def _refuse_python(topology: dict[str, JSON]) -> None:
    """A callable cannot cross a wire."""
    named = [r["condition"] for r in topology["rules"] if str(r.get("condition")).startswith(PYTHON)]
    if named:
        what = f"rules: the Python condition {named[0]} cannot cross a wire"
        raise InvalidTopology([f"{what}; write it in CEL, as in 'branch.steps < 5'"])


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
        run_id: UUID | str | None = None,
    ) -> OrchestraResult:
        """Run to the outcome; failures of the run are in the result, not raised.

        The same `run_id` again is the same run: it makes asking safe to repeat.
        """
        async with Orchestra.submitted(task, topology, context, config, labels, run_id) as handle:
            verbosity = config.status.verbosity if isinstance(config, ExecutionConfig) else 0
            watcher = asyncio.create_task(_watch(handle, verbosity)) if verbosity else None
            result = await handle.result()
            if watcher is not None:
                await watcher
                print(summary(result), file=sys.stderr, flush=True)
            return result

    @staticmethod
    @asynccontextmanager
    async def submitted(
        task: JSON,
        topology: Topology | dict[str, JSON],
        context: dict[str, JSON] | None = None,
        config: Config = None,
        labels: dict[str, JSON] | None = None,
        run_id: UUID | str | None = None,
    ) -> AsyncIterator[RunHandle]:
        """A handle on a run just asked for, its connection open for as long as the context is."""
        settings = load()
        body = request(task, topology, context, config, labels)
        if settings.amqp_url is None:
            need_agents(body)
        async with connected(settings) as session:
            yield await session.submit(body, run_id)

    @staticmethod
    async def submit(
        task: JSON,
        topology: Topology | dict[str, JSON],
        context: dict[str, JSON] | None = None,
        config: Config = None,
        labels: dict[str, JSON] | None = None,
        run_id: UUID | str | None = None,
    ) -> RunHandle:
        """A handle on a run just asked for; its connection closes when the outcome is there."""
        stack = AsyncExitStack()
        handle = await stack.enter_async_context(Orchestra.submitted(task, topology, context, config, labels, run_id))
        close_after(handle, stack)
        return handle

    @staticmethod
    async def attach(run_id: UUID | str) -> RunHandle:
        """A handle on a run that anybody asked for; raises `AnabranchError` for one that is not known.

        Its connection closes when the outcome is there.
        """
        stack = AsyncExitStack()
        session = await stack.enter_async_context(connected(load()))
        try:
            handle = await session.attach(UUID(str(run_id)))
        except BaseException:
            await stack.aclose()
            raise
        close_after(handle, stack)
        return handle

    @staticmethod
    async def resume(
        state: "Checkpoint | UUID | str", topology: Topology | dict[str, JSON] | None = None
    ) -> OrchestraResult:
        """Go on to the outcome: from a checkpoint or with another topology as a new run, else the run itself.

        A run that is paused is resumed; one that an earlier process left is taken up where it was.
        """
        async with connected(load()) as session:
            if isinstance(state, UUID | str):
                run_id, at = UUID(str(state)), None
            else:
                run_id, at = state.run_id, state.version
            handle = await session.attach(run_id)
            if at is None and topology is not None:
                at = await handle.version()
            if at is not None:
                handle = await handle.fork(at, topology)
            elif await handle.status() == "paused":
                await handle.resume()
            return await handle.result()


async def _watch(handle: RunHandle, verbosity: int) -> None:
    async for event in handle.events():
        if (said := line(event, verbosity)) is not None:
            print(said, file=sys.stderr, flush=True)

"""Ask for runs: `run` waits and shows progress, `submit` does not wait."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import orjson

from anabranch.agents.registry import load_modules
from anabranch.cli.output import as_json
from anabranch.cli.progress import follow
from anabranch.cli.topology import read_topology
from anabranch.client.orchestra import Orchestra, connected, request
from anabranch.client.results import OrchestraResult
from anabranch.client.terminal import tame, tame_lines
from anabranch.runtime.settings import load
from anabranch_contracts.errors import AnabranchError

JSON = Any


def run(
    file: Path,
    *,
    task: str,
    agents: str | None = None,
    context: str = "{}",
    config: str = "{}",
    json: bool = False,
) -> int:
    """Run a topology to its outcome, with live progress. Exit code 0 completed, 1 failed.

    Parameters
    ----------
    file
        the topology, a JSON file
    task
        what to do; JSON is taken as JSON, anything else as text
    agents
        module or .py file that registers the agents (default: ANABRANCH_AGENTS)
    context
        JSON object that reaches every step
    config
        JSON object, the run's configuration
    json
        print the result as JSON
    """
    load_modules(agents if agents is not None else load().agents)
    result = asyncio.run(_run(read_topology(file), as_value(task), as_object(context), as_object(config), json))
    if json:
        as_json({"run_id": result.run_id, "status": result.status, "result": result.final_response,
                 "error": result.error, "metrics": result.metrics})  # fmt: skip
    else:
        _tell(result)
    return 0 if result.success else 1


async def _run(topology: JSON, task: JSON, context: JSON, config: JSON, quiet: bool) -> OrchestraResult:
    async with Orchestra.submitted(task, topology, context, config) as handle:
        if not quiet and handle.session.database is not None:
            await follow(handle)
        return await handle.result()


def _tell(result: OrchestraResult) -> None:
    if result.success:
        value = result.final_response
        text = value if isinstance(value, str) else orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()
        print(tame_lines(text) if sys.stdout.isatty() else text)  # programs get it as it is
        return
    print(
        f"anabranch: run {result.run_id} {result.status}: {tame(str((result.error or {}).get('message')))}",
        file=sys.stderr,
    )
    print(f"  `anabranch trace {result.run_id}` shows where", file=sys.stderr)


def submit(file: Path, *, task: str, context: str = "{}", config: str = "{}", json: bool = False) -> None:
    """Ask running services (ANABRANCH_AMQP_URL) for a run and print its id at once.

    Parameters
    ----------
    file
        the topology, a JSON file
    task
        what to do; JSON is taken as JSON, anything else as text
    context
        JSON object that reaches every step
    config
        JSON object, the run's configuration
    json
        print JSON
    """
    settings = load()
    if settings.amqp_url is None:
        raise AnabranchError("submit needs services", hint="set ANABRANCH_AMQP_URL, or use `anabranch run`")
    body = request(as_value(task), read_topology(file), as_object(context), as_object(config), None)

    async def ask() -> str:
        async with connected(settings) as session:
            handle = await session.submit(body)
            for use in handle.uses:
                use.cancel()
            return str(handle.run_id)

    run_id = asyncio.run(ask())
    as_json({"run_id": run_id}) if json else print(run_id)


def as_value(text: str) -> JSON:
    _legible(text)
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def as_object(text: str) -> dict[str, JSON]:
    _legible(text)
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise AnabranchError(f"not JSON: {text[:80]!r}: {error}", hint="""write it like '{"key": "value"}'""") from None
    if not isinstance(value, dict):
        raise AnabranchError(f"not a JSON object: {text[:80]!r}", hint="""write it like '{"key": "value"}'""")
    return value


def _legible(text: str) -> None:
    """What the terminal gave must be text: bytes that are none can be sent to nobody."""
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise AnabranchError(f"not UTF-8: {text[:80]!r}", hint="is the terminal's encoding UTF-8?")

"""One run, steered from Python, from the command line or by raw AMQP: the same commands, the same refusals."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from anabranch import CommandRefused, Orchestra
from anabranch.client.handle import RunHandle
from tests.acceptance.stage import AskedRun, Stage

JSON = Any
MAIN = (sys.executable, "-c", "from anabranch.cli.main import main; main()")


class Refused(Exception):
    """A command was refused; the reason, as this face shows it."""


@dataclass(frozen=True)
class Said:
    """What a command line said, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> JSON:
        """Its `--json`; the command must have succeeded."""
        assert self.code == 0, self.err
        return json.loads(self.out)


async def anabranch(*arguments: object, environment: Mapping[str, str] | None = None) -> Said:
    """Run `anabranch` as a process of its own."""
    process = await asyncio.create_subprocess_exec(
        *MAIN, *map(str, arguments),
        env=os.environ if environment is None else environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode is not None
    assert "Traceback" not in err.decode(), err.decode()
    return Said(process.returncode, out.decode(), err.decode())


@dataclass(frozen=True)
class Steered:
    """A run that its handle in this process asked for."""

    handle: RunHandle
    run: AskedRun

    @property
    def id(self) -> str:
        return self.run.id

    async def outcome(self) -> JSON:
        """Status and result."""
        result = await self.handle.result()
        return result.status, result.final_response


async def submit(stage: Stage, topology: JSON, script: JSON, config: JSON = None, task: JSON = "go") -> Steered:
    """Ask for a run of scripted agents from Python."""
    context = {"script": script, "gate": stage.gate.port}
    handle = await Orchestra.submit(task, topology, context, config)
    return Steered(handle, AskedRun(str(handle.run_id), stage))


class Face(Protocol):
    """A way to steer runs; every method raises `Refused`."""

    async def pause(self, run: Steered) -> None: ...

    async def resume(self, run: Steered) -> None: ...

    async def cancel(self, run: Steered, branch_id: str | None = None) -> None: ...

    async def checkpoint(self, run: Steered, name: str) -> None: ...

    async def fork(self, run: Steered, at: int | str) -> str:
        """The new run's id."""
        ...

    async def respond(self, run: Steered, request_id: str, value: JSON) -> None: ...


class Python:
    """The handle."""

    async def _do(self, command: Any) -> Any:
        try:
            return await command
        except CommandRefused as why:
            raise Refused(str(why)) from why

    async def pause(self, run: Steered) -> None:
        await self._do(run.handle.pause())

    async def resume(self, run: Steered) -> None:
        await self._do(run.handle.resume())

    async def cancel(self, run: Steered, branch_id: str | None = None) -> None:
        await self._do(run.handle.cancel(branch_id))

    async def checkpoint(self, run: Steered, name: str) -> None:
        await self._do(run.handle.checkpoint(name))

    async def fork(self, run: Steered, at: int | str) -> str:
        return str((await self._do(run.handle.fork(at))).run_id)

    async def respond(self, run: Steered, request_id: str, value: JSON) -> None:
        await self._do(run.handle.respond(value, request_id))


class CommandLine:
    """`anabranch`, now for people and now with `--json`; a refusal is one line and exit code 2."""

    async def _do(self, *arguments: object) -> Said:
        said = await anabranch(*arguments)
        if said.code:
            assert said.code == 2 and said.err.startswith("anabranch: ") and not said.out, said
            raise Refused(said.err.splitlines()[0])
        return said

    async def pause(self, run: Steered) -> None:
        assert (await self._do("pause", run.id, "--json")).json == {"accepted": True, "run_id": run.id}

    async def resume(self, run: Steered) -> None:
        assert (await self._do("resume", run.id)).out == f"run {run.id} goes on\n"

    async def cancel(self, run: Steered, branch_id: str | None = None) -> None:
        if branch_id is None:
            assert (await self._do("cancel", run.id)).out == f"run {run.id} is cancelled\n"
        else:
            told = (await self._do("cancel", run.id, "--branch", branch_id, "--json")).json
            assert told == {"accepted": True, "run_id": run.id}

    async def checkpoint(self, run: Steered, name: str) -> None:
        assert (await self._do("checkpoint", "create", run.id, name)).out == f"run {run.id} has checkpoint {name!r}\n"

    async def fork(self, run: Steered, at: int | str) -> str:
        told = (await self._do("fork", run.id, "--at", at, "--json")).json
        assert told["accepted"] is True
        return str(told["run_id"])

    async def respond(self, run: Steered, request_id: str, value: JSON) -> None:
        told = (await self._do("respond", request_id, json.dumps(value), "--json")).json
        assert told == {"accepted": True, "request_id": request_id}


class Amqp:
    """A message with `reply_to`; the answer must name the run."""

    async def _do(self, run: Steered, key: str, **body: JSON) -> str:
        """The run that was told, for a fork the new one."""
        told = await run.run.tell(key, **body)
        if not told["accepted"]:
            raise Refused(told["reason"])
        assert key == "run.fork" or told["run_id"] == run.id
        return str(told["run_id"])

    async def pause(self, run: Steered) -> None:
        await self._do(run, "run.pause")

    async def resume(self, run: Steered) -> None:
        await self._do(run, "run.resume")

    async def cancel(self, run: Steered, branch_id: str | None = None) -> None:
        await self._do(run, "run.cancel", branch_id=branch_id)

    async def checkpoint(self, run: Steered, name: str) -> None:
        await self._do(run, "run.checkpoint", name=name)

    async def fork(self, run: Steered, at: int | str) -> str:
        return await self._do(run, "run.fork", at=at)

    async def respond(self, run: Steered, request_id: str, value: JSON) -> None:
        await self._do(run, "user.provided", request_id=request_id, value=value)


FACES: dict[str, Face] = {"python": Python(), "cli": CommandLine(), "amqp": Amqp()}

"""Programs of users: Python in processes of their own, which know no settings but those given."""

import asyncio
import json
import os
import subprocess
import sys
from asyncio.subprocess import PIPE, Process
from contextlib import suppress
from typing import Any

JSON = Any
Settings = dict[str, str]
SECONDS = 90


def environment(settings: Settings) -> dict[str, str]:
    """This process's, with other settings."""
    return {k: v for k, v in os.environ.items() if not k.startswith("ANABRANCH_")} | settings


def output(settings: Settings, *arguments: str) -> JSON:
    """Run Python to its end; the JSON that it prints."""
    command = [sys.executable, *arguments]
    done = subprocess.run(command, env=environment(settings), capture_output=True, timeout=SECONDS)
    return _read(done.returncode, done.stdout, done.stderr)


def _read(code: int | None, said: bytes, errors: bytes) -> JSON:
    assert code == 0, errors.decode()[-3000:]
    return json.loads(said)


class Program:
    """A program under way, and its end."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.ending = asyncio.create_task(process.communicate())

    @classmethod
    async def started(cls, settings: Settings, *arguments: str) -> "Program":
        """Run Python beside this."""
        command, given = [sys.executable, *arguments], environment(settings)
        return cls(await asyncio.create_subprocess_exec(*command, env=given, stdout=PIPE, stderr=PIPE))

    async def output(self) -> JSON:
        """The JSON that it prints in the end."""
        said, errors = await self.ending
        return _read(self.process.returncode, said, errors)

    def signalled(self, number: int) -> None:
        """Send a signal, if there still is who receives it."""
        with suppress(ProcessLookupError):
            self.process.send_signal(number)

    async def killed(self) -> None:
        """`kill -9`."""
        self.signalled(9)
        await self.ending

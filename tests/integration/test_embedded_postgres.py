"""The embedded Postgres at the seams of its life."""

import asyncio
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from anabranch.runtime.postgres.embedded import EmbeddedError, EmbeddedPostgres
from tests.services import data_folder

DIES = """
import asyncio, os, signal, sys
from pathlib import Path
from anabranch.runtime.postgres.embedded import EmbeddedPostgres

async def main():
    async with EmbeddedPostgres(Path(sys.argv[1])):
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    with data_folder() as made:
        yield made


def _damage(folder: Path) -> None:
    (control,) = folder.glob("pg*/global/pg_control")
    control.write_bytes(b"")


async def test_it_starts_while_the_server_of_a_killed_owner_still_shuts_down(folder: Path) -> None:
    for _ in range(3):
        owner = await asyncio.create_subprocess_exec(sys.executable, "-c", DIES, str(folder))
        assert await owner.wait() == -signal.SIGKILL
        async with EmbeddedPostgres(folder):
            pass


async def test_one_that_cannot_start_leaves_its_folder_to_the_next(folder: Path) -> None:
    async with EmbeddedPostgres(folder):
        pass
    _damage(folder)
    for _ in range(2):
        with pytest.raises(EmbeddedError, match="did not start"):
            await EmbeddedPostgres(folder).__aenter__()

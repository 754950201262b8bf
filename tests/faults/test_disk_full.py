"""Postgres without room for another page: nobody parks, loses or dies; with room again everything goes on."""

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.audit import audit
from tests.faults.test_matrix import asked, over, some
from tests.faults.test_no_zombies import unready
from tests.faults.town import Town, town
from tests.services import data_folder

ROOM = "160m"


@pytest.fixture
def small_town(tmp_path: Path) -> Iterator[tuple[Town, Path]]:
    """A town whose database lives on a small file system of its own."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        say = pytest.fail if os.environ.get("ANABRANCH_REQUIRE_SERVICES") else pytest.skip
        say("a small file system needs root and mount: run this test as root, in a container")
    with data_folder() as data:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM},mode=755", "none", data], check=True)
        try:
            with town(tmp_path, dict.fromkeys(("router", "supervisor", "worker"), 1), data=data) as place:
                yield place, data
        finally:
            subprocess.run(["umount", "--lazy", data], check=True)


def _fill(data: Path) -> Path:
    """Leave not one page free."""
    filler = data / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"\0" * 4096)
    return filler


def test_a_full_disk_is_waited_for(small_town: tuple[Town, Path]) -> None:
    place, data = small_town
    runs = some(50)
    asyncio.run(asked(place, runs))
    filler = _fill(data)
    more = some(400)
    asyncio.run(asked(place, more))
    router = place.services["router"][0].process
    unready(router)
    time.sleep(5)
    assert not router.ready(), "who has nothing to write (a supervisor here) has nothing to be unready for"
    filler.unlink()
    if place.database.gone():  # without room for its own log it stops: whoever runs it starts it again
        place.database.start()
    asyncio.run(over(place, runs | more, 90))
    place.await_ready()
    asyncio.run(audit(place.database.url))

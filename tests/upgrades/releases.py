"""Releases that were published: their code to run beside today's, and a database that each has left behind."""

import gzip
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import asyncpg
import orjson

JSON = Any
FOLDER = Path(__file__).parent / "releases"


def version(path: Path) -> list[int]:
    """Of a file that a release has left here."""
    return [int(part) for part in path.name.removesuffix(".sql.gz").split("-")[1].split(".")]


LAST = max(FOLDER.glob("*.whl"), key=version)
STORES = sorted(FOLDER.glob("*.sql.gz"), key=version)


def unpacked(wheel: Path, folder: Path) -> str:
    """The release's code as a folder for `PYTHONPATH`, where it comes before what is installed."""
    with zipfile.ZipFile(wheel) as content:
        content.extractall(folder)
    found = run("import anabranch; print(anabranch.__file__)", {"PYTHONPATH": str(folder)}).strip()
    assert found.startswith(str(folder)), f"the code of {wheel.name} is not what runs, but {found}"
    return str(folder)


def run(code: str, environment: Mapping[str, str], *arguments: str) -> str:
    """What a program prints; raises with what it said when it fails."""
    command = [sys.executable, "-c", code, *arguments]
    ended = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
    assert ended.returncode == 0, f"{arguments} of {environment.get('PYTHONPATH')}: {ended.stdout}{ended.stderr}"
    return ended.stdout


def command(path: str, database_url: str, *arguments: str) -> str:
    """What `anabranch ...` of the release in this folder prints."""
    environment = {"PYTHONPATH": path, "ANABRANCH_DATABASE_URL": database_url}
    return run("from anabranch.cli.main import main; main()", environment, *arguments)


async def load(store: Path, database_url: str) -> dict[str, JSON]:
    """Put what a release has left into an empty database; says what there is, by name."""
    script, runs = left_behind(store)
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(script)
    finally:
        await connection.close()
    return runs


def left_behind(store: Path) -> tuple[str, dict[str, JSON]]:
    """The SQL, and the runs by name."""
    listed = store.with_name(store.name.replace(".sql.gz", ".json"))
    return gzip.decompress(store.read_bytes()).decode(), orjson.loads(listed.read_bytes())

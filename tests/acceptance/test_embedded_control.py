"""The embedded engine lives in one process; people and operators reach its runs from others, and when it is gone."""

import asyncio
import json
import re
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from anabranch import Orchestra
from anabranch.client.handle import RunHandle
from tests.acceptance import programs, scripted
from tests.acceptance.faces import MAIN, anabranch

JSON = Any
TEAM = {"nodes": ["Boss", "W1", "W2"], "edges": ["Boss <-> W1", "Boss <-> W2"], "entry": "Boss"}
SAY = {"next_action": "final_response", "final_response": "$request"}
SCRIPT = {
    "Boss": [{"next_action": "parallel_invoke", "agents": ["W1", "W2"]}, SAY],
    "W1": [{"next_action": "ask_user", "prompt": "which way?", "choices": ["left", "right"]}, SAY],
    "W2": [{"next_action": "ask_user", "prompt": "how many?", "schema": {"type": "integer"}}, SAY],
}
HINT = re.compile(r"anabranch respond (\S+) VALUE")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """No services: a data folder of one's own."""
    tmp_path.chmod(0o755)
    (tmp_path / "team.json").write_text(json.dumps(TEAM))
    return programs.environment({"ANABRANCH_DATA_DIR": str(tmp_path / "data")})


@asynccontextmanager
async def engine(environment: dict[str, str], *arguments: object) -> AsyncIterator[Process]:
    """`anabranch run` or `anabranch dev`, the process that the engine is in."""
    command = [*MAIN, *map(str, arguments), "--agents", scripted.__file__]
    process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=PIPE, stderr=PIPE)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def said(process: Process, pattern: str) -> str:
    """The first group of the next line on stderr that matches."""
    assert process.stderr is not None
    async with asyncio.timeout(60):
        async for line in process.stderr:
            if found := re.search(pattern, line.decode()):
                return found.group(found.lastindex or 0)
    raise AssertionError(f"the process ended without saying {pattern!r}")


def a_run(environment: dict[str, str]) -> Any:
    """The engine of one run that asks two people."""
    file = Path(environment["ANABRANCH_DATA_DIR"]).with_name("team.json")
    return engine(environment, "run", file, "--task", "t", "--context", json.dumps({"script": SCRIPT}))


async def asks(process: Process) -> dict[str, str]:
    """Ids of the two questions, by prompt, as the progress of the run shows them."""
    found: dict[str, str] = {}
    for _ in range(2):
        prompt = await said(process, r"asks: (.*\?)")
        found[prompt] = await said(process, HINT.pattern)
    return found


async def test_a_run_in_another_process_is_answered_and_steered(environment: dict[str, str]) -> None:
    tell = partial(anabranch, environment=environment)
    async with a_run(environment) as process:
        ids = await asks(process)
        way, many = ids["which way?"], ids["how many?"]
        assert {r["request_id"] for r in (await tell("inbox", "--json")).json} == {way, many}
        wrong = await tell("respond", many, "a lot")
        assert wrong.code == 2 and 'does not fit its schema: "a lot" is not of type "integer"' in wrong.err
        assert (await tell("pause", "last", "--json")).json["accepted"] is True
        assert (await tell("checkpoint", "create", "last", "here")).code == 0
        (row,) = (await tell("checkpoint", "list", "last", "--json")).json
        assert row["name"] == "here"
        assert (await tell("respond", many, "7")).out == f"request {many} is answered\n"
        forked = (await tell("fork", row["run_id"], "--at", "here", "--json")).json["run_id"]
        await judge_fork(tell, forked, way, many)
        assert (await tell("resume", row["run_id"])).code == 0
        assert (await tell("respond", way, "left")).code == 0
        out, _ = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 0
        assert [(r["agent"], r["result"]) for r in json.loads(out)] == [("W1", "left"), ("W2", 7)]


async def judge_fork(tell: Any, forked: str, way: str, many: str) -> None:
    """The fork has the questions of its past under their ids, and answers of its own."""
    ambiguous = await tell("respond", way, "right")
    assert ambiguous.code == 2 and "more than one open question matches" in ambiguous.err and "--run" in ambiguous.err
    assert (await tell("respond", way, "right", "--run", forked)).code == 0
    assert (await tell("respond", many, "8", "--run", forked)).code == 0
    assert "run completed" in (await tell("watch", forked)).out
    shown = (await tell("show", forked, "--json")).json
    assert [(r["agent"], r["result"]) for r in shown["result"]] == [("W1", "right"), ("W2", 8)]


async def test_a_command_that_nobody_is_there_to_take_is_kept_for_the_next_engine(environment: dict[str, str]) -> None:
    tell = partial(anabranch, environment=environment)
    async with a_run(environment) as process:
        ids = await asks(process)
        process.kill()
        await process.wait()
    kept = await tell("respond", ids["how many?"], "3")
    assert kept.code == 0 and kept.out.startswith("kept: no engine runs on this data folder")
    assert (await tell("show", "last", "--json")).json["status"] == "waiting"
    async with engine(environment, "dev") as process:
        await said(process, "ready")
        assert (await tell("cancel", "last", "--branch", "b0.f1.b0")).code == 0
        assert "run completed" in (await tell("watch", "last")).out
        (boss, left, stayed) = (await tell("trace", "last", "--json")).json["branches"]
        assert [b["status"] for b in (boss, left, stayed)] == ["completed", "cancelled", "completed"]
        assert stayed["result"] == 3
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 40) == 0


async def asked(handle: RunHandle) -> list[dict[str, JSON]]:
    """The run's two questions, once both are open."""
    async for event in handle.events():
        if event["type"] == "UserInputRequested" and len(found := await handle.requests()) == 2:
            return found
    raise AssertionError("the run ended without asking")


async def test_a_handle_steers_a_run_of_its_own_process(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANABRANCH_DATABASE_URL", database_url)
    monkeypatch.delenv("ANABRANCH_AMQP_URL", raising=False)
    handle = await Orchestra.submit("t", TEAM, {"script": SCRIPT})
    way, many = sorted(await asked(handle), key=lambda row: str(row["agent"]))
    await handle.pause()
    await handle.checkpoint("here")
    await handle.respond(7, many["request_id"])
    await handle.respond("left")
    assert await handle.status() == "paused" and await handle.requests() == []
    await handle.resume()
    result = await handle.result()
    assert [(r["agent"], r["result"]) for r in result.final_response] == [("W1", "left"), ("W2", 7)]
    forked = await handle.fork("here")
    assert [r["request_id"] for r in await forked.requests()] == [way["request_id"], many["request_id"]]
    await forked.cancel()
    assert (await forked.result()).status == "cancelled" and await forked.requests() == []

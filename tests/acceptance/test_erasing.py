"""A run is erased while the services that know it are up: what it was about is gone from them too, its shape is not."""

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest

from tests.acceptance import dump, programs, scripted
from tests.acceptance.faces import anabranch
from tests.acceptance.stage import AskedRun, Stage, replayed, stage

JSON = Any
TEAM = {"nodes": ["A", "B"], "edges": ["A <-> User", "A -> B"], "entry": "A", "metadata": {"hush": "hush"}}
SCRIPT = {
    "A": [
        {"next_action": "ask_user", "prompt": {"hush": "hush"}, "choices": ["hush", "no"], "schema": {"const": "hush"}},
        [{"raise": "ValueError", "message": "hush"},
         {"next_action": "invoke_agent", "action_input": "B", "content": "hush", "context_updates": {"hush": "hush"}}],
    ],
    "B": [[{"raise": "RecoverableError", "message": "hush"}], {"reply": ["hush"]}],
}  # fmt: skip


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, database_url: str, amqp_url: str) -> None:
    monkeypatch.setenv("ANABRANCH_DATABASE_URL", database_url)
    monkeypatch.setenv("ANABRANCH_AMQP_URL", amqp_url)


async def a_run(on: Stage) -> AskedRun:
    """One that says secrets everywhere, to its end."""
    more = {"labels": {"hush": "hush"}, "config": {"retry": {"base_delay": 0, "non_retryable": ["hush"]}}}
    run = await on.ask(TEAM, SCRIPT, task={"hush": "hush"}, **more)
    assert (await run.answer(await run.question(), "hush"))["accepted"] is True
    assert (await run.answer(await run.question("error"), {"decision": "retry", "request": "hush"}))["accepted"] is True
    assert (await run.tell("run.checkpoint", name="here"))["accepted"] is True
    return run


async def shape(run: AskedRun) -> JSON:
    """What an erasure leaves."""
    steps = [(s["step_id"], s["agent"], s["status"], s["attempt"], s["action"]) for s in await run.rows("steps")]
    row = await run.row()
    kept = ("status", "total_steps", "branch_count", "started_at", "finished_at", "result_count")
    return steps, [row[name] for name in kept], len(await run.rows("user_requests"))


async def test_services_that_know_the_run_tell_nothing_of_it_any_more(
    database_url: str, amqp_url: str, tmp_path: Path, environment: None
) -> None:
    async with stage(database_url, amqp_url, tmp_path) as on:
        run = await a_run(on)
        waiting = await anabranch("erase", run.id, "--yes")
        assert waiting.code == 2 and "cancel it first" in waiting.err, waiting
        assert (await run.answer(await run.question("error"), "abort"))["accepted"] is True
        await run.seen()
        before = await shape(run)
        assert "hush" in await dump.database(database_url)
        assert (await anabranch("erase", run.id)).err.startswith("anabranch: nothing was erased")
        assert "hush" in await dump.database(database_url)
        done = await anabranch("erase", run.id, "--yes", "--by", "officer", "--reason", "art. 17", "--json")
        assert list(done.json["erased"]) == [run.id] and done.json["copies"] == []
        assert await shape(run) == before
        await ask_again(on, run)
        assert (await anabranch("erase", run.id, "--yes")).out == f"run {run.id} was erased already\n"
        for command in ("show", "trace", "events"):
            assert "hush" not in (await anabranch(command, run.id)).out
        stored = await dump.database(database_url)
        assert "hush" not in stored and "art. 17" in stored and "officer" in stored
        assert (await anabranch("projections", "rebuild", "--json")).json == {"runs": 1}
        assert await shape(run) == before and await replayed(database_url) == []


async def ask_again(on: Stage, run: AskedRun) -> None:
    """Router and supervisor had the run's state in memory."""
    fork = await run.tell("run.fork", at=3)
    assert fork["accepted"] is False and "was erased" in fork["reason"]
    await run.result("step.completed", "b0#1", 1, response="late")
    await run.recorded("StepResultDiscarded")
    body = {"run_id": run.id, "task": {"hush": "hush"}, "topology": TEAM}
    (asked,) = await on.client.publish("run.requested", [orjson.dumps(body)])
    await on.client.until(lambda: asked in on.client.answers, 30)
    assert "was erased" in on.client.answers[asked]["reason"]


@pytest.fixture
def team(tmp_path: Path) -> Path:
    """A topology in a folder that the embedded server can reach."""
    tmp_path.chmod(0o755)
    file = tmp_path / "team.json"
    file.write_text(json.dumps({"nodes": ["A", "B"], "edges": ["A -> B"]}))
    return file


async def test_the_embedded_database_is_erased_too(team: Path) -> None:
    environment = programs.environment({"ANABRANCH_DATA_DIR": str(team.with_name("data"))})
    script = json.dumps({"script": {"A": ["hush"]}, "name": "hush"})
    arguments = ("run", team, "--task", "hush", "--context", script, "--agents", scripted.__file__, "--json")
    run_id = (await anabranch(*arguments, environment=environment)).json["run_id"]
    said = await anabranch("events", run_id, "--json", environment=environment)
    assert "hush" in said.out
    done = await anabranch("erase", run_id[:18], "--yes", "--json", environment=environment)
    assert done.json["erased"][run_id] > 0 and done.json["copies"] == []
    assert "hush" not in (await anabranch("events", run_id, "--json", environment=environment)).out
    verified = await anabranch("projections", "verify", "--json", environment=environment)
    assert verified.json == {"equal": True, "differences": []}
    unknown = await anabranch("erase", str(uuid4()), "--yes", environment=environment)
    assert unknown.code == 2 and "no run matches" in unknown.err

"""Pause, resume, cancel, checkpoint and fork: from Python, from the command line and by raw AMQP."""

import asyncio
import os
import signal
from typing import Any
from uuid import uuid4

import orjson
import pytest

from anabranch import CommandRefused, Orchestra, state_manager
from anabranch_contracts.errors import AnabranchError
from tests.acceptance.faces import FACES, MAIN, Refused, Steered, anabranch, submit
from tests.acceptance.stage import Stage
from tests.acceptance.tables import Row

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("addresses")]
JSON = Any
CHAIN = {"nodes": ["A", "B", "C"], "edges": ["A -> B", "B -> C"]}
TEAM = {"nodes": ["Boss", "W1", "W2"], "edges": ["Boss <-> W1", "Boss <-> W2"], "entry": "Boss"}
GATE = {"wait_for": "gate"}
SAY = {"next_action": "final_response", "final_response": "$request"}
WAITING = {"A": ["from A"], "B": [GATE], "C": ["$request"]}


async def waited(stage: Stage, statement: str, *parameters: JSON) -> JSON:
    """The answer to a question to the database, once it is anything."""
    async with asyncio.timeout(30):
        while not (found := await stage.tables.value(statement, *parameters)):  # noqa: ASYNC110 - SQL has no signal
            await asyncio.sleep(0.02)
    return found


@pytest.mark.parametrize("by", FACES)
async def test_a_paused_run_starts_nothing_and_goes_on_when_it_is_told_to(scripted_house: Stage, by: str) -> None:
    face = FACES[by]
    run = await submit(scripted_house, CHAIN, WAITING)
    running = await run.run.begun("B")
    await face.pause(run)
    await run.handle.pause()  # once more changes nothing
    running.go("from B")
    assert [e["branch_id"] for e in await run.run.recorded("BranchHeld")] == ["b0"]
    assert [s["status"] for s in await run.run.rows("steps")] == ["completed", "completed"]
    assert await run.handle.status() == "paused"
    await face.resume(run)
    await run.handle.resume()
    assert await run.outcome() == ("completed", "from B")
    assert len(await run.run.recorded("RunPaused")) == len(await run.run.recorded("RunResumed")) == 1


@pytest.mark.parametrize("by", FACES)
async def test_a_cancelled_run_stops_its_agent_and_a_late_result_is_recorded_as_discarded(
    scripted_house: Stage, by: str
) -> None:
    run = await submit(scripted_house, CHAIN, WAITING)
    running = await run.run.begun("B")
    await FACES[by].cancel(run)
    await running.gone(5)
    await run.handle.cancel()
    result = await run.handle.result()
    assert (result.status, result.success, result.total_steps) == ("cancelled", False, 2)
    assert [s["status"] for s in await run.run.rows("steps")] == ["completed", "cancelled"]
    late = {"run_id": run.id, "branch_id": "b0", "step_id": running.step_id, "attempt": 1, "response": "too late"}
    late["usage"] = {"input_tokens": 5}
    await scripted_house.client.publish("step.completed", [orjson.dumps(late)])
    (discarded,) = await run.run.recorded("StepResultDiscarded")  # the agent's own, had it gone on, would be another
    assert discarded["step_id"] == "b0#2" and discarded["reason"] == "run is cancelled"
    assert discarded["usage"]["input_tokens"] == 5
    assert await run.handle.status() == "cancelled"


async def test_the_command_line_says_where_there_is_nothing_to_command(scripted_house: Stage) -> None:
    run = await submit(scripted_house, CHAIN, WAITING)
    running = await run.run.begun("B")
    unknown = await anabranch("cancel", run.id, "--branch", "b7")
    assert (unknown.code, unknown.err.splitlines()[0]) == (2, f"anabranch: run {run.id} has no branch 'b7'")
    running.go("from B")
    assert await run.outcome() == ("completed", "from B")
    for command in ("cancel", "pause", "resume"):
        late = await anabranch(command, run.id)
        assert (late.code, late.err.splitlines()[0]) == (2, f"anabranch: run {run.id} is completed already")


@pytest.mark.parametrize("by", FACES)
async def test_one_branch_is_cancelled_and_the_others_go_on(scripted_house: Stage, by: str) -> None:
    script = {"Boss": [{"next_action": "parallel_invoke", "agents": ["W1", "W2"]}, SAY], "W1": [GATE], "W2": [GATE]}
    run = await submit(scripted_house, TEAM, script)
    stopped, kept = await run.run.begun("W1"), await run.run.begun("W2")
    await FACES[by].cancel(run, "b0.f1.b0")
    await stopped.gone(5)
    kept.go("two")
    status, records = await run.outcome()
    assert status == "completed"
    assert [(r["agent"], r["status"], r.get("result")) for r in records] == [
        ("W1", "cancelled", None),
        ("W2", "completed", "two"),
    ]
    assert [b["status"] for b in await run.run.rows("branches")] == ["completed", "cancelled", "completed"]


@pytest.mark.parametrize("by", FACES)
async def test_a_checkpoint_names_a_version_once(scripted_house: Stage, by: str) -> None:
    face = FACES[by]
    run = await submit(scripted_house, CHAIN, WAITING)
    running = await run.run.begun("B")
    version = await run.handle.version()
    await face.checkpoint(run, "before B")
    with pytest.raises(Refused, match=f"checkpoint 'before B' exists at version {version}; choose another name"):
        await face.checkpoint(run, "before B")
    with pytest.raises(CommandRefused, match="choose another"):
        await run.handle.checkpoint("7")
    (row,) = (await anabranch("checkpoint", "list", run.id, "--json")).json
    assert (row["name"], row["version"], row["run_id"]) == ("before B", version, run.id)
    (stored,) = await run.run.rows("checkpoints")
    assert str(stored["checkpoint_id"]) == row["checkpoint_id"]
    running.go("from B")
    assert await run.outcome() == ("completed", "from B")


async def branched(run: Steered, forked: str) -> tuple[JSON, list[Row]]:
    """What a fork came to, and its events since it began."""
    result = await Orchestra.resume(forked)
    new = Steered(run.handle, type(run.run)(forked, run.run.stage))
    events = await new.run.rows("events")
    begun = next(i for i, event in enumerate(events) if event["type"] == "RunForked")
    assert events[begun]["data"]["source"] == run.id
    return (result.status, result.final_response), events[begun:]


def steps(events: list[Row], kind: str) -> list[str]:
    """Ids of the steps that events of a kind speak of."""
    return [event["data"]["step_id"] for event in events if event["type"] == kind]


@pytest.mark.parametrize("by", FACES)
async def test_a_fork_starts_at_a_version_a_name_or_a_step(scripted_house: Stage, by: str) -> None:
    run = await submit(scripted_house, CHAIN, WAITING)
    running = await run.run.begun("B")
    await run.handle.checkpoint("at B")
    running.go("from B")
    assert await run.outcome() == ("completed", "from B")
    for at, still_there in ((await run.handle.version(), []), ("at B", ["b0#2", "b0#3"]), ("b0#3", ["b0#3"])):
        forked = await FACES[by].fork(run, at)
        if "b0#2" in still_there:
            (await scripted_house.gate.begun(forked, "B")).go("from B")
        outcome, since = await branched(run, forked)
        assert outcome == ("completed", "from B") and steps(since, "StepCompleted") == still_there
        assert not {"b0#1", "b0#2", "b0#3"} - set(still_there) & set(steps(since, "StepRequested"))
    with pytest.raises(Refused, match=r"'nowhere' is no checkpoint and no step of run"):
        await FACES[by].fork(run, "nowhere")
    with pytest.raises(CommandRefused, match=r"version 999 is not one of 1 to \d+"):
        await run.handle.fork(999)


async def test_a_fork_may_have_another_context_and_another_topology(scripted_house: Stage) -> None:
    script = {"A": ["from A"], "B": [{"heard": "$request", "context": "$context"}]}
    run = await submit(scripted_house, CHAIN, {**script, "C": ["$request"]})
    assert (await run.outcome())[1]["heard"] == "from A"
    shorter = {"nodes": ["A", "B"], "edges": ["A -> B"]}
    forked = await run.handle.fork("b0#2", shorter, {"script": script, "colour": "red"})
    result = await forked.result()
    assert result.final_response["context"]["colour"] == "red" and result.total_steps == 2
    row = await run.run.stage.tables.run(str(forked.run_id))
    assert (str(row["forked_from"]), row["context"]["colour"]) == (run.id, "red")
    assert [node["name"] for node in row["topology"]["nodes"]] == ["A", "B"]


async def test_orchestra_resume_goes_on_with_a_paused_run(scripted_house: Stage) -> None:
    run = await submit(scripted_house, CHAIN, WAITING)
    running = await run.run.begun("B")
    await run.handle.pause()
    running.go("from B")
    await run.run.recorded("BranchHeld")
    result = await Orchestra.resume(run.id)
    assert (result.status, result.final_response, result.run_id) == ("completed", "from B", run.id)
    assert [s.agent_name for s in result.branch_results[0].execution_trace] == ["A", "B", "C"]


async def test_orchestra_resume_starts_a_new_run_from_a_checkpoint(scripted_house: Stage) -> None:
    """As the seed writes it: `create_checkpoint`, `restore_checkpoint`, `Orchestra.resume(state, topology)`."""
    run = await submit(scripted_house, CHAIN, WAITING)
    running = await run.run.begun("B")
    checkpoint_id = await state_manager.create_checkpoint(session_id=run.id, checkpoint_name="before_analysis")
    running.go("from B")
    assert await run.outcome() == ("completed", "from B")
    state = await state_manager.restore_checkpoint(checkpoint_id)
    assert (str(state.run_id), state.name) == (run.id, "before_analysis")
    resuming = asyncio.create_task(Orchestra.resume(state, CHAIN))
    new = await waited(scripted_house, "SELECT run_id FROM anabranch.runs WHERE forked_from = $1", run.id)
    (await scripted_house.gate.begun(str(new), "B")).go("another B")
    result = await resuming
    assert (result.status, result.final_response, result.run_id) == ("completed", "another B", str(new))
    assert result.total_steps == 3 and await run.handle.status() == "completed"


UNKNOWN = {
    "run.cancel": {},
    "run.pause": {},
    "run.resume": {},
    "run.checkpoint": {"name": "x"},
    "run.fork": {"at": 1},
    "user.provided": {"request_id": str(uuid4()), "value": 1},
}


async def test_commands_to_an_unknown_run_are_parked_with_their_reason_and_answered(scripted_house: Stage) -> None:
    nobody = str(uuid4())
    for key, body in UNKNOWN.items():
        told = await scripted_house.client.command(key, run_id=nobody, **body)
        assert told["accepted"] is False and told["reason"] == f"run {nobody} is unknown", (key, told)
    shown = [row for row in (await anabranch("parked", "list", "--json")).json if nobody in row["body"]]
    assert {row["routing_key"]: row["reason"] for row in shown} == dict.fromkeys(UNKNOWN, f"run {nobody} is unknown")


async def test_a_command_that_cannot_be_read_is_refused_with_its_reason(scripted_house: Stage) -> None:
    run = await submit(scripted_house, CHAIN, WAITING)
    running = await run.run.begun("B")
    for face in FACES.values():
        with pytest.raises(Refused, match="name: String should have at least 1 character"):
            await face.checkpoint(run, "")
    misspelt = await run.run.tell("run.cancel", branch="b0")
    assert not misspelt["accepted"] and "branch: Extra inputs are not permitted" in misspelt["reason"]
    running.go("still there")
    assert await run.outcome() == ("completed", "still there")


async def test_a_request_that_cannot_be_read_is_refused_and_not_waited_for(scripted_house: Stage) -> None:
    task: JSON = "the bottom"
    for _ in range(120):
        task = [task]
    run = await submit(scripted_house, CHAIN, {}, task=task)
    with pytest.raises(CommandRefused, match="nested deeper than 100"):
        await run.handle.result()


async def test_the_command_line_names_a_run_that_it_cannot_find(scripted_house: Stage) -> None:
    nobody = str(uuid4())
    commands = (["cancel", nobody], ["checkpoint", "create", nobody, "x"], ["fork", nobody, "--at", "1"])
    for said in await asyncio.gather(*(anabranch(*command) for command in commands)):
        assert said.code == 2 and said.err.startswith(f"anabranch: no run matches '{nobody}'"), said


async def test_a_handle_on_an_unknown_run_cannot_be_had(scripted_house: Stage) -> None:
    with pytest.raises(AnabranchError, match="is not known"):
        await Orchestra.resume(uuid4())


async def test_a_broker_that_is_not_there_ends_with_3_and_an_interrupt_with_130(scripted_house: Stage) -> None:
    run = await submit(scripted_house, CHAIN, WAITING)
    running = await run.run.begun("B")
    lost = await anabranch("pause", run.id, environment={**os.environ, "ANABRANCH_AMQP_URL": "amqp://127.0.0.1:1"})
    assert lost.code == 3 and lost.err.startswith("anabranch: RabbitMQ cannot be reached") and "doctor" in lost.err
    watching = await asyncio.create_subprocess_exec(*MAIN, "watch", run.id, stdout=asyncio.subprocess.PIPE)
    assert watching.stdout is not None and b"run started" in await watching.stdout.readline()
    watching.send_signal(signal.SIGINT)
    async with asyncio.timeout(30):
        assert await watching.wait() == 130
    running.go("from B")
    assert await run.outcome() == ("completed", "from B")

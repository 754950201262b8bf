"""Questions to people: answered from Python, from the command line and by raw AMQP, in any order, each once."""

import json
from typing import Any
from uuid import UUID, uuid4

import aio_pika
import pytest

from anabranch import CommandRefused
from anabranch_contracts.errors import AnabranchError
from tests.acceptance.faces import FACES, Refused, anabranch, submit
from tests.acceptance.stage import Stage

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("addresses")]
JSON = Any
ONE = {"nodes": ["A"], "edges": []}
TALK = {"nodes": ["A", "User"], "edges": ["A <-> User"]}
PASS_ON = {"nodes": ["A", "User", "B"], "edges": ["A -> User", "User -> B"]}
HELPED = {"nodes": ["A", "B", "User"], "edges": ["A -> B", "A <-> User"]}
TEAM = {"nodes": ["Boss", "W1", "W2", "W3", "W4"], "edges": [f"Boss <-> W{i}" for i in (1, 2, 3, 4)], "entry": "Boss"}
WHOLE = {"type": "integer", "minimum": 1}


def ask(prompt: JSON, **terms: JSON) -> JSON:
    """What an agent returns to ask a person."""
    return {"next_action": "ask_user", "prompt": prompt, **terms}


def then(question: JSON, *more: JSON) -> JSON:
    """A script: A asks, and what was said is its answer."""
    return {"A": [question, *more, {"next_action": "final_response", "final_response": "$request"}]}


@pytest.mark.parametrize("by", FACES)
async def test_a_question_is_answered(scripted_house: Stage, by: str) -> None:
    question = ask({"text": "how many?"}, schema=WHOLE)
    run = await submit(scripted_house, ONE, then(question))
    asked = await run.run.question()
    assert (asked["agent"], asked["prompt"], asked["schema"]) == ("A", {"text": "how many?"}, WHOLE)
    (shown,) = await run.handle.requests()
    assert {k: shown[k] for k in ("prompt", "schema", "kind")} == {k: asked[k] for k in ("prompt", "schema", "kind")}
    assert str(shown["request_id"]) == asked["request_id"] and await run.handle.status() == "waiting"
    await FACES[by].respond(run, asked["request_id"], 7)
    assert await run.outcome() == ("completed", 7)
    assert await run.handle.requests() == []
    (row,) = await run.run.rows("user_requests")
    assert (row["status"], row["value"]) == ("answered", 7) and row["answered_at"] > row["requested_at"]


async def test_one_message_from_any_amqp_client_is_an_answer(
    scripted_house: Stage, house_urls: tuple[str, str]
) -> None:
    run = await submit(scripted_house, ONE, then(ask("go on?", choices=["yes", "no"])))
    asked = await run.run.question()
    body = {"run_id": run.id, "request_id": asked["request_id"], "value": "yes"}
    async with await aio_pika.connect(house_urls[1]) as connection:
        exchange = await (await connection.channel()).get_exchange("anabranch", ensure=False)
        await exchange.publish(aio_pika.Message(json.dumps(body).encode()), "user.provided")
    assert await run.outcome() == ("completed", "yes")


async def test_the_inbox_shows_questions_to_people_and_to_programs(scripted_house: Stage) -> None:
    run = await submit(scripted_house, ONE, then(ask("left or right?", choices=["left", "right"])))
    asked = await run.run.question()
    (row,) = [r for r in (await anabranch("inbox", "--json")).json if r["run_id"] == run.id]
    assert {k: row[k] for k in ("request_id", "prompt", "choices", "agent", "kind")} == {
        k: asked[k] for k in ("request_id", "prompt", "choices", "agent", "kind")
    }
    table = await anabranch("inbox")
    assert table.code == 0 and asked["request_id"][:8] in table.out and "left or right?" in table.out
    answered = await anabranch("respond", asked["request_id"][:13], "left")  # the beginning of the id, plain text
    assert answered.code == 0 and f"request {asked['request_id']} is answered" in answered.out
    assert await run.outcome() == ("completed", "left")


@pytest.mark.parametrize("by", FACES)
async def test_a_refused_answer_says_why_and_the_question_stays_open(scripted_house: Stage, by: str) -> None:
    face = FACES[by]
    run = await submit(scripted_house, ONE, then(ask("how many?", schema=WHOLE)))
    request_id = (await run.run.question())["request_id"]
    with pytest.raises(Refused, match="does not fit its schema: 0 is less than the minimum of 1"):
        await face.respond(run, request_id, 0)
    assert [str(r["request_id"]) for r in await run.handle.requests()] == [request_id]
    assert await run.handle.status() == "waiting"
    await face.respond(run, request_id, 1)
    assert await run.outcome() == ("completed", 1)
    with pytest.raises(Refused, match="is answered already" if by == "cli" else "is not open"):
        await face.respond(run, request_id, 2)
    assert [event["value"] for event in await run.run.recorded("UserInputProvided")] == [1]


@pytest.mark.parametrize("by", FACES)
async def test_an_answer_that_is_no_choice_and_a_question_nobody_asked_are_refused(
    scripted_house: Stage, by: str
) -> None:
    face = FACES[by]
    run = await submit(scripted_house, ONE, then(ask("which?", choices=["this", "that"])))
    request_id = (await run.run.question())["request_id"]
    with pytest.raises(Refused, match=r'is not one of \["this","that"\]'):
        await face.respond(run, request_id, "other")
    with pytest.raises(Refused, match="no question matches" if by == "cli" else "never asked"):
        await face.respond(run, str(uuid4()), "this")
    await face.respond(run, request_id, "that")
    assert await run.outcome() == ("completed", "that")


async def test_several_open_at_once_are_answered_in_reverse_order(scripted_house: Stage) -> None:
    """One face after the other; results stand in tree order whatever the order of the answers."""
    workers = ["W1", "W2", "W3", "W4"]
    say = {"next_action": "final_response", "final_response": "$request"}
    script = {w: [ask(f"{w}?"), say] for w in workers}
    script["Boss"] = [{"next_action": "parallel_invoke", "agents": workers}, say]
    run = await submit(scripted_house, TEAM, script)
    asked = {(await run.run.question())["agent"] for _ in workers}
    found = {r["agent"]: str(r["request_id"]) for r in await run.handle.requests()}
    assert asked == set(workers) == set(found) and await run.handle.status() == "waiting"
    with pytest.raises(AnabranchError, match="4 user requests are open"):
        await run.handle.respond("whom?")
    for by, worker in zip(["amqp", "cli", "python"], reversed(workers), strict=False):
        await FACES[by].respond(run, found[worker], f"to {worker}")
    await run.handle.respond("to W1")  # the only one left need not be named
    status, records = await run.outcome()
    assert status == "completed"
    assert [(r["agent"], r["result"]) for r in records] == [(w, f"to {w}") for w in workers]


async def test_a_user_node_asks_and_the_answer_returns_to_who_asked(scripted_house: Stage) -> None:
    question = {"prompt": "name?", "choices": ["Ann", "Bob"]}
    invoke = {"next_action": "invoke_agent", "action_input": {"agent": "User", "request": question}}
    run = await submit(scripted_house, TALK, then(invoke))
    asked = await run.run.question()
    assert (asked["prompt"], asked["choices"]) == ("name?", ["Ann", "Bob"])
    with pytest.raises(CommandRefused, match="is not one of"):
        await run.handle.respond("Cid")
    await run.handle.respond("Bob")
    assert await run.outcome() == ("completed", "Bob")
    (branch,) = await run.run.rows("branches")
    assert branch["type"] == "user_interaction"
    assert [s["agent"] for s in await run.run.rows("steps")] == ["A", "A"]


async def test_a_user_node_with_one_way_on_passes_the_answer_on(scripted_house: Stage) -> None:
    run = await submit(scripted_house, PASS_ON, {"A": ["is this right?"], "B": [{"heard": "$request"}]})
    assert (await run.run.question())["prompt"] == "is this right?"
    await run.handle.respond({"no": "it is not"})
    assert await run.outcome() == ("completed", {"heard": {"no": "it is not"}})


async def test_nobody_answers_in_time_and_the_default_is_the_answer(scripted_house: Stage) -> None:
    question = ask("quick?", choices=["yes", "no"], timeout=0.5, default="no")
    run = await submit(scripted_house, ONE, then(question))
    asked = await run.run.question()
    assert asked["expires_at"]
    assert await run.outcome() == ("completed", "no")
    assert [e["by"] for e in await run.run.recorded("UserInputProvided")] == ["timeout"]
    with pytest.raises(CommandRefused, match="is not open"):
        await run.handle.respond("yes", asked["request_id"])


async def test_an_answer_in_time_leaves_no_timer_behind(scripted_house: Stage) -> None:
    run = await submit(scripted_house, TALK, then(ask("first?", timeout=0.4, default="late"), ask("second?")))
    await run.run.question()
    await run.handle.respond("in time")
    await run.run.question()  # only A's second question is open, and no clock runs for it
    passed = "SELECT count(*) FROM anabranch.timers WHERE run_id = $1 AND due_at IS NOT NULL"
    assert await scripted_house.tables._connection.fetchval(passed, UUID(run.id)) == 0
    await run.handle.respond("done")
    assert await run.outcome() == ("completed", "done")
    said = [(e["value"], e["by"]) for e in await run.run.recorded("UserInputProvided", 2)]
    assert said == [("in time", "person"), ("done", "person")]


@pytest.mark.parametrize(
    ("decision", "outcome"),
    [
        ("retry", ("completed", ["go", 2])),
        ({"decision": "retry", "request": "anew"}, ("completed", ["anew", 2])),
        ("skip", ("completed", {"heard": None})),
        ("abort", ("failed", None)),
    ],
)
async def test_a_person_decides_about_a_failure(scripted_house: Stage, decision: JSON, outcome: JSON) -> None:
    final = {"next_action": "final_response", "final_response": ["$request", "$attempt"]}
    script = {"A": [[{"raise": "RecoverableError", "message": "lost"}, final]], "B": [{"heard": "$request"}]}
    run = await submit(scripted_house, HELPED, script)
    asked = await run.run.question("error")
    assert "A failed: lost" in asked["prompt"]["what"] and asked["choices"] == ["retry", "skip", "abort"]
    with pytest.raises(CommandRefused, match="is no decision"):
        await run.handle.respond("perhaps")
    text = decision if isinstance(decision, str) else json.dumps(decision)
    assert (await anabranch("respond", asked["request_id"], text, "--json")).json["accepted"] is True
    assert await run.outcome() == outcome


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("respond", "ffffffff", "yes"), "no question matches 'ffffffff'"),
        (("respond", "ffffffff"), "--value requires an argument"),
        (("inbox", "--limit", "some"), 'unable to convert "some" into int'),
    ],
)
async def test_wrong_usage_ends_with_2_in_one_line_and_a_hint(
    scripted_house: Stage, arguments: tuple[str, ...], reason: str
) -> None:
    said = await anabranch(*arguments)
    first, hint = said.err.splitlines()
    assert said.code == 2 and reason in first and "`anabranch " in hint and not said.out

"""Semantics 8: an answer is taken once and only where it fits; till then the request stays open."""

from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import permutations
from threading import Thread
from typing import Any
from uuid import UUID

import pytest

from anabranch.domain.turn import Refused
from anabranch_contracts import reply_builders as build
from tests.unit.domain.runs import Run

JSON = Any
ALONE = {"nodes": ["A"]}
HUB = {"nodes": ["H", "W"], "edges": ["H <-> W"], "entry": "H"}


def ask(**terms: JSON) -> Run:
    """A run whose agent has asked a person."""
    run = Run(ALONE)
    run.reply("A", build.ask_user("well?", **terms))
    return run


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_several_are_open_and_answered_in_any_order_each_once(order: tuple[int, ...]) -> None:
    run = Run(HUB)
    run.reply("H", build.parallel_invoke(["W"] * 3))
    for step_id in list(run.asked):
        run.reply("W", build.ask_user("well?"), step_id)
    requests = {r["branch_id"]: identity for identity, r in run.open.items()}
    assert len(requests) == len(set(requests.values())) == 3
    for i in order:
        request = requests[f"b0.f1.b{i}"]
        run.answer(i, request)
        with pytest.raises(Refused, match="is not open"):
            run.answer(i, request)
    assert not run.open and [s["request"] for _, s in sorted(run.asked.items())] == [0, 1, 2]
    for step in list(run.asked.values()):
        run.reply("W", step["request"], step["step_id"])
    assert [r["result"] for r in run.at("H")["request"]] == [0, 1, 2] and run.replayed() == run.state


FITTING = [
    ({}, None),
    ({}, {"any": "thing"}),
    ({"choices": ["a", 1, None, {"k": [2]}]}, {"k": [2]}),
    ({"choices": ["a", 1, None]}, None),
    ({"choices": [1, 2]}, 1.0),
    ({"choices": [True]}, True),
    ({"schema": {"type": "integer", "minimum": 1}}, 1),
    ({"schema": {"type": "string", "pattern": "^a+$"}}, "aa"),
    ({"schema": {"$ref": "#/$defs/n", "$defs": {"n": {"type": "null"}}}}, None),
    ({"choices": [1, "x"], "schema": {"type": "string"}}, "x"),
]


@pytest.mark.parametrize(("terms", "value"), FITTING)
def test_an_answer_that_fits_is_taken(terms: JSON, value: JSON) -> None:
    run = ask(**terms)
    run.answer(value)
    assert run.at("A")["request"] == value and run.last("UserInputProvided").by == "person"
    (row,) = run.rows("user_requests")
    assert (row["status"], row["value"]) == ("answered", value) and row["answered_at"] == run.now
    assert run.replayed() == run.state


UNFITTING = [
    ({"choices": ["a", 1]}, "b", r'is not one of \["a",1\]'),
    ({"choices": ["a", 1]}, ["a"], "is not one of"),
    ({"choices": [1, 2]}, True, "is not one of"),
    ({"choices": [False]}, 0, "is not one of"),
    ({"schema": {"type": "integer", "minimum": 1}}, 0, "does not fit its schema"),
    ({"schema": {"type": "integer"}}, "1", "does not fit its schema"),
    ({"schema": {"properties": {"n": {"type": "integer"}}}}, {"n": "x"}, "schema at n"),
    ({"schema": {"type": "string", "pattern": "^(a+)+$"}}, "a" * 40 + "!", "does not fit|cannot be checked"),
    ({"choices": [1, "x"], "schema": {"type": "string"}}, 1, "does not fit its schema"),
]


@pytest.mark.parametrize(("terms", "value", "why"), UNFITTING)
def test_an_answer_that_does_not_fit_is_refused_with_the_reason_and_the_request_stays_open(
    terms: JSON, value: JSON, why: str
) -> None:
    run = ask(**terms)
    version, before = run.state.version, run.open
    with pytest.raises(Refused, match=why):
        run.answer(value)
    assert run.state.version == version and run.open == before and not run.asked
    assert run.rows("user_requests")[0]["status"] == "open"


def test_a_schema_is_never_fetched_from_elsewhere() -> None:
    fetched: list[str] = []

    class Schemas(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            fetched.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"type": "integer"}')

    with HTTPServer(("127.0.0.1", 0), Schemas) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        run = Run(ALONE)
        run.reply("A", build.ask_user("well?", schema={"$ref": f"http://127.0.0.1:{server.server_port}/x"}))
        server.shutdown()
    assert not fetched and not run.open and "only '#/...', inside itself" in run.at("A")["steering"]


def test_an_answer_to_what_was_never_asked_is_refused() -> None:
    run = ask()
    with pytest.raises(Refused, match="is not open: it was answered, cancelled, or never asked"):
        run.answer("yes", str(UUID(int=99)))
    assert len(run.open) == 1

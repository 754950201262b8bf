"""Which run a request is for and which message a delivery is, so that a redelivery is the same and no other is."""

from typing import Any
from uuid import UUID

import orjson
import pytest

from anabranch.runtime.ports import Delivery
from anabranch.runtime.reading import Unreadable, read

JSON = Any
RUN = UUID(int=7)
REQUEST = {"task": "t", "topology": {"nodes": ["A"]}}
COMMANDS = {
    "run.cancel": {"run_id": str(RUN)},
    "run.checkpoint": {"run_id": str(RUN), "name": "here"},
    "user.provided": {"run_id": str(RUN), "request_id": str(UUID(int=1)), "value": 1},
    "run.fork": {"run_id": str(RUN), "at": 1},
    "run.pause": {"run_id": str(RUN)},
    "run.resume": {"run_id": str(RUN)},
}


def delivery(key: str, body: JSON, message_id: str | None = None) -> Delivery:
    return Delivery(key, orjson.dumps(body), message_id)


@pytest.mark.parametrize("message_id", ["0199c5a0-0000-7000-8000-000000000001", "order 7", "#", "ä" * 300])
def test_a_request_that_names_no_run_is_one_run_however_often_it_is_delivered(message_id: str) -> None:
    found = {read(delivery("run.requested", REQUEST, message_id)).run_id for _ in range(3)}
    assert len(found) == 1 and found != {read(delivery("run.requested", REQUEST, f"{message_id}2")).run_id}


def test_a_request_whose_message_has_no_id_either_is_a_run_of_its_own_each_time() -> None:
    assert len({read(delivery("run.requested", REQUEST)).run_id for _ in range(3)}) == 3


def test_a_request_is_for_the_run_that_it_names() -> None:
    assert read(delivery("run.requested", {**REQUEST, "run_id": str(RUN)}, "order 7")).run_id == RUN


@pytest.mark.parametrize("key", COMMANDS)
@pytest.mark.parametrize("message_id", ["0199c5a0-0000-7000-8000-000000000001", "order 7"])
def test_a_command_that_was_given_an_id_is_the_same_each_time(key: str, message_id: str) -> None:
    assert len({read(delivery(key, COMMANDS[key], message_id)).message_id for _ in range(3)}) == 1


@pytest.mark.parametrize("key", COMMANDS)
def test_without_one_pause_and_resume_are_meant_anew_and_all_others_are_the_same(key: str) -> None:
    found = {read(delivery(key, COMMANDS[key])).message_id for _ in range(3)}
    assert len(found) == (3 if key in ("run.pause", "run.resume") else 1)


def test_a_fork_that_names_no_run_is_one_run_however_often_it_is_delivered() -> None:
    assert len({read(delivery("run.fork", COMMANDS["run.fork"], "order 7")).run_id for _ in range(3)}) == 1


def test_fields_of_a_newer_release_are_ignored_where_services_speak_and_refused_of_commands() -> None:
    """In a command a field that is not known could change what is meant."""
    step = {"run_id": str(RUN), "branch_id": "b0", "step_id": "b0#1", "attempt": 1, "response": 1, "mood": "new"}
    assert read(Delivery("step.completed", orjson.dumps(step))).run_id == RUN
    with pytest.raises(Unreadable, match="mood"):
        read(Delivery("run.cancel", orjson.dumps({"run_id": str(RUN), "mood": "new"})))

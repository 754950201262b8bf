"""Nothing that an agent or a person wrote reaches a terminal as a command."""

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.cli.output import as_json, short, table
from anabranch.client.progress import SAYINGS, line
from anabranch.client.terminal import UNSAFE, tame, tame_json, tame_lines
from anabranch_contracts.catalog import EVENTS
from tests.golden.samples import paths

JSON = Any
EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\x7f\u202egnp.exe\x00\r\nfake line\x08"


def spoilt(value: JSON) -> JSON:
    """The value with every text in it followed by an escape sequence."""
    if isinstance(value, dict):
        return {name: spoilt(part) for name, part in value.items()}
    if isinstance(value, list):
        return [spoilt(part) for part in value]
    return value + EVIL if isinstance(value, str) else value


@given(st.text())
def test_what_is_tame_has_no_commands_and_one_line(text: str) -> None:
    assert not UNSAFE.search(tame(text)) and len(tame(text + EVIL).splitlines()) <= 1
    assert not UNSAFE.search(tame_lines(text + EVIL).replace("\n", "").replace("\t", ""))


@given(st.recursive(st.text() | st.just(EVIL), lambda one: st.lists(one) | st.dictionaries(st.text(), one)))
def test_json_says_the_same(value: JSON) -> None:
    text = tame_json(orjson.dumps(value).decode())
    assert orjson.loads(text) == value and not UNSAFE.search(text)


@pytest.mark.parametrize("path", paths(), ids=lambda p: p.stem)
def test_no_event_can_command_the_terminal_that_it_is_shown_on(path: Any) -> None:
    kind = path.stem.split(".")[0]
    data = spoilt(orjson.loads(path.read_bytes()))
    said = line({"type": kind, "data": data, "recorded_at": datetime.now(UTC)})
    assert said is None or not UNSAFE.search(said.replace("\n", ""))
    assert said is None or kind == "UserInputRequested" or "\n" not in said
    assert "\x1b" not in short(data) and "\u202e" not in short(data)


def test_every_saying_is_tried() -> None:
    assert SAYINGS.keys() <= EVENTS.keys() <= {p.stem.split(".")[0] for p in paths()}


@pytest.mark.parametrize("json", [False, True])
def test_tables_are_tame(capsys: pytest.CaptureFixture[str], json: bool) -> None:
    row = {"agent": EVIL, "prompt": {"text": EVIL, EVIL: [EVIL]}}
    table([row], ("agent", "prompt"), json)
    as_json(row)
    said = capsys.readouterr().out
    assert not UNSAFE.search(said.replace("\n", "")) and "fake line" in said

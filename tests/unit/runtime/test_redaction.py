"""What stands under a configured name is left out, however the name is written and wherever it stands."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anabranch.runtime.redaction import MARK, UNREADABLE, Redaction, needed_by_messages
from anabranch.runtime.settings import SettingsError, load

JSON = Any
HUSH = Redaction(["api_key", "Пароль"])
ASCII = Redaction(["api_key"])
LEAVES = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5)
NAMES = st.sampled_from(["a", "api_key", "API-Key", "apikey", "api_key2", "пароль", "message"])
VALUES = st.recursive(LEAVES, lambda one: st.lists(one, max_size=3) | st.dictionaries(NAMES, one, max_size=4))


def secrets_in(value: JSON, redaction: Redaction) -> list[JSON]:
    """What stands under the names of a value."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    own = [part for name, part in value.items() if redaction.hides(name)] if isinstance(value, dict) else []
    return own + [found for part in inside for found in secrets_in(part, redaction)]


@given(VALUES)
def test_nothing_is_left_at_any_depth_and_again_changes_nothing(value: JSON) -> None:
    for redaction in (HUSH, ASCII):
        body = redaction.body(orjson.dumps(value))
        assert set(map(str, secrets_in(orjson.loads(body), redaction))) <= {MARK}
        assert redaction.body(body) == body


@pytest.mark.parametrize(
    "body",
    [
        b'{"api_key": "hush"}',
        b'{"API-KEY": {"in": ["hush"]}}',
        b'{"apiKey": 5, "api_key": "hush"}',
        b'{"api_key": 1, "api_key": "hush"}',
        b'{"\\u0061pi_key": "hush"}',
        '{"ПАРОЛЬ": "hush"}'.encode(),
        b'{"\\u043f\\u0430\\u0440\\u043e\\u043b\\u044c": "hush"}',
        b'[[[{"x": [{"Api_Key": "hush"}]}]]]',
        b'{"error": "denied: api_key=hush"}',
        b'{"error": {"message": "Api-Key: Bearer hush, and {\\"api_key\\": \\"hush\\"}"}}',
        b'{"api_key": "hush',
        b'{"api_key": NaN, "x": "hush"}',
        b'\xff{"api_key": "hush"}',
        b'{"a":' * 600 + b'{"api_key": "hush"}' + b"}" * 600,
        b"[" * 5000 + b'{"api_key": "hush"}',
    ],
)
def test_however_it_is_written(body: bytes) -> None:
    clean = HUSH.body(body)
    assert b"hush" not in clean and b"redacted" in clean


@pytest.mark.parametrize("body", [b'{"api_key": "hush', b"\xffapi_key"])
def test_what_cannot_be_read_is_left_out_whole_only_where_it_may_hold_something(body: bytes) -> None:
    assert ASCII.body(body) == UNREADABLE
    assert ASCII.body(b'{"key": "plain') == b'{"key": "plain'


def test_what_mentions_nothing_is_not_even_read() -> None:
    body = b'{ "key" : "value" }'
    assert ASCII.body(body) is body and Redaction().body(b'{"api_key": 1}') == b'{"api_key": 1}'
    assert not Redaction() and ASCII


def test_texts_are_left_alone_unless_they_say_what_went_wrong() -> None:
    body = orjson.dumps({"content": "the api_key: is secret", "error": "the api_key: is secret"})
    assert orjson.loads(ASCII.body(body)) == {
        "content": "the api_key: is secret",
        "error": f"the api_key: {MARK} secret",
    }


@pytest.mark.parametrize("name", ["task", "run-id", "RunID", "next_action", "nodes", "message", "-"])
def test_names_that_messages_are_made_of_are_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert needed_by_messages([name, "token"]) == [name]
    monkeypatch.setenv("ANABRANCH_REDACT_KEYS", f"token, {name}")
    with pytest.raises(SettingsError, match=r"ANABRANCH_REDACT_KEYS is .*; allowed: comma-separated names"):
        load()


def test_the_recommended_names_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    names = (
        "password,passwd,secret,client_secret,token,access_token,refresh_token,api_key,authorization,cookie,private_key"
    )
    monkeypatch.setenv("ANABRANCH_REDACT_KEYS", names)
    assert all(map(load().redaction.hides, names.split(",")))

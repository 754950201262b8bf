"""A schema is a text: whatever it names, nobody goes there."""

import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from anabranch.domain.schemas import Unusable, mismatch, prepare

JSON = Any


class Listener(ThreadingHTTPServer):
    """Counts who comes."""

    def __init__(self) -> None:
        self.visits: list[str] = []
        super().__init__(("127.0.0.1", 0), Answering)


class Answering(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Listener)
        self.server.visits.append(self.path)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"type": "string"}')

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def listener() -> Iterator[Listener]:
    server = Listener()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def schemas(url: str, file: str) -> dict[str, JSON]:
    """Ways to name something elsewhere."""
    return {
        "a reference": {"$ref": url},
        "in capitals": {"$ref": url.replace("http", "HTTP")},
        "without a scheme": {"$ref": url.removeprefix("http:")},
        "a dynamic reference": {"$dynamicRef": f"{url}#a"},
        "a recursive reference": {"$schema": "https://json-schema.org/draft/2019-09/schema", "$recursiveRef": url},
        "relative to an identity": {"$id": url, "$ref": "other.json"},
        "inside a definition": {"$defs": {"a": {"$ref": url}}, "$ref": "#/$defs/a"},
        "inside properties": {"properties": {"a": {"items": {"$ref": url}}}},
        "a meta schema": {"$schema": url, "type": "string"},
        "a vocabulary": {"$schema": url, "$vocabulary": {url: True}},
        "draft 4": {"$schema": "http://json-schema.org/draft-04/schema#", "id": url, "$ref": "other"},
        "a file": {"$ref": file},
        "a meta schema in a file": {"$schema": file},
        "a format": {"format": "uri", "$comment": url},
    }


def test_nothing_is_fetched_whatever_a_schema_names(listener: Listener, tmp_path: Path) -> None:
    secret = tmp_path / "schema.json"
    secret.write_text('{"const": "hush"}')
    for schema in schemas(f"http://127.0.0.1:{listener.server_port}/schema", secret.as_uri()).values():
        with suppress(Unusable):
            prepare(schema)
        said = mismatch({"a": [1]}, schema)
        assert said is None or "hush" not in said
    assert listener.visits == []
    assert mismatch("hush", {"$ref": secret.as_uri()}) is not None


def test_the_listener_would_have_noticed(listener: Listener) -> None:
    from urllib.request import urlopen

    with urlopen(f"http://127.0.0.1:{listener.server_port}/here") as answer:
        assert answer.status == 200
    assert listener.visits == ["/here"]

"""Nobody adds a field to an event without saying whether it goes when a run is erased."""

from dataclasses import fields
from typing import Any, get_type_hints

import orjson
import pytest

from anabranch_contracts.catalog import EVENTS
from anabranch_contracts.erasure import KEPT, KINDS, PAYLOADS, SHAPE
from tests.golden.samples import paths

HARMLESS = (int, float, bool, int | None, float | None)


def judged(kind: str, field: str) -> int:
    """How many rules there are for the field."""
    erased, kept = field in PAYLOADS.get(kind, {}), (kind, field) in KEPT
    return erased + kept + (field in SHAPE and not erased and not kept)


@pytest.mark.parametrize("kind", EVENTS)
def test_every_field_goes_or_is_declared_to_tell_nothing(kind: str) -> None:
    hints = get_type_hints(EVENTS[kind])
    undeclared = [f.name for f in fields(EVENTS[kind]) if hints[f.name] not in HARMLESS and judged(kind, f.name) != 1]
    assert not undeclared, f"say in anabranch_contracts.erasure what becomes of {undeclared}"


@pytest.mark.parametrize("path", paths(), ids=lambda p: p.stem)
def test_so_does_every_field_that_was_ever_stored(path: Any) -> None:
    kind = path.stem.split(".")[0]
    stored = orjson.loads(path.read_bytes())
    assert not [name for name, value in stored.items() if not isinstance(value, int | float) and not judged(kind, name)]


def test_what_is_declared_exists() -> None:
    names = {(kind, f.name) for kind, cls in EVENTS.items() for f in fields(cls)}
    assert {(kind, field) for kind, listed in PAYLOADS.items() for field in listed} | KEPT.keys() <= names
    assert SHAPE.keys() <= {name for _, name in names}
    assert {what for listed in PAYLOADS.values() for what in listed.values()} == KINDS.keys()

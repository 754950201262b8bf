"""Stored types: our own names and schema versions, and the way from bytes to today's events and back."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any, get_args

import orjson

from anabranch_contracts.errors import AnabranchError
from anabranch_contracts.events import Event
from anabranch_contracts.upcasters import UPCASTERS

EVENTS: dict[str, type[Any]] = {cls.__name__: cls for cls in get_args(Event)}
VERSIONS: dict[str, int] = {name: 1 + max((v for t, v in UPCASTERS if t == name), default=0) for name in EVENTS}
_FIELDS = {name: frozenset(f.name for f in fields(cls)) for name, cls in EVENTS.items()}
Upcaster = Callable[[dict[str, Any]], dict[str, Any]]


class UnknownEvent(AnabranchError):
    """The log holds a type, version or shape that this code does not know: a newer release wrote it."""


def encode(event: Event) -> tuple[str, int, bytes]:
    """Type, schema version and JSON of an event."""
    name = type(event).__name__
    return name, VERSIONS[name], orjson.dumps(event)


def decode(kind: str, schema_version: int, data: dict[str, Any]) -> Event:
    """Today's event from stored data of any known version; fields that are not known are ignored."""
    cls = EVENTS.get(kind)
    if cls is None or schema_version > VERSIONS[kind]:
        raise UnknownEvent(f"{kind} v{schema_version} is not known here; upgrade this service")
    for version in range(schema_version, VERSIONS[kind]):
        data = UPCASTERS[kind, version](data)
    known = _FIELDS[kind]
    try:
        event: Event = cls(**(data if data.keys() <= known else {k: v for k, v in data.items() if k in known}))
    except TypeError as error:  # a field is missing
        raise UnknownEvent(f"{kind} v{schema_version} is not known here in this shape: {error}") from None
    return event

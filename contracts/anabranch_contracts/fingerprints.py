"""What tells Python things apart by their content, the same in every process: no address, no order of a set."""

from collections.abc import Mapping
from hashlib import sha256
from types import CellType, CodeType
from typing import Any

DEEPEST = 8
PLAIN = (str, bytes, int, float, complex, type(None))


def fingerprint(*things: object) -> str:
    """12 hex digits of the things' content: functions by their code and what they hold, objects by their attributes."""
    return sha256(repr([_shown(thing, DEEPEST) for thing in things]).encode()).hexdigest()[:12]


def _shown(thing: Any, deep: int) -> object:
    if isinstance(thing, PLAIN):
        return thing
    if isinstance(thing, type) or not deep:
        return _home(thing if isinstance(thing, type) else type(thing))
    if isinstance(thing, list | tuple):
        return [_shown(one, deep - 1) for one in thing]
    if isinstance(thing, set | frozenset):
        return sorted(repr(_shown(one, deep - 1)) for one in thing)
    if isinstance(thing, Mapping):
        return [(_shown(name, deep - 1), _shown(part, deep - 1)) for name, part in thing.items()]
    return _home(type(thing)), [_shown(part, deep - 1) for part in _parts(thing)]


def _home(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _parts(thing: Any) -> list[object]:
    """What a thing consists of, where it is neither plain nor a collection."""
    if isinstance(thing, CellType):
        try:
            return [thing.cell_contents]
        except ValueError:  # nothing was put into it yet
            return []
    if isinstance(thing, CodeType):
        return [thing.co_code, thing.co_names, thing.co_consts]
    if hasattr(thing, "__func__"):
        return [thing.__func__, thing.__self__]
    if hasattr(thing, "__code__"):
        return [thing.__code__, thing.__defaults__, thing.__kwdefaults__, thing.__closure__]
    own = [getattr(thing, name, None) for name in ("func", "args", "keywords")]  # of a partial
    said = repr(thing)
    return [*own, vars(thing) if hasattr(thing, "__dict__") else "" if " at 0x" in said else said]

"""JSON Schemas of answers: prepared, guarded, checked.

The checker cannot be interrupted, so what could keep it busy without end is refused before: schemas that refer to
themselves, or unroll to more than `MAX_UNROLLED` parts, `MAX_VALUES` values or `MAX_DEEP` levels, and answers that are
too large: at all, or for the size of their schema. Why an answer does not fit is found out only where that is cheap:
the engine collects the reasons of every part of `anyOf`. Nothing is fetched, and patterns may not run away (the
engine bounds backtracking).
"""

from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import orjson

JSON = Any
MAX_SCHEMA, MAX_UNROLLED, MAX_VALUES, MAX_DEEP, MAX_CHECKED = 64 * 1024, 2000, 64 * 1024, 150, 256 * 1024
MAX_WORK, MAX_EXPLAINED = 50_000_000, 500_000
"""Values of the schema times bytes of the answer: some nanoseconds each to check, some microseconds to explain."""
MAX_BACKTRACKING = 10_000  # of one match of a pattern
DATA = {"const", "enum", "default", "example", "examples", "dependentRequired", "discriminator"}
"""Keywords that hold values and no schema."""
STORES = {"$defs", "definitions"}
"""Keywords whose parts are only there to be referred to."""
NAMED = {"properties", "patternProperties", "dependentSchemas", "dependencies"}
"""Keywords whose parts are schemas by names of the author's own."""


class Unusable(Exception):
    """The schema cannot be used; says why."""


def prepare(schema: JSON) -> tuple[Any, int]:
    """A validator, and how many values the schema has; raises `Unusable`."""
    text = orjson.dumps(schema, option=orjson.OPT_SORT_KEYS)
    if len(text) > MAX_SCHEMA:
        raise Unusable(f"the schema has {len(text)} bytes, the limit is {MAX_SCHEMA}")
    return _validator(text)


@lru_cache(maxsize=256)
def _validator(text: bytes) -> tuple[Any, int]:
    import jsonschema_rs  # only where a schema is used

    schema = orjson.loads(text)
    unrolling = _Unrolling(schema)
    unrolling.walk(schema, ())
    try:
        patterns = jsonschema_rs.FancyRegexOptions(backtrack_limit=MAX_BACKTRACKING)
        return jsonschema_rs.validator_for(schema, offline=True, pattern_options=patterns), unrolling.values
    except Exception as error:  # a schema that is none, or refers to what is not in it
        raise Unusable(f"the schema cannot be used: {' '.join(str(error).split())[:300]}") from None


class _Unrolling:
    """Counts the parts of a schema with everything that it refers to put in place."""

    def __init__(self, root: JSON) -> None:
        self._root = root
        old = isinstance(root, dict) and "draft-04" in str(root.get("$schema"))
        self._identities = ("$id", "id") if old else ("$id",)
        self.values = self._parts = self._deep = 0

    def walk(self, node: JSON, within: tuple[str, ...]) -> None:
        self._deep += 1
        if self._deep > MAX_DEEP:
            raise Unusable(f"the schema unrolls to more than {MAX_DEEP} levels; write it flat")
        self._count(1)
        for part in node if isinstance(node, list) else ():
            self.walk(part, within)
        if isinstance(node, dict):
            self._parts += 1
            if self._parts > MAX_UNROLLED:
                raise Unusable(f"the schema unrolls to more than {MAX_UNROLLED} parts; ask for less at once")
            for key, part in node.items():
                self._keyword(key, part, within, node is self._root)
        self._deep -= 1

    def _count(self, values: int) -> None:
        self.values += values
        if self.values > MAX_VALUES:
            raise Unusable(f"the schema unrolls to more than {MAX_VALUES} values; ask for less at once")

    def _keyword(self, key: str, part: JSON, within: tuple[str, ...], at_root: bool) -> None:
        if key in ("$ref", "$dynamicRef", "$recursiveRef") and isinstance(part, str):
            self._follow(part, within)
        elif key in self._identities and not at_root:
            raise Unusable(f"the schema has {key!r} inside, which changes what others refer to; leave it out")
        elif key in NAMED and isinstance(part, dict):
            self.walk(list(part.values()), within)
        elif key in DATA:
            self._count(_values_in(part))
        elif key not in STORES and not key.startswith("x-"):
            self.walk(part, within)

    def _follow(self, reference: str, within: tuple[str, ...]) -> None:
        if reference in within:
            raise Unusable(f"the schema refers to itself at {reference[:100]!r}; write it flat")
        if not reference.startswith("#/"):
            raise Unusable(f"the schema refers to {reference[:100]!r}; only '#/...', inside itself, can be followed")
        self.walk(self._resolved(reference), (*within, reference))

    def _resolved(self, reference: str) -> JSON:
        node = self._root
        for part in unquote(reference[2:]).split("/"):
            name = part.replace("~1", "/").replace("~0", "~")
            try:
                node = node[int(name)] if isinstance(node, list) else node[name]
            except (KeyError, ValueError, IndexError, TypeError):
                raise Unusable(f"the schema has nothing at {reference[:100]!r}") from None
        return node


def _values_in(value: JSON) -> int:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(_values_in, inside))


def mismatch(value: JSON, schema: JSON) -> str | None:
    """Why a value does not fit a schema; None when it does."""
    try:
        validator, values = prepare(schema)
        size, most = len(orjson.dumps(value)), min(MAX_CHECKED, MAX_WORK // values)
        if size > most:
            return f"has {size} bytes; what is checked against this schema may have {most}"
        if validator.is_valid(value):
            return None
        return f"does not fit its schema{_why(validator, value) if size * values <= MAX_EXPLAINED else ''}"
    except Exception as error:  # the engine gave up on a pattern
        return f"cannot be checked: {str(error)[:300]}"


def _why(validator: Any, value: JSON) -> str:
    wrong = next(validator.iter_errors(value))
    where = "/".join(map(str, wrong.instance_path))
    return f"{f' at {where}' if where else ''}: {wrong.message[:500]}"

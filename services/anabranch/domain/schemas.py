"""JSON Schemas of answers: prepared, guarded, checked.

The checker cannot be interrupted, so what could keep it busy without end is refused before: schemas that refer to
themselves, or unroll to more than `MAX_UNROLLED` parts or deeper than `MAX_DEEP`, and answers larger than
`MAX_CHECKED`. Nothing is fetched, and patterns may not run away (the engine bounds backtracking).
"""

from functools import lru_cache
from typing import Any

import orjson

JSON = Any
MAX_SCHEMA, MAX_UNROLLED, MAX_DEEP, MAX_CHECKED = 64 * 1024, 2000, 150, 256 * 1024
DATA = {"const", "enum", "default", "examples", "dependentRequired", "$defs", "definitions"}
"""Keywords that hold no schema of their own place: values, and what is only there to be referred to."""
NAMED = {"properties", "patternProperties", "dependentSchemas", "dependencies"}
"""Keywords whose parts are schemas by names of the author's own."""


class Unusable(Exception):
    """The schema cannot be used; says why."""


def prepare(schema: JSON) -> Any:
    """A validator; raises `Unusable`."""
    text = orjson.dumps(schema, option=orjson.OPT_SORT_KEYS)
    if len(text) > MAX_SCHEMA:
        raise Unusable(f"the schema has {len(text)} bytes, the limit is {MAX_SCHEMA}")
    return _validator(text)


@lru_cache(maxsize=256)
def _validator(text: bytes) -> Any:
    import jsonschema_rs  # only where a schema is used

    schema = orjson.loads(text)
    _Unrolling(schema).walk(schema, ())
    try:
        return jsonschema_rs.validator_for(schema, offline=True)
    except Exception as error:  # a schema that is none, or refers to what is not in it
        raise Unusable(f"the schema cannot be used: {' '.join(str(error).split())[:300]}") from None


class _Unrolling:
    """Counts the parts of a schema with everything that it refers to put in place."""

    def __init__(self, root: JSON) -> None:
        self._root = root
        self._parts = self._deep = 0

    def walk(self, node: JSON, within: tuple[str, ...]) -> None:
        self._deep += 1
        if self._deep > MAX_DEEP:
            raise Unusable(f"the schema unrolls to more than {MAX_DEEP} levels; write it flat")
        for part in node if isinstance(node, list) else ():
            self.walk(part, within)
        if isinstance(node, dict):
            self._parts += 1
            if self._parts > MAX_UNROLLED:
                raise Unusable(f"the schema unrolls to more than {MAX_UNROLLED} parts; ask for less at once")
            for key, part in node.items():
                self._keyword(key, part, within, node is self._root)
        self._deep -= 1

    def _keyword(self, key: str, part: JSON, within: tuple[str, ...], at_root: bool) -> None:
        if key in ("$ref", "$dynamicRef", "$recursiveRef") and isinstance(part, str):
            self._follow(part, within)
        elif key in ("$id", "id") and not at_root:
            raise Unusable(f"the schema has {key!r} inside, which changes what others refer to; leave it out")
        elif key in NAMED and isinstance(part, dict):
            self.walk(list(part.values()), within)
        elif key not in DATA:
            self.walk(part, within)

    def _follow(self, reference: str, within: tuple[str, ...]) -> None:
        if reference in within:
            raise Unusable(f"the schema refers to itself at {reference[:100]!r}; write it flat")
        if not reference.startswith("#/"):
            raise Unusable(f"the schema refers to {reference[:100]!r}; only '#/...', inside itself, can be followed")
        self.walk(self._resolved(reference), (*within, reference))

    def _resolved(self, reference: str) -> JSON:
        node = self._root
        for part in reference[2:].split("/"):
            name = part.replace("~1", "/").replace("~0", "~")
            try:
                node = node[int(name)] if isinstance(node, list) else node[name]
            except (KeyError, ValueError, IndexError, TypeError):
                raise Unusable(f"the schema has nothing at {reference[:100]!r}") from None
        return node


def mismatch(value: JSON, schema: JSON) -> str | None:
    """Why a value does not fit a schema; None when it does."""
    if (size := len(orjson.dumps(value))) > MAX_CHECKED:
        return f"has {size} bytes; what is checked against a schema may have {MAX_CHECKED}"
    try:
        wrong = next(prepare(schema).iter_errors(value), None)
    except Exception as error:  # the engine gave up on a pattern
        return f"cannot be checked: {str(error)[:300]}"
    if wrong is None:
        return None
    where = "/".join(map(str, wrong.instance_path))
    return f"does not fit its schema{f' at {where}' if where else ''}: {wrong.message[:500]}"

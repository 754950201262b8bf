"""What must not be seen: the passwords of URLs in logs and errors, and what stands under configured names anywhere.

A name is compared without case, `-` and `_`: `api_key` is also `Api-Key` and `apiKey`. What stands under it becomes
`[redacted]` whatever it was, before anybody decides on it, so no state, event, table, reply or log ever has it, and
no agent either: hand over a reference to a secret, never the secret.
"""

import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import orjson

from anabranch_contracts.reserved import needed

JSON = Any
MARK = "[redacted]"
UNREADABLE = b"[redacted: it could not be read, and named something that is not to be kept]"
TEXTS = frozenset({"message", "error", "reason"})
"""Names whose texts say what went wrong: there a secret stands in a sentence, as in `login failed: password=...`."""
_USERINFO = re.compile(r"(://[^:/@\s]*:)\S*@")
_PARAMETER = re.compile(r"(password=)[^&\s]+", re.IGNORECASE)
_VALUE = r"""(?:(?:bearer|basic)\s+)?(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[^\s,;&})\]]+)"""


def redacted(text: str) -> str:
    """The text with the passwords of URLs left out; rather too much is hidden than too little."""
    return _PARAMETER.sub(r"\1***", _USERINFO.sub(r"\1***@", text))


def folded(name: str) -> str:
    """What two spellings of a name have in common."""
    return name.casefold().replace("-", "").replace("_", "")


def names_in(setting: str) -> list[str]:
    """The names of a comma-separated list."""
    return [name.strip() for name in setting.split(",") if name.strip()]


def needed_by_messages(names: Iterable[str]) -> list[str]:
    """Those of the names that messages themselves cannot do without."""
    kept = {folded(name) for name in needed()}
    return [name for name in names if folded(name) in kept or not folded(name)]


class Redaction:
    """Leaves out what stands under some names; false where there are none."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = frozenset(map(folded, names))
        self._known: dict[str, bool] = {}

    def __bool__(self) -> bool:
        return bool(self._names)

    def hides(self, name: str) -> bool:
        """Whether what stands under the name is left out."""
        if len(self._known) > 10_000:  # names come from outside
            self._known.clear()
        found = self._known.get(name)
        if found is None:
            found = self._known[name] = folded(name) in self._names
        return found

    def _mentions(self, body: bytes) -> bool:
        """Whether a name may occur; what is written in escapes is looked at closely."""
        if not self._names or b"\\u" in body or not all(name.isascii() for name in self._names):
            return bool(self._names)
        plain = body.lower().translate(None, b"-_")
        return any(name.encode() in plain for name in self._names)

    def body(self, body: bytes) -> bytes:
        """A JSON body without what is to be left out; one that cannot be read but may hold such is left out whole."""
        if not self._mentions(body):
            return body
        try:
            return orjson.dumps(self.value(orjson.loads(body)))
        except (orjson.JSONDecodeError, TypeError):  # TypeError: nested too deep to be written again
            return UNREADABLE

    def value(self, value: JSON) -> JSON:
        """The value, changed in place, at any depth."""
        stack = [value]
        while stack:
            node = stack.pop()
            if isinstance(node, list):
                stack.extend(part for part in node if isinstance(part, dict | list))
            elif isinstance(node, dict):
                stack.extend(self._object(node))
        return value

    def _object(self, node: dict[str, JSON]) -> list[JSON]:
        """Leave out what the object itself has; the parts that are to be looked at."""
        inside: list[JSON] = []
        for name, part in node.items():
            if self.hides(name):
                node[name] = MARK
            elif isinstance(part, dict | list):
                inside.append(part)
            elif isinstance(part, str) and name in TEXTS:
                node[name] = self.text(part)
        return inside

    def headers(self, headers: Mapping[str, Any]) -> Mapping[str, Any]:
        """The headers of a message."""
        if not any(map(self.hides, headers)):
            return headers
        return {name: MARK if self.hides(name) else value for name, value in headers.items()}

    def text(self, text: str) -> str:
        """A sentence or a traceback: what follows a name and `=` or `:`."""
        return self._said.sub(rf"\1{MARK}", text) if self._names else text

    @cached_property
    def _said(self) -> re.Pattern[str]:
        names = "|".join("[-_]?".join(map(re.escape, name)) for name in sorted(self._names))
        return re.compile(rf"""(?<![^\W_])((?:{names})\\*["']?\s*[=:]\s*)(?!\[redacted\]){_VALUE}""", re.IGNORECASE)


NOTHING = Redaction()

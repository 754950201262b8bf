"""What agents, people and models wrote, on somebody's terminal: their words may be shown, their commands not."""

import re

UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029\ufeff\ud800-\udfff]")
"""Control characters (the beginning of every escape sequence), and those that turn the direction of writing."""
_KEPT = frozenset("\n\t")


def tame(text: str) -> str:
    """A text in one line that can move no cursor, change no title and hide nothing."""
    return UNSAFE.sub("\ufffd", " ".join(text.split()))


def tame_lines(text: str) -> str:
    """The same with its lines."""
    return UNSAFE.sub(lambda found: found[0] if found[0] in _KEPT else "\ufffd", text)


def tame_json(text: str) -> str:
    """JSON that says the same: what could be a command is written as an escape."""
    return UNSAFE.sub(lambda found: found[0] if found[0] in _KEPT else f"\\u{ord(found[0]):04x}", text)

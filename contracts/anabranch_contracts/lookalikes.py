"""Names that only look like others: letters of other scripts, full width, blanks at the ends."""

from unicodedata import normalize

_LETTERS = {
    "a": "аαɑ", "d": "ԁɗᴅ", "e": "еεҽᴇ", "n": "ոпɴην", "r": "гʀᴦ", "s": "ѕꜱʂ", "t": "тτᴛ", "u": "υսᴜц",
}  # fmt: skip
_TABLE = str.maketrans({other: letter for letter, others in _LETTERS.items() for other in others})


def looks_like(name: str) -> str:
    """The name as it looks, in small Latin letters where those of the reserved names are imitated."""
    return normalize("NFKC", name).strip().casefold().translate(_TABLE)

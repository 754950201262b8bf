"""What commands print: JSON for machines, short tables for people."""

import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import orjson

from anabranch.client.terminal import tame, tame_json

JSON = Any
IDS = ("run_id", "request_id", "checkpoint_id", "message_id")
WIDEST = 1000


def as_json(value: JSON) -> None:
    """One JSON document on stdout."""
    text = orjson.dumps(value, default=str, option=orjson.OPT_INDENT_2)
    sys.stdout.write(tame_json(text.decode()) + "\n")


def table(rows: Sequence[dict[str, JSON]], columns: Sequence[str], json: bool) -> None:
    """Rows as a table with these columns, or whole as JSON."""
    if json:
        as_json([dict(row) for row in rows])
        return
    from rich.console import Console
    from rich.table import Table

    shown = Table(box=None, pad_edge=False, header_style="bold")
    lines = [[short(row.get(c)) for c in columns] for row in rows]
    for i, column in enumerate(columns):
        longest = max(len(column), *(len(line[i]) for line in lines), 0)
        least = min(longest, 36 if column in IDS else 10)
        shown.add_column(column, overflow="ellipsis", no_wrap=True, min_width=least)
    for line in lines:
        shown.add_row(*line)
    width = None if sys.stdout.isatty() else WIDEST  # what is piped is not cut
    Console(highlight=False, markup=False, width=width).print(shown)


def short(value: JSON, most: int = 100) -> str:
    """A value in one line."""
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, float):
        return f"{value:.3f}"
    is_json = isinstance(value, dict | list | bool)
    text = orjson.dumps(value, default=str).decode() if is_json else str(value)
    text = tame(text)
    return text if len(text) <= most else text[: most - 1] + "…"

"""The report's sections, and what the critic asks of it."""

from collections.abc import Callable
from typing import Any

JSON = Any


def _overview(s: dict[str, JSON]) -> str:
    return (
        f"{s['files']} files, {s['lines']:,} lines, {s['functions']:,} functions and {s['classes']:,} classes. "
        f"{s['docstring_coverage']:.0%} of functions and classes have a docstring."
    )


def _table(head: tuple[str, ...], rows: list[tuple[JSON, ...]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    return "\n".join([*lines, *(f"| {' | '.join(map(str, row))} |" for row in rows)])


def _hotspots(s: dict[str, JSON]) -> str:
    rows = [(f"`{h['name']}`", f"{h['file']}:{h['line']}", h["complexity"]) for h in s["hotspots"]]
    return _table(("function", "where", "complexity"), rows)


def _largest(s: dict[str, JSON]) -> str:
    return _table(("file", "lines"), [(f["file"], f["lines"]) for f in s["largest"]])


def _undocumented(s: dict[str, JSON]) -> str:
    return _table(("file", "without a docstring"), [(f["file"], f["missing"]) for f in s["undocumented"]])


def _imports(s: dict[str, JSON]) -> str:
    return _table(("module", "imported by files"), [(f"`{name}`", count) for name, count in s["imports"]])


def _advice(s: dict[str, JSON]) -> str:
    advice = []
    if s["hotspots"]:
        worst = s["hotspots"][0]
        where = f"`{worst['name']}` ({worst['file']}:{worst['line']})"
        advice.append(f"1. Split {where}: {worst['complexity']} paths lead through it.")
    if s["undocumented"] and s["undocumented"][0]["missing"]:
        gap = s["undocumented"][0]
        advice.append(f"{len(advice) + 1}. Start documenting with {gap['file']}: {gap['missing']} gaps.")
    return "\n".join(advice) or "Nothing stands out."


SECTIONS: dict[str, Callable[[dict[str, JSON]], str]] = {
    "Overview": _overview,
    "Hotspots": _hotspots,
    "Largest files": _largest,
    "Documentation gaps": _undocumented,
    "Imports": _imports,
    "What to do first": _advice,
}


def draft(title: str, summary: dict[str, JSON], sections: list[str]) -> str:
    """Markdown with these sections."""
    parts = [f"# {title}"] + [f"## {name}\n\n{SECTIONS[name](summary)}" for name in sections]
    return "\n\n".join(parts) + "\n"


CRITERIA = (
    ("Hotspots", "say which functions are too complex, with file and line"),
    ("Documentation gaps", "say where docstrings are missing"),
    ("What to do first", "end with what to do first"),
)


def missing(text: str) -> list[dict[str, str]]:
    """Criteria that the text does not meet."""
    return [{"section": name, "why": why} for name, why in CRITERIA if f"## {name}\n" not in text]

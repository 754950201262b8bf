"""Tables of what a sitting found: ratios first, then bars, then medians with their range."""

from collections import defaultdict
from collections.abc import Iterator
from statistics import median
from typing import Any

from ops.bench.contest import BARS, FIGURES, OURS, SUBJECTS, WORKLOADS, Bar, Figure

JSON = Any
Series = dict[tuple[str, str, str], list[float]]


def series(found: JSON) -> Series:
    """The figures of all rounds, by subject, workload and name; the slope of W3 is taken round by round."""
    kept: Series = defaultdict(list)
    per_child: dict[tuple[str, int], dict[str, float]] = defaultdict(dict)
    for line in found["found"]:
        for name, value in line.get("figures", {}).items():
            kept[line["subject"], line["workload"], name].append(value)
            if name == "ms_per_child":
                per_child[line["subject"], line["round"]][line["workload"]] = value
    for (subject, _), sizes in per_child.items():
        if {"W3b", "W3c"} <= sizes.keys():
            kept[subject, "W3c", "slope"].append(sizes["W3c"] / sizes["W3b"])
    return kept


def middles(found: JSON) -> dict[tuple[str, str, str], float]:
    """Medians."""
    return {key: median(values) for key, values in series(found).items()}


def text(found: JSON) -> str:
    """All tables."""
    kept = series(found)
    subjects = [s for s in SUBJECTS if any(key[0] == s for key in kept)]
    rounds = max((line["round"] for line in found["found"]), default=0)
    at, args = found["machine"], found["args"]
    head = (
        f"{at['cores']} cores, load {at['load'][0]:.1f} at the start; medians of {rounds} rounds, scale {args['scale']}"
    )
    parts = [head, _ratios(kept, subjects), _bars(kept), _medians(kept, subjects), _notes(found)]
    return "\n\n".join(filter(None, parts))


def _title(figure: Figure) -> str:
    return f"{figure.workload} {figure.label}"


def _grid(head: list[str], rows: list[list[str]]) -> str:
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = [head, ["-" * w for w in widths], *rows]
    return "\n".join(
        "  ".join(c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    )


def _ratios(kept: Series, subjects: list[str]) -> str:
    """How many times better anabranch is than each of the others; below 1 it is behind."""
    others = [s for s in subjects if s != OURS]
    rows = [[_title(f), *(_ratio(kept, f, s) for s in others)] for f in FIGURES if (OURS, f.workload, f.name) in kept]
    return f"anabranch is so many times better than\n{_grid(['', *others], rows)}" if rows and others else ""


def _ratio(kept: Series, figure: Figure, subject: str) -> str:
    ours, theirs = kept[OURS, figure.workload, figure.name], kept.get((subject, figure.workload, figure.name))
    return f"{figure.ahead(median(ours), median(theirs)):.2f}" if theirs else "-"


def _bars(kept: Series) -> str:
    rows = [row for bar in BARS for row in _bar(kept, bar)]
    return "bars\n" + _grid(["", "against", "bar", "ratio", ""], rows) if rows else ""


def _bar(kept: Series, bar: Bar) -> Iterator[list[str]]:
    figure = next(f for f in FIGURES if (f.workload, f.name) == (bar.workload, bar.name))
    ours, theirs = (kept.get((s, bar.workload, bar.name)) for s in (OURS, bar.against))
    if ours and theirs:
        ratio = figure.ahead(median(ours), median(theirs))
        yield [
            _title(figure),
            bar.against,
            f"{bar.least:.2f}",
            f"{ratio:.2f}",
            "reached" if ratio >= bar.least else "missed",
        ]


def _medians(kept: Series, subjects: list[str]) -> str:
    rows = [
        [_title(f), *(_range(kept.get((s, f.workload, f.name))) for s in subjects)]
        for f in FIGURES
        if any((s, f.workload, f.name) in kept for s in subjects)
    ]
    return "medians \u00b1 half of the range\n" + _grid(["", *subjects], rows) if rows else ""


def _range(values: list[float] | None) -> str:
    """The median, and half of the range in per cent of it."""
    if not values:
        return "-"
    middle = median(values)
    spread = 50 * (max(values) - min(values)) / middle if middle else 0
    return readable(middle) + (f" \u00b1{spread:.0f}%" if len(values) > 1 else "")


def readable(value: float) -> str:
    """Three digits that say something."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _notes(found: JSON) -> str:
    """What is not in the tables, and why."""
    lines = [f"not installed: {name}: {why}" for name, why in found["missing"].items()]
    lines += [
        f"{line['subject']} failed {line['workload']} ({WORKLOADS[line['workload']]}): {line['failed']}"
        for line in found["found"]
        if "failed" in line
    ]
    return "\n".join(lines)

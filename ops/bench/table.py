"""Tables of what a sitting found: ratios first, then bars, then medians with their range."""

from collections import defaultdict
from collections.abc import Iterator
from statistics import median
from typing import Any

from ops.bench.bars import BARS, Bar
from ops.bench.contest import FIGURES, OURS, SUBJECTS, WORKLOADS, Figure
from ops.bench.processor import BROKER, DATABASE, OTHERS, SESSIONS, Shares

JSON = Any
LIMITED, FULL = "W1", 0.9
SEVERAL = (BROKER, SESSIONS, DATABASE, OTHERS)  # who can be on several cores at once
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


def undisturbed(found: JSON, most: float) -> JSON:
    """Without the figures during which strangers had more than this share of the cores; what is left out is counted."""
    kept = [line for line in found["found"] if sum(line.get("processor", {}).get(OTHERS, [])) <= most]
    return {**found, "found": kept, "disturbed": len(found["found"]) - len(kept)}


def text(found: JSON) -> str:
    """All tables."""
    kept = series(found)
    subjects = [s for s in SUBJECTS if any(key[0] == s for key in kept)]
    rounds = max((line["round"] for line in found["found"]), default=0)
    at, args = found["machine"], found["args"]
    head = (
        f"{at['cores']} cores, load {at['load'][0]:.1f} at the start; medians of {rounds} rounds, scale {args['scale']}"
    )
    if found.get("disturbed"):
        head += f"; {found['disturbed']} measurements left out, for strangers had too much of the cores"
    parts = [head, _ratios(kept, subjects), _bars(kept), _medians(kept, subjects), _limits(found), _notes(found)]
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
    return "bars\n" + _grid(["", "of", "against", "bar", "is", ""], rows) if rows else ""


def _bar(kept: Series, bar: Bar) -> Iterator[list[str]]:
    """Its row, where there is something to say: one who has no figure has not reached it."""
    figure = bar.figure
    ours, theirs = (kept.get((s, bar.workload, bar.name)) for s in (bar.who, bar.against or bar.who))
    if ours and theirs:
        value = figure.ahead(median(ours), median(theirs)) if bar.against else median(ours)
        said = [f"{'>=' if bar.least else '<='} {readable(bar.bound)}", readable(value)]
        yield [_title(figure), bar.who, bar.against or "-", *said, "reached" if bar.reached(value) else "missed"]


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


def _limits(found: JSON) -> str:
    """Who had the processor while W1 lasted, and so what there was too little of."""
    shares: dict[str, list[Shares]] = defaultdict(list)
    for line in found["found"]:
        if line["workload"] == LIMITED and line.get("processor"):
            shares[line["subject"]].append(line["processor"])
    rows = [_limit(s, middle(shares[s]), found["machine"]["cores"]) for s in SUBJECTS if s in shares]
    head = f"{LIMITED}: per cent of all cores"
    return f"{head}\n{_grid(['', 'limited by', 'in all', 'of that'], rows)}" if rows else ""


def middle(rounds: list[Shares]) -> Shares:
    """Medians of the shares, process by process."""
    return {
        kind: [median(one) for one in zip(*(r[kind] for r in rounds if kind in r), strict=False)]
        for kind in dict.fromkeys(kind for r in rounds for kind in r)
    }


def _limit(subject: str, shares: Shares, cores: int) -> list[str]:
    busy = sum(map(sum, shares.values()))
    kinds = sorted(shares, key=lambda kind: -sum(shares[kind]))
    told = (f"{kind} {100 * sum(shares[kind]):.0f}" for kind in kinds if sum(shares[kind]) >= 0.005)
    return [subject, limit(shares, cores), f"{100 * busy:.0f}", ", ".join(told)]


def limit(shares: Shares, cores: int) -> str:
    """What there was too little of: cores, one core for who runs on one only, or neither; then all waited."""
    if sum(map(sum, shares.values())) >= FULL:
        return "the cores"
    alone = {kind: max(parts) for kind, parts in shares.items() if parts and kind not in SEVERAL}
    most = max(alone, key=lambda kind: alone[kind], default="")
    return f"{most} on one core" if most and alone[most] * cores >= FULL else "waiting"


def _notes(found: JSON) -> str:
    """What is not in the tables, and why."""
    lines = [f"not installed: {name}: {why}" for name, why in found["missing"].items()]
    lines += [
        f"{line['subject']} failed {line['workload']} ({WORKLOADS[line['workload']]}): {line['failed']}"
        for line in found["found"]
        if "failed" in line
    ]
    return "\n".join(lines)

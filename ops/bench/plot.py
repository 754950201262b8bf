"""A picture of what a sitting found: `python -m ops.bench.plot RESULTS.json OTHERS` writes an SVG beside it."""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from ops.bench.contest import FIGURES, OURS, SUBJECTS, WORKLOADS, Figure
from ops.bench.table import Series, middles, readable, series, undisturbed

JSON = Any
COLOURS = {
    OURS: "#1f6f8b",
    "embedded": "#7fb3c4",
    "anabranch x2": "#7fb3c4",
    "anabranch x4": "#7fb3c4",
    "floor": "#9a9a9a",
}
COLUMNS, WIDTH, HEIGHT = 3, 5.2, 2.6
matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "anabranch"  # the same figures give the same file


def panel(axes: Axes, figure: Figure, kept: Series, middle: dict[Any, float]) -> None:
    """One figure: a bar a subject, its median and range; the best on top."""
    named = [s for s in SUBJECTS if (s, figure.workload, figure.name) in middle]
    named.sort(key=lambda s: middle[s, figure.workload, figure.name], reverse=not figure.more)
    values = [middle[s, figure.workload, figure.name] for s in named]
    spread = [kept[s, figure.workload, figure.name] for s in named]
    low = [v - min(s) for v, s in zip(values, spread, strict=True)]
    high = [max(s) - v for v, s in zip(values, spread, strict=True)]
    colours = [COLOURS.get(s, "#d6a77a") for s in named]
    axes.barh(named, values, xerr=[low, high], color=colours, ecolor="#555555", capsize=2)
    for place, value in enumerate(values):
        axes.annotate(f" {readable(value)}", (value, place), va="center", fontsize=7)
    axes.margins(x=0.2)
    axes.tick_params(labelsize=8)
    better = "more" if figure.more else "less"
    axes.set_title(f"{figure.workload}: {WORKLOADS[figure.workload]}\n{figure.label} ({better} is better)", fontsize=8)


def main() -> None:
    """Read, draw, write."""
    from matplotlib import pyplot

    source = Path(sys.argv[1])
    found = undisturbed(json.loads(source.read_text()), float(sys.argv[2]))
    kept, middle = series(found), middles(found)
    shown = [f for f in FIGURES if any(key[1:] == (f.workload, f.name) for key in kept)]
    rows = -(-len(shown) // COLUMNS)
    sheet, grid = pyplot.subplots(rows, COLUMNS, figsize=(COLUMNS * WIDTH, rows * HEIGHT), squeeze=False)
    for axes in grid.flat[len(shown) :]:
        axes.set_visible(False)
    for axes, figure in zip(grid.flat, shown, strict=False):
        panel(axes, figure, kept, middle)
    at, args = found["machine"]["at"], found["args"]
    sheet.suptitle(
        f"{found['machine']['cores']} cores, {at}, scale {args['scale']}, {args['rounds']} rounds", fontsize=9
    )
    sheet.tight_layout()
    sheet.savefig(source.with_suffix(".svg"), metadata={"Date": None})


if __name__ == "__main__":
    main()

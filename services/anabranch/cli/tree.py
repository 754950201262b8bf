"""A run as a tree of branches and steps."""

from collections.abc import Sequence
from typing import Any

from rich.markup import escape
from rich.tree import Tree

from anabranch.cli.output import short

Row = dict[str, Any]
COLOURS = {"completed": "green", "failed": "red", "rejected": "red", "running": "cyan", "waiting": "yellow"}
MOST_CHILDREN = 40


def _status(status: str) -> str:
    colour = COLOURS.get(status, "dim")
    return f"[{colour}]{status}[/]"


def _seconds(value: float | None) -> str:
    return "" if value is None else f"  [dim]{value:.3f} s[/]"


def run_tree(run: Row, branches: Sequence[Row], steps: Sequence[Row], meetings: Sequence[Row]) -> Tree:
    """Branches below the branch that spawned them, each with its steps; then where paths met."""
    tree = Tree(f"run {run['run_id']}  {_status(run['status'])}{_seconds(run['total_duration'])}")
    children: dict[str | None, list[Row]] = {}
    for branch in branches:
        children.setdefault(branch["parent_branch_id"], []).append(branch)
    by_branch: dict[str, list[Row]] = {}
    for step in steps:
        by_branch.setdefault(step["branch_id"], []).append(step)
    _grow(tree, None, children, by_branch)
    for meeting in meetings:
        if meeting["kind"] == "node":
            into = f" into {meeting['into_branch_id']}" if meeting["into_branch_id"] else ""
            name = escape(str(meeting["node"]))
            tree.add(f"[magenta]{meeting['arrived']} met at {name}{into}[/]{_seconds(meeting['wait_time'])}")
    return tree


def _grow(tree: Tree, parent: str | None, children: dict[str | None, list[Row]], steps: dict[str, list[Row]]) -> None:
    here = children.get(parent, [])
    for branch in here[:MOST_CHILDREN]:
        limb = tree.add(f"{branch['branch_id']}  {branch['type']}  {_status(branch['status'])}")
        own = steps.get(branch["branch_id"], [])
        for step in own[:MOST_CHILDREN]:
            limb.add(_step(step))
        if len(own) > MOST_CHILDREN:
            limb.add(f"[dim]… {len(own) - MOST_CHILDREN} more steps[/]")
        _grow(limb, branch["branch_id"], children, steps)
    if len(here) > MOST_CHILDREN:
        tree.add(f"[dim]… {len(here) - MOST_CHILDREN} more branches[/]")


def _step(step: Row) -> str:
    said = short(step["error"]["message"] if step["error"] else step["response"], 60)
    again = f" x{step['attempt']}" if step["attempt"] > 1 else ""
    return (
        f"{step['step_number']}. [bold]{escape(step['agent'])}[/]{again}  {step['action'] or step['status']}"
        f"{_seconds(step['duration'])}  [dim]{escape(said)}[/]"
    )

"""Live progress of a run: a moving picture on a terminal, plain lines elsewhere."""

import sys
import time
from typing import Any

from anabranch.client.handle import RunHandle
from anabranch.client.progress import line

JSON = Any
RECENT = 8


async def follow(handle: RunHandle) -> None:
    """Show the run on stderr until its outcome."""
    if sys.stderr.isatty():
        await _picture(handle)
        return
    async for event in handle.events():
        if (said := line(event)) is not None:
            print(said, file=sys.stderr, flush=True)


class Tally:
    """What is going on, counted from events."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.running: dict[str, str] = {}
        self.branches = self.steps = self.failed = 0
        self.recent: list[str] = []

    def take(self, event: dict[str, JSON]) -> None:
        """Count one event row."""
        kind, data = event["type"], event["data"]
        if kind == "StepRequested":
            self.running[data["branch_id"]] = data["agent"]
        elif kind in ("StepCompleted", "StepFailed", "StepRejected"):
            self.running.pop(data["branch_id"], None)
            self.steps += kind == "StepCompleted"
            self.failed += kind != "StepCompleted"
        elif kind == "BranchSpawned":
            self.branches += 1
        if (said := line(event)) is not None:
            self.recent = [*self.recent[-RECENT + 1 :], said]

    def text(self) -> str:
        """The picture."""
        elapsed = time.monotonic() - self.began
        busy = ", ".join(f"{agent} ({branch})" for branch, agent in list(self.running.items())[:6])
        more = f" and {len(self.running) - 6} more" if len(self.running) > 6 else ""
        trouble = f"  {self.failed} failed attempts" if self.failed else ""
        head = f"{elapsed:6.1f} s  {self.branches} branches  {self.steps} steps done{trouble}"
        return "\n".join([*self.recent, "", head, f"now: {busy or '-'}{more}"])


async def _picture(handle: RunHandle) -> None:
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    tally = Tally()
    console = Console(stderr=True)
    with Live(console=console, refresh_per_second=10, get_renderable=lambda: Text(tally.text())) as live:
        async for event in handle.events():
            tally.take(event)
        live.refresh()

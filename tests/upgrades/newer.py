"""A newer release, as far as an older one meets it: `PYTHONPATH` with `write(folder)` makes today's code one.

It knows one event more, `RunBlessed`, and records it with each reply that it takes.
"""

from pathlib import Path

CODE = """
from dataclasses import dataclass

from anabranch.domain import evolve, routing
from anabranch_contracts import catalog


@dataclass(frozen=True, slots=True)
class RunBlessed:
    by: str


catalog.EVENTS["RunBlessed"] = RunBlessed
catalog.VERSIONS["RunBlessed"] = 1
catalog._FIELDS["RunBlessed"] = frozenset({"by"})
evolve._TABLE[RunBlessed] = lambda state, event, at: None
take_result = routing.take_result


def blessed(turn, message):
    turn.record(RunBlessed("a newer release"))
    take_result(turn, message)


routing.take_result = blessed
"""


def write(folder: Path) -> str:
    """The folder to put on `PYTHONPATH`."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(CODE)
    return str(folder)

"""`python -m tests.golden.record`: a stream for every shape that none has yet, and the digests of what is new.

Run it when an event's type or schema version is new, after its sample in `events/` is there. What was published
before is left as it is.
"""

from collections.abc import Iterator
from uuid import UUID

from anabranch.domain.recorded import Recorded
from anabranch.domain.turn import Turn
from anabranch_contracts.catalog import VERSIONS, encode
from anabranch_contracts.events import RunErased
from tests.golden import streams
from tests.simulation.laws import recorded
from tests.simulation.world import World
from tests.unit.domain.runs import Run

SEEDS = 3000


def shapes(events: list[Recorded]) -> set[tuple[str, int]]:
    """Type and schema version of each event."""
    return {encode(one.event)[:2] for one in events}


def played() -> Iterator[list[Recorded]]:
    """Runs of the simulator, and what it does not play: a run that was forked, one that was asked for twice."""
    from anabranch.domain.deciders import Router
    from anabranch.domain.intake import Request
    from tests.unit.domain.runs import RUN

    run = Run({"nodes": ["A", "B"], "edges": ["A -> B"]}).fork(2, context={"k": 1})
    run.reply("A", "a")
    yield run.events
    run = Run({"nodes": ["A"]})
    run.tell(Router(), Request(RUN, {"task": "task", "topology": {"nodes": ["A"]}, "config": {}, "context": {}}, "q"))
    yield run.events
    run = Run({"nodes": ["A"]})
    run.reply("A", "a")
    erased = Turn(run.state, run.now, UUID(int=9), "operator")
    erased.record(RunErased(upto=run.state.version))
    yield [*run.events, *erased.events]
    for seed in range(SEEDS):
        yield recorded(World(seed, seed * 7919).play())


def main() -> None:
    """Write what is missing; the shortest run of a shape is its stream."""
    missing = set(VERSIONS.items()) - {shape for path in streams.paths() for shape in streams.shapes(path)}
    shortest: dict[tuple[str, int], list[Recorded]] = {}
    for events in played() if missing else ():
        for shape in missing & shapes(events):
            if shape not in shortest or len(events) < len(shortest[shape]):
                shortest[shape] = events
    for shape in sorted(shortest, key=lambda s: len(shortest[s]), reverse=True):  # a long run has many shapes
        if shape in missing:
            missing -= shapes(shortest[shape])
            streams.FOLDER.mkdir(exist_ok=True)
            (streams.FOLDER / f"{shape[0]}.v{shape[1]}.json").write_bytes(streams.written(shortest[shape]))
    known = streams.published() if streams.PUBLISHED.exists() else {}
    fresh = {name: digest for name, digest in streams.there() if name not in known}
    lines = [f"{digest}  {name}" for name, digest in sorted({**known, **fresh}.items())]
    streams.PUBLISHED.write_text("\n".join(lines) + "\n")
    print(f"{len(fresh)} files are new; without a run: {sorted(missing) or 'none'}")


if __name__ == "__main__":
    main()

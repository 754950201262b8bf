"""Targets: what comes from the database."""

import pickle
from dataclasses import replace
from functools import cache
from random import Random
from typing import Any

import orjson

from anabranch.domain.evolve import fold
from anabranch.domain.projections import forget_touches
from anabranch.domain.recorded import Recorded
from anabranch.runtime.cache import freeze, thaw
from anabranch_contracts.catalog import VERSIONS, UnknownEvent, decode, encode
from tests.fuzz.driver import Target
from tests.fuzz.mutating import as_stored, body, changed_bytes, mutated
from tests.golden import samples, streams
from tests.simulation.laws import recorded
from tests.simulation.world import World

JSON = Any
WORLDS, BEGUN = 40, 400


@cache
def events() -> list[tuple[str, int, JSON]]:
    """Every shape ever published."""
    split = [path.stem.split(".v") for path in samples.paths()]
    data = [orjson.loads(path.read_bytes()) for path in samples.paths()]
    return [(kind, int(version), one) for (kind, version), one in zip(split, data, strict=True)]


def event(random: Random) -> bool:
    """An event of any version: today's shape, or left to a release that knows it."""
    kind, version, data = random.choice(events())
    data = as_stored(mutated(random, data))
    version = random.choice((version, version, version, version + 1, VERSIONS[kind]))
    try:
        found = decode(kind if random.random() < 0.98 else kind + "x", version, data if isinstance(data, dict) else {})
    except UnknownEvent as why:
        assert len(str(why)) < 1000
        return False
    name, newest, encoded = encode(found)
    assert (name, newest) == (kind, VERSIONS[kind])
    assert encode(decode(name, newest, orjson.loads(encoded)))[2] == encoded
    return True


@cache
def lives() -> list[list[Recorded]]:
    """Whole runs."""
    return [
        *(streams.recorded(streams.stored(path)) for path in streams.paths()),
        *(recorded(World(seed, seed * 7919, faulty=False).play()) for seed in range(WORLDS)),
    ]


@cache
def begun(number: int) -> tuple[list[Recorded], bytes]:
    """The first part of a run, and its state, pickled."""
    random = Random(number)
    life = random.choice(lives())
    part = life[: random.randint(1, len(life))]
    state = fold(part)
    assert state is not None
    forget_touches(state)
    return part, pickle.dumps(state)


def anywhere(random: Random) -> tuple[list[Recorded], bytes]:
    """A run that stands somewhere."""
    return begun(random.randrange(BEGUN))


@cache
def asking() -> list[int]:
    """Those of them that wait for a person."""
    return [number for number in range(BEGUN) if pickle.loads(begun(number)[1]).requests]


@cache
def frozen(number: int) -> tuple[Any, JSON]:
    """A snapshot and the JSON in it."""
    state = pickle.loads(begun(number)[1])
    made = freeze(state)
    assert thaw(made) == state
    return made, orjson.loads(made.data)


def snapshot(random: Random) -> bool:
    """The bytes of a snapshot: a state of that run and version, or none."""
    made, value = frozen(random.randrange(60))
    data = changed_bytes(random, made.data) if random.random() < 0.5 else body(random, mutated(random, value))
    try:
        state = thaw(replace(made, data=data))
    except ValueError:
        return False
    assert (state.run_id, state.version) == (made.run_id, made.version)
    return True


TARGETS: dict[str, Target] = {"events": event, "snapshots": snapshot}

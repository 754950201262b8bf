"""One run of a world: what is asked for, and what its agents and the people around it are like."""

from random import Random
from typing import Any
from uuid import UUID

from anabranch.domain.recorded import Recorded
from anabranch_contracts.messages import StepRequested
from tests.simulation import generate
from tests.simulation.outsiders import Outsiders

JSON = Any
APART = 10**12  # no world has a seed so high
OVER = ("completed", "failed", "rejected", "cancelled")


class Run:
    """Drawn from its own seed; a quarter of the seeds are `loose`: their outcome may depend on time."""

    def __init__(self, world: Any, seed: int, topology: JSON = None, config: JSON = None, fork: JSON = None) -> None:
        drawn = Random(seed)
        self.world = world
        self.store = world.store
        self.seed = seed
        self.size = generate.size(drawn)
        self.loose = drawn.random() < 0.25
        self.topology = topology or generate.topology(drawn, self.loose, self.size)
        self.config = config or generate.config(drawn, self.loose, self.size)
        self.fork = fork
        self.run_id = UUID(int=seed + 1 + (1 << 100 if fork else 0))
        self.faulty: bool = world.faulty
        self.random: Random = world.random
        self.toss = world.toss
        self.outsiders = Outsiders(self, self.faulty)

    @property
    def status(self) -> str:
        row = self.store.tables["run_rows"].get((self.run_id,))
        return str(row["status"]) if row else "unknown"

    @property
    def over(self) -> bool:
        return self.status in OVER

    @property
    def recorded(self) -> list[Recorded]:
        """The whole stream."""
        return list(self.store.streams.get(self.run_id, ()))

    def rows(self, table: str) -> list[JSON]:
        """Its rows of a table."""
        return [r for r in self.store.tables[table].values() if r["run_id"] == self.run_id]

    def send(self, key: str, body: JSON, reply_to: str | None = None) -> None:
        """Publish a message from outside."""
        self.world.send(key, body, str(self.run_id), reply_to)

    def person(self, request: JSON) -> JSON:
        """What a person says."""
        return self.world.person(request)

    def heard(self, step: StepRequested) -> None:
        """What an agent is told never exceeds the window."""
        bounds = [r["max_messages"] for r in self.topology.get("rules", ()) if r["type"] == "MemoryLimitRule"]
        most = min([*bounds, self.config.get("max_messages", 100)])
        if len(step.memory) > most:
            self.world.misheard.append(f"{step.step_id} was told {len(step.memory)} messages, at most {most}")

    def part(self) -> None:
        """Who was outside goes; what was stored stays."""
        self.outsiders.part()
        del self.world


def drawn(world: Any) -> list[Run]:
    """The run of the world's seed, and those beside it, which are none of its business."""
    first = Run(world, world.seed, world.topology, world.config, world.fork)
    return [first, *(Run(world, world.seed + number * APART) for number in range(1, world.beside + 1))]


def neighbours(seed: int) -> int:
    """How many runs are beside a seed's own."""
    return Random(-seed - 1).choices((0, 1, 2), (40, 35, 25))[0]

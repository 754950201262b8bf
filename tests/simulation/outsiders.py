"""People who answer, clients who ask, operators who pause, cancel and name checkpoints; and who sends rubbish."""

from random import Random
from typing import Any, Protocol
from uuid import UUID

from anabranch_contracts.addresses import step_key

JSON = Any
PLANS = ["none", "none", "none", "pause", "pause", "cancel run", "cancel branch"]
OVER = ("unknown", "completed", "failed", "cancelled", "rejected")
CLIENT = "client"  # where answers go
COMMANDS = ("run.pause", "run.resume", "run.cancel")
RUBBISH = [b"{", b'{"run_id": 7}', b'"\xff"', b"[]"]


class Reachable(Protocol):
    """What outsiders see and do of a world."""

    random: Random
    run_id: UUID
    status: str
    topology: JSON
    config: JSON
    fork: JSON

    def person(self, request: JSON) -> JSON:
        """What a person says."""
        ...

    def rows(self, table: str) -> list[JSON]:
        """The run's rows."""
        ...

    def send(self, key: str, body: JSON, reply_to: str | None = None) -> None:
        """Publish a message; the answer goes to `reply_to`."""
        ...


class Outsiders:
    """Everybody outside the services; `disturbed` once they changed what the outcome is."""

    def __init__(self, world: Reachable, meddle: bool) -> None:
        self._world = world
        self._answered: set[UUID] = set()
        self._plan = world.random.choice(PLANS) if meddle else "none"
        self._left = 3
        self._rubbish = world.random.randint(1, 3) if meddle and world.random.random() < 0.3 else 0
        self._reply_to = CLIENT if world.random.random() < 0.7 else None
        self.disturbed = False

    @property
    def wants_outcome(self) -> bool:
        """Whether the outcome is to be told."""
        return self._reply_to is not None

    def part(self) -> None:
        """They go."""
        del self._world

    def ask(self) -> None:
        """Request the run; safe to say again, for it has an id."""
        world = self._world
        if world.fork is not None:
            world.send("run.fork", {"new_run_id": str(world.run_id), **world.fork}, self._reply_to)
        else:
            self._tell("run.requested", task="go", topology=world.topology, config=world.config)

    def act(self) -> None:
        """Maybe do something."""
        if not self.answer():
            self._meddle()

    def hurry(self) -> bool:
        """Everybody waits for them; False where there is nothing for them to do."""
        if self._world.status == "unknown":
            self.ask()
            return True
        return self.answer(again=True) or self.resume()

    def answer(self, again: bool = False) -> bool:
        """Answer one open user request; `again`: also what was answered, for the broker may have lost that."""
        found = [r for r in self._world.rows("user_requests") if r["status"] == "open" and r["kind"] != "notice"]
        fresh = [r for r in found if again or r["request_id"] not in self._answered]
        if not fresh:
            return False
        request = self._world.random.choice(fresh)
        if self._world.random.random() < 0.95:  # else somebody else answers the same once more
            self._answered.add(request["request_id"])
        self._tell("user.provided", request_id=str(request["request_id"]), value=self._world.person(request))
        return True

    def resume(self) -> bool:
        """Let a paused run go on."""
        if self._world.status != "paused":
            return False
        self._tell("run.resume")
        return True

    def _tell(self, key: str, **fields: JSON) -> None:
        self._world.send(key, {"run_id": str(self._world.run_id), **fields}, self._reply_to)

    def _meddle(self) -> None:
        random = self._world.random
        if self._rubbish:
            agent = self._world.topology["nodes"][0]["name"]
            keys = ["step.completed", "step.completed", "user.provided", step_key(agent), step_key(agent)]
            self._world.send(random.choice(keys), random.choice(RUBBISH))
            self._rubbish -= 1
        if self._plan == "none" or not self._left or random.random() < 0.8 or self._world.status in OVER:
            return
        self._left -= 1
        match self._plan:
            case "pause":
                self._tell(random.choice(["run.pause", "run.pause", "run.resume"]))
                if random.random() < 0.3:
                    self._tell("run.checkpoint", name=f"before {self._left}")
            case "cancel run":
                self._tell("run.cancel")
                self.disturbed = True
            case _:
                live = [b["branch_id"] for b in self._world.rows("branch_rows") if b["finished_at"] is None]
                self._tell("run.cancel", branch_id=random.choice(live) if live else "b0", reason="by hand")
                self.disturbed = True

"""People who answer, and operators who pause, resume, cancel and name checkpoints, when the seed says so."""

from random import Random
from typing import Any, Protocol
from uuid import UUID

JSON = Any
PLANS = ["none", "none", "none", "pause", "pause", "cancel run", "cancel branch"]


class Reachable(Protocol):
    """What outsiders see and do of a world."""

    random: Random
    run_id: UUID
    status: str

    def person(self, request: JSON) -> JSON:
        """What a person says."""
        ...

    def rows(self, table: str) -> list[JSON]:
        """The run's rows."""
        ...

    def send(self, key: str, body: JSON) -> None:
        """Publish a message."""
        ...


class Outsiders:
    """Everybody outside the services and the workers; `disturbed` once they changed what the outcome is."""

    def __init__(self, world: Reachable, meddle: bool) -> None:
        self._world = world
        self._answered: set[UUID] = set()
        self._plan = world.random.choice(PLANS) if meddle else "none"
        self._left = 3
        self._lazy = meddle
        self.disturbed = False

    def act(self) -> bool:
        """Maybe do something; False where there is nothing to do."""
        if self._lazy and self._world.random.random() < 0.7:
            return False
        return self.answer() or self._meddle()

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
        self._world.send(key, {"run_id": str(self._world.run_id), **fields})

    def _meddle(self) -> bool:
        random = self._world.random
        if not self._left or self._world.status in ("unknown", "completed", "failed", "cancelled", "rejected"):
            return False
        if self._plan == "none" or random.random() < 0.9:
            return False
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
        return True

"""A rolling deploy: services of the last release and of this one on one database, one replaced after the other.

Before anything is replaced only today's `pre_` migrations are applied. Between the three orders every mixture of old
and new router, supervisor and worker is met, and at each replacement both releases of a service work side by side.
"""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from anabranch.runtime.postgres.migrate import upgrade
from anabranch_contracts.addresses import PARKED_QUEUE
from tests.acceptance.client import client
from tests.acceptance.gate import gate
from tests.acceptance.stage import AGENTS, Stage
from tests.acceptance.tables import tables
from tests.audit import audit
from tests.processes import House, Process
from tests.upgrades import releases

ROUTER, SUPERVISOR, WORKER = "anabranch.router", "anabranch.branch_supervisor", "anabranch.agent_worker"
ORDERS = [(ROUTER, SUPERVISOR, WORKER), (SUPERVISOR, WORKER, ROUTER), (WORKER, ROUTER, SUPERVISOR)]
HUB = {
    "nodes": ["Boss", "W1", "W2", {"name": "Meet", "is_convergence_point": True}, "A"],
    "edges": ["Boss -> W1", "Boss -> W2", "W1 -> Meet", "W2 -> Meet", "Meet <-> A"],
}
TO_BOTH = {"next_action": "parallel_invoke", "agents": ["W1", "W2"]}
TALK = ["one", "two", {"next_action": "final_response", "final_response": "met"}]
SCRIPT = {"Boss": [TO_BOTH], "Meet": TALK}
SLOW = {**SCRIPT, "W2": [{"wait_for": "gate"}]}
ASKS = {"A": [{"next_action": "ask_user", "prompt": "?"}, "asked"]}
RUNS = 12


@dataclass
class Deploy:
    """The services as they are now; each is replaced by one of the new release, which is there before it goes."""

    environment: dict[str, str]
    old: str
    folder: Path
    now: dict[str, Process] = field(default_factory=dict)
    logs: list[Path] = field(default_factory=list)

    def start(self, module: str, path: str) -> Process:
        log = self.folder / f"{module}-{'old' if path else 'new'}.log"
        self.logs.append(log)
        return Process(module, {**self.environment, "PYTHONPATH": path}, log).start()

    def open(self) -> None:
        """Everything of the last release."""
        self.now = {module: self.start(module, self.old) for module in (ROUTER, SUPERVISOR, WORKER)}
        for process in self.now.values():
            process.await_ready()

    def replace(self, module: str) -> None:
        """One more of today's, then the old one drains."""
        new, old = self.start(module, "").await_ready(), self.now[module]
        if module == WORKER:
            old.kill()  # it would wait for the agents that it runs
        else:
            assert old.terminate() == 0
        self.now[module] = new

    def close(self) -> None:
        """`kill -9` of what is there."""
        for process in self.now.values():
            process.kill()


async def _replaced(stage: Stage, deploy: Deploy, module: str) -> None:
    """Replace one service while runs are under way: some that go through, one with a step in hand, one that asks."""
    quick = [await stage.ask(HUB, SCRIPT) for _ in range(RUNS)]
    slow, asking = await stage.ask(HUB, SLOW), await stage.ask({"nodes": ["A"]}, ASKS)
    waiting, question = await slow.begun("W2"), await asking.question()
    deploy.replace(module)
    if module == WORKER:  # the step in hand was offered to the new one
        waiting = await slow.begun("W2")
    quick += [await stage.ask(HUB, SCRIPT) for _ in range(RUNS)]
    waiting.go("late")
    assert (await asking.answer(question, "yes"))["accepted"]
    assert {(await run.outcome())["result"] for run in [*quick, slow]} == {"met"}
    assert (await asking.outcome())["result"] == "asked"


async def _rolled(database_url: str, amqp_url: str, deploy: Deploy, order: tuple[str, ...]) -> None:
    async with client(amqp_url) as asking, tables(database_url) as reading, gate() as opened:
        await asking.listen()
        stage = Stage(asking, reading, opened, House([], [], []))
        marathon = await stage.ask({"nodes": ["A"]}, {"A": [*ASKS["A"][:1] * len(order), "done"]})
        for module in order:
            question = await marathon.question()
            await _replaced(stage, deploy, module)
            assert (await marathon.answer(question, "go on"))["accepted"]
        assert (await marathon.outcome())["result"] == "done"
        parked = await asking.transport._raw().queue_declare(PARKED_QUEUE, passive=True)
        assert parked.message_count == 0


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: " ".join(m.rpartition(".")[2] for m in order))
def test_every_mixture_of_two_releases_brings_every_run_to_its_outcome(
    empty_database_url: str, amqp_url: str, tmp_path: Path, order: tuple[str, ...]
) -> None:
    old = releases.unpacked(releases.LAST, tmp_path / "old")
    releases.command(old, empty_database_url, "migrate")
    asyncio.run(upgrade(empty_database_url, "pre"))
    both = {"ANABRANCH_DATABASE_URL": empty_database_url, "ANABRANCH_AMQP_URL": amqp_url}
    deploy = Deploy({**both, "ANABRANCH_AGENTS": str(AGENTS), "ANABRANCH_CONCURRENCY": "100"}, old, tmp_path)
    try:
        deploy.open()
        asyncio.run(_rolled(empty_database_url, amqp_url, deploy, order))
    finally:
        deploy.close()
    assert not [log for log in deploy.logs if "Traceback" in log.read_text()]
    asyncio.run(audit(empty_database_url))

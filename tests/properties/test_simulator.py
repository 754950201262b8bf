"""The simulator can fail: with production broken by hand it finds that, shrinks it, and says what plays it again."""

import asyncio
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import orjson
import pytest

from anabranch.agent_worker.app import Worker
from anabranch.runtime.handler import Handler
from anabranch.runtime.outbox import Settled
from anabranch.runtime.ports import Inbox
from tests.simulation.__main__ import main
from tests.simulation.laws import Case, Tally, Violation, calmly, check, judged
from tests.simulation.loop import SeededLoop
from tests.simulation.shrink import shrink
from tests.simulation.world import Stuck, World

JSON = Any
tell = Handler.tell


async def early(handler: Handler, settled: Settled, inbox: Inbox, *held: Any) -> Any:
    """Acks what was not published yet."""
    await inbox.ack([one.delivery for one in settled.inbound])
    return await tell(handler, settled, inbox, *held)


async def once(worker: Worker, message: Any) -> None:
    """Takes what was not confirmed for published."""
    try:
        await worker._transport.publish([message])
    except Exception:
        return


def finding(most: int = 300) -> Violation:
    """The first one that comes up."""
    for seed in range(most):
        try:
            check(seed, seed * 7919)
        except Violation as violation:
            return violation
    raise AssertionError("nothing was found")


@pytest.mark.parametrize(
    ("place", "broken"),
    [
        ("anabranch.domain.supervision.discard", lambda *_: None),
        ("anabranch.domain.supervision.admits", lambda *_: True),
        ("anabranch.runtime.handler.Handler.tell", early),
        ("anabranch.agent_worker.app.Worker._publish", once),
    ],
)
def test_what_is_broken_is_found(monkeypatch: Any, place: str, broken: Callable[..., JSON]) -> None:
    monkeypatch.setattr(place, broken)
    finding()


def test_a_budget_that_a_failed_step_overspent_is_found_though_no_step_follows(monkeypatch: Any) -> None:
    """By the reading of what follows alone: what is asked of a step that starts sees nothing here."""
    topology = {
        "nodes": [{"name": "A"}, {"name": "B"}],
        "edges": [],
        "entry": ["A", "B"],
        "rules": [{"type": "BudgetRule", "max_tokens": 2}],
    }
    config = {"max_steps": 9, "max_branch_steps": 9, "retry": {"max_attempts": 1}, "max_in_flight": 9}
    monkeypatch.setattr("anabranch.domain.supervision.over_budget", lambda _: False)
    with pytest.raises(Violation, match="the run goes on after"):
        for seed in range(500):
            case = Case(seed, seed, seed, faulty=False, topology=topology, config=config)
            judged(case, calmly(case))


def test_a_finding_is_shrunk_to_what_one_command_plays_again(monkeypatch: Any) -> None:
    monkeypatch.setattr("anabranch.domain.supervision.discard", lambda *_: None)
    case = finding().case
    small = shrink(case)
    whole = calmly(case).topology
    assert len(small.only or ()) <= 10 and len(small.topology["edges"]) <= len(whole["edges"])
    replayed = Case(**orjson.loads(small.replay.split("--case ")[1].strip("'")))
    assert replayed == replace(small)
    with pytest.raises(Violation, match=r"step\.failed"):
        judged(replayed, calmly(replayed))


class Deserted(World):
    """A world in which nobody takes what people send."""

    def _populate(self) -> None:
        self.spread = 0.0


def test_who_is_heard_by_nobody_does_not_ask_for_ever() -> None:
    with pytest.raises(Stuck):
        Deserted(seed=0, schedule=0).play()


@pytest.mark.parametrize(
    ("waits", "alarms"), [(asyncio.sleep, 0), (lambda s: asyncio.wait_for(asyncio.Event().wait(), s), 1)]
)
def test_time_goes_on_for_who_waits_and_not_for_who_looks_around(waits: Callable[..., JSON], alarms: int) -> None:
    loop = SeededLoop(Random(0))
    loop.start(None, waits(2.0))
    loop.run(lambda: 1)
    assert loop.next_alarm() == (2.0 if alarms else None)
    loop.bury(())


def deadly(seed: int, schedule: int, tally: Tally) -> None:
    """One seed finds no memory, two are the end of their process."""
    if seed == 3:
        raise MemoryError
    if seed in (7, 17):
        os.kill(os.getpid(), signal.SIGKILL)
    tally.runs, tally.steps = tally.runs + 1, [*tally.steps, 1]


def test_a_process_that_dies_is_a_finding_and_the_rest_goes_on(monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    monkeypatch.setattr("sys.argv", ["simulation", "--runs", "25"])
    monkeypatch.setattr("tests.simulation.__main__.prepare", lambda: None)
    monkeypatch.setattr("tests.simulation.pool.check", deadly)
    monkeypatch.setattr("tests.simulation.pool.BATCH", 10)
    assert main() == 1
    told = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in told if line.startswith("seed")] == ["seed 3", "seed 7", "seed 17"]
    assert told[-1] == "27 runs, 3 violations"

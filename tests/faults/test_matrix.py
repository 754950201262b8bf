"""Each of five suffers each fault, idle and with runs in flight: every run has its outcome, and all are ready again.

`make test` has the brief ones that differ most. All the others, and those that outlast every heartbeat and timeout,
are `slow`: `make faults`.
"""

import asyncio
from uuid import UUID

import pytest
from _pytest.mark.structures import ParameterSet

from anabranch.runtime.ids import uuid7
from tests.faults.asking import all_over, persistent
from tests.faults.misbehaving import FAULTS, suffer
from tests.faults.town import Town
from tests.faults.workload import KINDS, Kind

VICTIMS = ("router", "supervisor", "worker", "broker", "database")
BRIEF, LONG = 1.0, 45.0
LASTING = ("freeze", "hole", "half hole", "refusal")


def some(count: int) -> dict[UUID, Kind]:
    """So many runs, of every kind."""
    return {uuid7(): KINDS[i % len(KINDS)] for i in range(count)}


async def asked(place: Town, runs: dict[UUID, Kind]) -> None:
    async with persistent(place.broker.url + "/") as asking:
        await asking.request(runs)


async def over(place: Town, runs: dict[UUID, Kind], seconds: float) -> None:
    async with persistent(place.broker.url + "/") as asking:
        await all_over(place.database.url, list(runs), seconds, asking)


def endured(place: Town, victim: str, fault: str, in_flight: int, seconds: float) -> None:
    """Runs before, the fault, runs after: all come to their end, and nothing is amiss."""
    runs, later = some(in_flight), some(5)
    if runs:
        asyncio.run(asked(place, runs))
    suffer(place, victim, fault, seconds)
    asyncio.run(asked(place, later))
    asyncio.run(over(place, runs | later, 90))
    place.await_ready()


def apart(faults: tuple[str, ...], at_once: tuple[str, ...]) -> list[ParameterSet]:
    """The faults, those that `make test` leaves to `make faults` marked."""
    return [pytest.param(fault, marks=() if fault in at_once else pytest.mark.slow) for fault in faults]


@pytest.mark.parametrize("fault", apart(FAULTS, ("kill",)))
@pytest.mark.parametrize("victim", VICTIMS)
def test_while_idle(place: Town, victim: str, fault: str) -> None:
    endured(place, victim, fault, 0, BRIEF)


@pytest.mark.parametrize("fault", apart(FAULTS, ("kill", "freeze", "reset", "hole")))
@pytest.mark.parametrize("victim", VICTIMS)
def test_with_runs_in_flight(place: Town, victim: str, fault: str) -> None:
    endured(place, victim, fault, 60, BRIEF)


@pytest.mark.slow
@pytest.mark.parametrize("in_flight", [0, 400])
@pytest.mark.parametrize("fault", LASTING)
@pytest.mark.parametrize("victim", VICTIMS)
def test_for_longer_than_anybody_waits(place: Town, victim: str, fault: str, in_flight: int) -> None:
    endured(place, victim, fault, in_flight, LONG)

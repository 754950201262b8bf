"""A pulse: ready is who was answered a moment ago; silence gives up, a slow answer does not."""

import asyncio

import pytest

from anabranch.runtime.ports import Unavailable
from anabranch.runtime.pulse import ANSWER_SECONDS, EVERY_SECONDS, Pulse


class Dependency:
    """Answers, refuses, or says nothing at all."""

    def __init__(self) -> None:
        self.mood = "well"
        self.open = True
        self.now = 0.0

    async def probe(self) -> None:
        if self.mood == "refuses":
            raise Unavailable("it refuses")
        if self.mood == "silent":
            await asyncio.Event().wait()

    def pulse(self) -> Pulse:
        return Pulse([self.probe], lambda: self.open, self.lose, silence=15, clock=lambda: self.now)

    def lose(self) -> None:
        self.open = False


async def test_it_beats_when_all_was_just_reached() -> None:
    assert Dependency().pulse().beating()


async def test_a_probe_that_fails_is_seen_at_once_and_one_that_is_answered_too() -> None:
    dependency = Dependency()
    pulse = dependency.pulse()
    dependency.mood = "refuses"
    await pulse.probe()
    assert not pulse.beating()
    dependency.mood = "well"
    await pulse.probe()
    assert pulse.beating()


async def test_a_connection_that_is_known_to_be_gone_needs_no_probe() -> None:
    dependency = Dependency()
    pulse = dependency.pulse()
    dependency.open = False
    assert not pulse.beating()


async def test_what_nobody_has_probed_lately_is_not_believed() -> None:
    dependency = Dependency()
    pulse = dependency.pulse()
    dependency.now = EVERY_SECONDS + ANSWER_SECONDS + 0.1
    assert not pulse.beating()


@pytest.mark.parametrize("mood", ["refuses", "silent"])
async def test_silence_gives_the_connection_up(mood: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anabranch.runtime.pulse.EVERY_SECONDS", 0.001)
    monkeypatch.setattr("anabranch.runtime.pulse.ANSWER_SECONDS", 0.001)
    dependency = Dependency()
    pulse = dependency.pulse()
    dependency.mood = mood
    watching = asyncio.create_task(pulse.watch())
    await asyncio.sleep(0.05)
    assert not watching.done() and dependency.open and not pulse.beating()
    dependency.now = 15.0
    with pytest.raises(Unavailable, match="for 15 s"):
        await watching
    assert not dependency.open

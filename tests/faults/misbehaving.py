"""Faults by name: what happens to a victim for a while."""

import time
from collections.abc import Callable
from functools import partial

from tests.faults.town import Town
from tests.link import Link

FAULTS = ("kill", "freeze", "cut", "reset", "hole", "half hole", "slow link", "refusal")
PIECE_SECONDS = 0.02


def _kill(place: Town, victim: str, seconds: float) -> None:
    for process in place.members(victim):
        process.kill()
        time.sleep(seconds)
        process.start()
    if not place.members(victim):
        place.server(victim).kill()
        time.sleep(seconds)
        place.server(victim).start()


def _freeze(place: Town, victim: str, seconds: float) -> None:
    frozen = place.members(victim) or [place.server(victim)]
    for one in frozen:
        one.freeze()
    time.sleep(seconds)
    for one in frozen:
        one.thaw()


def _of_links(place: Town, victim: str, seconds: float, begin: Callable[[Link], None]) -> None:
    place.do(place.links_of(victim), begin)
    time.sleep(seconds)
    place.do(place.links_of(victim), Link.mend)


def _refuse(link: Link) -> None:
    link.refusing = True
    link.cut()


_ACTIONS: dict[str, Callable[[Town, str, float], None]] = {
    "kill": _kill,
    "freeze": _freeze,
    "cut": partial(_of_links, begin=Link.cut),
    "reset": partial(_of_links, begin=lambda link: link.cut(reset=True)),
    "hole": partial(_of_links, begin=Link.hold),
    "half hole": partial(_of_links, begin=lambda link: link.hold("down")),
    "slow link": partial(_of_links, begin=lambda link: link.slow(PIECE_SECONDS)),
    "refusal": partial(_of_links, begin=_refuse),
}


def suffer(place: Town, victim: str, fault: str, seconds: float) -> None:
    """Let the victim suffer the fault for so long; then it is over."""
    _ACTIONS[fault](place, victim, seconds)

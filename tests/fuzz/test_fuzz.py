"""A short slice of every target in each test run; `make fuzz N=100000` runs more."""

from random import Random

import pytest

from tests.fuzz import driver
from tests.fuzz.targets import TARGETS

INPUTS = {"settings": 60, "decide run.fork": 100}
LEAST_SHARE = 0.12
"""Of inputs that get past the first check: a fuzzer whose inputs are all refused tests nothing."""


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_breaks_a_decoder(name: str) -> None:
    report = driver.run(name, TARGETS[name], first=0, count=INPUTS.get(name, 250))
    assert not report.findings, f"python -m tests.fuzz --again {report.findings[0][0]} {name!r}"
    assert report.share >= LEAST_SHARE, f"only {report.share:.0%} were accepted"


def _broken(random: Random) -> bool:
    if random.random() < 0.3:
        raise KeyError("here")
    return True


def test_what_breaks_is_found_with_its_number() -> None:
    report = driver.run("broken", _broken, first=7, count=100)
    assert len(report.findings) == driver.MOST_FINDINGS and "KeyError" in report.findings[0][1]
    with pytest.raises(KeyError):
        driver.one(_broken, "broken", report.findings[0][0])


def test_what_hangs_is_found_with_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def hangs(random: Random) -> bool:
        calls.append(1)
        while len(calls) > 1:  # the first call is the one that warms up
            pass
        return True

    monkeypatch.setattr(driver, "BUDGET", 0.05)
    findings = driver.run("hangs", hangs, first=3, count=1).findings
    assert [number for number, said in findings if "TooLong" in said] == [3]

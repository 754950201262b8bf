"""Every code example of the seed document, played as the same program embedded and distributed."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.acceptance.examples import AGENTS, EXAMPLES
from tests.acceptance.programs import output
from tests.acceptance.telling import TIMES, without_times
from tests.processes import house
from tests.services import data_folder

JSON = Any
Played = dict[str, dict[str, JSON]]
PLAY = ("-m", "tests.acceptance.examples")
FORKED = "from the checkpoint"  # the fork of a run in checkpoints.py
FAST, SLOW = 0.1, 0.6  # seconds that the branches of metrics.py take
TASK = 0.2  # seconds that each of the three tasks of parallel_execution.py takes
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def one_process() -> Iterator[dict[str, str]]:
    """Settings of the embedded mode."""
    with data_folder() as folder:
        yield {"ANABRANCH_DATA_DIR": str(folder)}


@pytest.fixture(scope="module")
def embedded(one_process: dict[str, str]) -> Played:
    """The facts of every example, played in one process, beside what is promised of it."""
    played: Played = output(one_process, *PLAY)
    return played


@pytest.fixture(scope="module")
def distributed(house_urls: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Played:
    """The same of the same program, its agents in a worker elsewhere."""
    database_url, amqp_url = house_urls
    addresses = {"ANABRANCH_AMQP_URL": amqp_url, "ANABRANCH_DATABASE_URL": database_url}
    with house(database_url, amqp_url, tmp_path_factory.mktemp("house"), AGENTS):
        played: Played = output(addresses, *PLAY)
    return played


@pytest.fixture(params=["embedded", "distributed"])
def played(request: pytest.FixtureRequest) -> Played:
    facts: Played = request.getfixturevalue(request.param)
    return facts


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_does_embedded_what_the_document_promises(name: str, embedded: Played) -> None:
    assert without_times(embedded[name]["facts"]) == embedded[name]["promised"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_does_distributed_what_the_document_promises(name: str, distributed: Played) -> None:
    assert without_times(distributed[name]["facts"]) == distributed[name]["promised"]


def test_both_ways_promise_the_same_but_for_what_cannot_cross_a_wire(embedded: Played, distributed: Played) -> None:
    apart = [name for name in EXAMPLES if embedded[name]["promised"] != distributed[name]["promised"]]
    assert apart == ["python_rules"]


def seconds(facts: JSON) -> Iterator[dict[str, JSON]]:
    """The times of all runs that were told, but for forks: their time begins after steps that they have copied."""
    for key, value in facts.items() if isinstance(facts, dict) else ():
        if key == TIMES:
            yield value
        elif key != FORKED:
            yield from seconds(value)


def test_no_step_outlasts_its_run_and_nothing_takes_no_time(played: Played) -> None:
    runs = list(seconds(played))
    assert len(runs) > len(EXAMPLES)
    for run in runs:
        took = [s for s in run["steps"].values() if s is not None]
        assert all(0 < s < run["total_duration"] for s in took) and run["convergence_wait_time"] >= 0


def test_the_wait_for_convergence_is_the_wait_for_the_slowest(played: Played) -> None:
    """The fork waits for both of its branches; at the convergence node one waits for the other."""
    run = played["metrics"]["facts"]["measure"][TIMES]
    assert run["steps"]["b0.f1.b0#1"] >= FAST and SLOW <= run["steps"]["b0.f1.b1#1"] < run["total_duration"]
    assert SLOW + (SLOW - FAST) / 2 < run["convergence_wait_time"] < 2 * run["total_duration"]


def test_independent_tasks_take_less_time_in_parallel(played: Played) -> None:
    facts = played["parallel_execution"]["facts"]
    good, bad = (facts[task][TIMES] for task in ("all at once", "one by one"))
    assert good["total_duration"] < bad["total_duration"] > 3 * TASK
    for run, waits in ((good, 1), (bad, 3)):
        assert waits * TASK <= run["convergence_wait_time"] <= run["total_duration"]


ALONE = """
import asyncio, json
from tests.acceptance.examples import status
print(json.dumps({"facts": asyncio.run(status.main()), "promised": status.PROMISED}))
"""


def test_a_program_of_its_own_needs_only_a_folder(one_process: dict[str, str]) -> None:
    """One run after the other, each on an engine of its own, which closes before the next one opens."""
    alone = output(one_process, "-c", ALONE)
    assert without_times(alone["facts"]) == alone["promised"]

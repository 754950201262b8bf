"""Mutation testing of the pure floors, by mutmut: `make mutants`, or `python -m ops.mutation 'anabranch.domain.*'`.

mutmut wants one `src`, so one is laid out in `.mutation/` with links to both source roots; verdicts are kept there, and
only what has none, or is named, is tried again. The tests are collected once and each mutant is a fork that runs those
that reach it, what found its neighbours first: a fraction of the work of a pytest for each.
"""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from math import ceil
from operator import itemgetter
from pathlib import Path
from random import Random
from resource import RLIMIT_CPU, getrlimit, setrlimit
from shutil import rmtree
from time import process_time
from typing import Any

import hypothesis
import pytest
from _pytest.config import _prepareconfig
from _pytest.main import Session
from mutmut import __main__ as mutmut
from mutmut.mutation.data import SourceFileMutationData
from mutmut.runners.harness import PytestRunner
from mutmut.state import state
from mutmut.utils.file_utils import change_cwd, walk_mutatable_files
from mutmut.workers.isolation import ForkRunner

ROOT = Path(__file__).parents[1]
PLACE = ROOT / ".mutation"
LINKS = {
    "src/anabranch": "services/anabranch",
    "src/anabranch_contracts": "contracts/anabranch_contracts",
    "src/schemas": "contracts/schemas",
    "src/asyncapi.yaml": "contracts/asyncapi.yaml",
    "tests": "tests",
    "pyproject.toml": "pyproject.toml",
}
BROAD = "tests/golden/test_decisions.py"
KILLERS = 20  # of a function are remembered
SECONDS = 1  # of work more than twice the usual time is without end
KILLED, SURVIVED, UNREACHED = (1, 3), (0,), (33, 5)


def lay_out() -> None:
    """The one source root that mutmut wants."""
    (PLACE / "src").mkdir(parents=True, exist_ok=True)
    (PLACE / "killers").mkdir(exist_ok=True)
    for name, target in LINKS.items():
        if not (PLACE / name).is_symlink():
            (PLACE / name).symlink_to(ROOT / target)
    rmtree(PLACE / "mutants" / "tests", ignore_errors=True)  # mutmut adds to its copy and takes nothing away
    (PLACE / "mutants" / "mutmut-stats.json").unlink(missing_ok=True)  # it would not see that an old test reaches more
    os.chdir(PLACE)


class _Failed:
    """Ends the process at the first failure, before anybody writes a report of it; what failed is written down."""

    killers: Path

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Generator[None, object, object]:
        return (yield from self._watched(item))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        return (yield from self._watched(item))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        return (yield from self._watched(item))

    def _watched(self, item: pytest.Item) -> Generator[None, object, object]:
        try:
            return (yield)
        except BaseException:
            before = [one for one in _lines(self.killers) if one != item.nodeid]
            self.killers.write_text("\n".join([item.nodeid, *before[:KILLERS]]))
            os._exit(1)


def _limit(seconds: float) -> None:
    """End the process when it has worked for so long from now on: what goes round for ever is soon done with."""
    setrlimit(RLIMIT_CPU, (ceil(process_time() + seconds), getrlimit(RLIMIT_CPU)[1]))


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


class Collected(PytestRunner):
    """Runs what was collected once; of what reaches a mutant at most so many tests."""

    most: int | None = None

    def collect(self) -> None:
        """Collect in the parent; forks find it there."""
        with change_cwd("mutants"):
            args = ["--rootdir=.", "-q", "-s", *self._pytest_add_cli_args, *self._pytest_add_cli_args_test_selection]
            self._failed = _Failed()
            config = _prepareconfig(args, [self._failed])
            config._do_configure()
            self._session = Session.from_config(config)
            config.hook.pytest_sessionstart(session=self._session)
            self._items = {item.nodeid: item for item in self._session.perform_collect()}
        self._caches = list(_caches())

    def run_tests(self, *, mutant_name: str | None, tests: Iterable[str]) -> int:
        """In a fork of its own where there is a mutant."""
        if mutant_name is None:
            return super().run_tests(mutant_name=None, tests=tests)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        self._failed.killers = PLACE / "killers" / mutant_name.rpartition("__mutmut_")[0]
        items = [self._items[test] for test in sorted(tests, key=self._promise(mutant_name))[: self.most]]
        for forget in self._caches:
            forget()
        with change_cwd("mutants"):
            for item, following in zip(items, [*items[1:], None], strict=True):
                _limit(SECONDS + 2 * state().duration_by_test[item.nodeid])
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        return 0

    def _promise(self, mutant_name: str) -> Callable[[str], int]:
        """What found other mutants of the function comes first, then what sees most, then what is named like it."""
        known = {test: i for i, test in enumerate(_lines(self._failed.killers))}
        module = mutant_name.rpartition(".")[0].rpartition(".")[2]
        others = (BROAD, f"test_{module}", "")
        return lambda test: known.get(test, len(known) + next(i for i, other in enumerate(others) if other in test))


def _caches() -> Iterator[Callable[[], object]]:
    """What forgets: nothing that was computed before a mutation is to be used after it."""
    yield sys.modules["anabranch.domain.graph"]._PREPARED.clear
    for name, module in list(sys.modules.items()):
        if name.startswith("anabranch"):
            for held in list(vars(module).values()):
                if callable(forget := getattr(held, "cache_clear", None)):
                    yield forget


def _startup(runner: Any, started: Any = ForkRunner.startup) -> None:
    runner.test_runner.collect()
    started(runner)


def verdicts() -> dict[str, dict[str, int | None]]:
    """Exit codes by mutant, by file."""
    found = {}
    for path in sorted(walk_mutatable_files()):
        data = SourceFileMutationData(path=path)
        data.load()
        found[str(path.relative_to("src"))] = data.exit_code_by_key
    return found


def report() -> None:
    """Killed of tried: in time, or by running out of it."""
    total: Counter[str] = Counter()
    for path, codes in verdicts().items():
        counted = Counter(map(_verdict, codes.values()))
        total += counted
        if counted:
            print(f"{path:45} {_score(counted)}")
    print(f"{'all':45} {_score(total)}")


def _verdict(code: int | None) -> str:
    if code is None:
        return "untried"
    return "killed" if code in KILLED else "survived" if code in (*SURVIVED, *UNREACHED) else "timeout"


def _score(counted: Counter[str]) -> str:
    tried = counted.total() - counted["untried"]
    killed = counted["killed"] + counted["timeout"]
    left = f"{counted['timeout']} timeouts, {counted['untried']} untried"
    return f"{100 * killed / max(1, tried):6.1f} %  {killed:5} of {tried:5}  ({left})"


def draw(most: int, seed: int) -> None:
    """Have mutmut try of each file only so many mutants, drawn by the seed."""
    patched: Any = mutmut
    everything = patched.collect_source_file_mutation_data

    def drawn(*, mutant_names: Sequence[str]) -> Any:
        mutants, files = everything(mutant_names=mutant_names)
        kept = []
        for path in files:
            own = sorted((one for one in mutants if str(one[0].path) == path), key=itemgetter(1))
            kept += Random(seed).sample(own, min(most, len(own)))
        return kept, files

    patched.collect_source_file_mutation_data = drawn


def main() -> None:
    """Try the mutants and say what became of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mutants", nargs="*", help="names or patterns; tried again though they have a verdict")
    parser.add_argument("--children", type=int, default=2)
    parser.add_argument("--sample", type=int, help="so many of each file, drawn by the seed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tests", type=int, help="at most so many tests a mutant: what is said is then a lower bound")
    parser.add_argument("--report", action="store_true", help="only say what became of them so far")
    args = parser.parse_args()
    if args.report:
        os.chdir(PLACE)
    else:
        lay_out()
        sys.setrecursionlimit(10_000)  # a mutated function takes three frames instead of one
        hypothesis.settings.register_profile("mutation", deadline=None, derandomize=True, database=None)
        hypothesis.settings.load_profile("mutation")
        patched: Any = mutmut
        sys.modules["mutmut.workers.isolation"].PytestRunner = Collected  # type: ignore[attr-defined]
        ForkRunner.startup = _startup  # type: ignore[method-assign, assignment]
        Collected.most = args.tests
        if args.sample is not None:
            draw(args.sample, args.seed)
        patched._run(tuple(args.mutants), args.children)
    report()


if __name__ == "__main__":
    main()

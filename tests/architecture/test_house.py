"""The house checks itself: short files, short functions, no clock or chance among the rules, a README that holds."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*(ROOT / "contracts").rglob("*.py"), *(ROOT / "services").rglob("*.py")])
PURE = [p for p in SOURCES if "domain" in p.parts or "anabranch_contracts" in p.parts]
IMPURE_CALLS = {"now", "utcnow", "today", "time", "monotonic", "uuid1", "uuid4", "urandom", "random", "getenv"}
MAX_FILE, MAX_FUNCTION = 400, 50
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef


def _functions(path: Path) -> list[FUNCTIONS]:
    return [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, FUNCTIONS)]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_functions_are_short_and_documented(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_FILE
    long = [f.name for f in _functions(path) if f.end_lineno and f.end_lineno - f.lineno >= MAX_FUNCTION]
    assert not long
    assert ast.get_docstring(ast.parse(path.read_text())), "a file says what it is for"


def test_the_median_function_has_eight_lines_at_the_most() -> None:
    lengths = sorted((f.end_lineno or 0) - f.lineno + 1 for p in SOURCES for f in _functions(p))
    assert lengths[len(lengths) // 2] <= 8


@pytest.mark.parametrize("path", PURE, ids=lambda p: str(p.relative_to(ROOT)))
def test_rules_ask_no_clock_and_no_chance(path: Path) -> None:
    calls = [n.func for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
    named = {f.attr if isinstance(f, ast.Attribute) else getattr(f, "id", "") for f in calls}
    assert not named & IMPURE_CALLS


def test_no_utils_and_nothing_left_to_do() -> None:
    assert not [p for p in SOURCES if p.stem in ("utils", "helpers", "common", "misc")]
    unfinished = re.compile(r"\b(TODO|FIXME|XXX|NotImplementedError)\b")
    assert not [p for p in SOURCES if unfinished.search(p.read_text())]


def test_every_lint_exception_says_why() -> None:
    bare = re.compile(r"# noqa(: [A-Z0-9, ]+)?\s*$", re.MULTILINE)
    assert not [p for p in [*SOURCES, *(ROOT / "tests").rglob("*.py")] if bare.search(p.read_text())]


def test_commands_of_the_readme_exist() -> None:
    from anabranch.cli.main import COMMANDS, GROUPS

    readme = (ROOT / "README.md").read_text()
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)\b", readme)) <= targets
    known = set(COMMANDS) | set(GROUPS) | {"import"}
    assert set(re.findall(r"\banabranch ([a-z]+)\b(?! is)", readme.split("## Not there")[0])) <= known


def test_the_command_line_and_the_worker_start_without_a_database_driver() -> None:
    import subprocess
    import sys

    for module in ("anabranch", "anabranch.cli.main", "anabranch.agent_worker.service"):
        code = f"import sys, {module}; sys.exit(bool({{'sqlalchemy', 'asyncpg'}} & set(sys.modules)))"
        assert subprocess.run([sys.executable, "-c", code]).returncode == 0, module

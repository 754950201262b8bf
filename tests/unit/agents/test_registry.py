"""Names, duplicates, and refusals that say the mend."""

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

from anabranch.agents.errors import InvalidAgent
from anabranch.agents.registry import AGENTS, Registry, agent, load_modules


class Bot:
    made = 0

    def __init__(self) -> None:
        type(self).made += 1

    def run(self, request: Any) -> Any:
        return self.made


class NeedsKey:
    def __init__(self, key: str) -> None:
        self.key = key

    def run(self, request: Any) -> Any:
        return self.key


class NoRun:
    pass


def echo(request: Any) -> Any:
    return request


@pytest.fixture
def registry() -> Registry:
    return Registry()


def test_names_are_sorted_and_found(registry: Registry) -> None:
    registry.register("b", echo)
    registry.register("a", echo)
    assert registry.names() == ["a", "b"]
    assert "a" in registry and "c" not in registry


def test_a_class_is_made_once_and_late(registry: Registry) -> None:
    Bot.made = 0
    registry.register("bot", Bot)
    assert Bot.made == 0
    assert registry.resolve("bot").function is registry.resolve("bot").function
    assert Bot.made == 1


def test_another_agent_of_the_same_name_is_refused(registry: Registry) -> None:
    registry.register("a", echo)
    registry.register("a", echo)
    with pytest.raises(InvalidAgent, match=r"'a' is registered twice.*test_registry.py:echo"):
        registry.register("a", lambda request: request)


def test_two_instances_of_a_class_are_two_agents(registry: Registry) -> None:
    registry.register("a", NeedsKey("1"))
    with pytest.raises(InvalidAgent, match="twice"):
        registry.register("a", NeedsKey("2"))


@pytest.mark.parametrize(
    ("implementation", "reason"),
    [
        (NoRun, "no method `run`"),
        (NoRun(), "cannot be called"),
        (NeedsKey, "cannot be made"),
        ("text", "cannot be called"),
        (lambda request, temperature: request, "parameter 'temperature'"),
    ],
)
def test_what_cannot_be_called_is_refused_with_the_mend(registry: Registry, implementation: Any, reason: str) -> None:
    with pytest.raises(InvalidAgent, match=reason) as refused:
        registry.register("a", implementation)
    assert refused.value.hint
    assert registry.names() == []


@pytest.mark.parametrize("name", ["", " ", "User", "Start", "End", "a*", "a#b", "a\n", None, 7])
def test_names_that_no_topology_can_have_are_refused(registry: Registry, name: Any) -> None:
    with pytest.raises(InvalidAgent):
        registry.register(name, echo)


def test_the_decorator_without_parentheses_says_so() -> None:
    with pytest.raises(InvalidAgent, match="without parentheses"):
        agent(echo)  # type: ignore[arg-type]


SOURCE = """
from helper_beside import WORD
from anabranch.agents.registry import agent

@agent("{name}")
def run(request):
    return WORD
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with agents; modules and path are put back afterwards."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    (tmp_path / "helper_beside.py").write_text("WORD = 'beside'\n")
    return tmp_path


def test_a_file_is_loaded_once_and_hides_no_module(folder: Path) -> None:
    file = folder / "json.py"
    file.write_text(SOURCE.format(name="from json.py"))
    load_modules(f" {file} , {file}")
    assert AGENTS.resolve("from json.py").function("x") == "beside"
    assert importlib.import_module("json").dumps(1) == "1"


def test_a_module_that_is_reloaded_replaces_its_agents(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "team_module.py").write_text(SOURCE.format(name="reloaded"))
    load_modules("team_module")
    before = AGENTS.resolve("reloaded")
    importlib.reload(sys.modules["team_module"])
    assert AGENTS.resolve("reloaded") is not before


@pytest.mark.parametrize(
    ("source", "reason"),
    [("1/0", "ZeroDivisionError"), ("def", "SyntaxError"), ("import no_such_thing", "no_such_thing")],
)
def test_agents_that_cannot_be_loaded_are_named(folder: Path, source: str, reason: str) -> None:
    file = folder / "broken.py"
    file.write_text(source)
    with pytest.raises(InvalidAgent, match=f"broken.py.*{reason}"):
        load_modules(str(file))


@pytest.mark.parametrize("name", ["no_such_module", "no/such/file.py"])
def test_agents_that_are_not_there_are_named(folder: Path, name: str) -> None:
    with pytest.raises(InvalidAgent, match=name) as refused:
        load_modules(name)
    assert "--agents" in str(refused.value.hint)

"""Which agents this process can run: any callable, or an object or class with `run`."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from anabranch.agents.errors import InvalidAgent
from anabranch.agents.hosting import hosted
from anabranch.agents.loading import load_modules
from anabranch.agents.parameters import Parameters, read_parameters
from anabranch_contracts.topology import RESERVED

__all__ = ["AGENTS", "Agent", "Registry", "agent", "load_modules", "register"]
T = TypeVar("T")


class Agent:
    """One registered agent, its signature read; a class is made into an instance on first use."""

    def __init__(self, name: str, implementation: Any) -> None:
        self.name = name
        self.implementation = implementation
        self.parameters = _parameters(name, implementation)
        self._function: Callable[..., Any] | None = None

    @property
    def function(self) -> Callable[..., Any]:
        """What to call with a step."""
        if self._function is None:
            made = self.implementation
            self._function = _function(made() if isinstance(made, type) else made)
        return self._function


def _parameters(name: str, implementation: Any) -> Parameters:
    if isinstance(implementation, type):
        return _parameters_of_class(name, implementation)
    function = _function(implementation)
    if not callable(function):
        what = type(implementation).__name__
        raise InvalidAgent(
            f"agent {name!r} is a {what}, which cannot be called",
            hint="give a function, or an object with `run`",
        )
    return read_parameters(name, function)


def _parameters_of_class(name: str, cls: type) -> Parameters:
    run = getattr(cls, "run", None)
    if not callable(run):
        raise InvalidAgent(f"agent {name!r}: class {cls.__name__} has no method `run`", hint="add one")
    try:
        inspect.signature(cls).bind()
    except TypeError as error:
        raise InvalidAgent(
            f"agent {name!r}: {cls.__name__}() cannot be made: {error}",
            hint=f"register an instance: register({name!r}, {cls.__name__}(...))",
        ) from None
    bound = isinstance(inspect.getattr_static(cls, "run"), staticmethod | classmethod)
    return read_parameters(name, run, bound)


def _function(implementation: Any) -> Callable[..., Any]:
    found = hosted(implementation)
    if found is None and not inspect.isroutine(implementation):
        found = getattr(implementation, "run", None)
    return implementation if found is None else found


class Registry:
    """Agents by name."""

    def __init__(self) -> None:
        self._agents: dict[str, Agent] = {}

    def register(self, name: str, implementation: Any) -> None:
        """Add an agent; the same name twice is refused unless it is the same code, loaded again."""
        known = self._agents.get(name)
        if known is not None and not _same(known.implementation, implementation):
            places = f"{_home(known.implementation)} and {_home(implementation)}"
            raise InvalidAgent(f"agent {name!r} is registered twice: {places}", hint="rename one of the two")
        self._agents[name] = Agent(_checked(name), implementation)

    def resolve(self, name: str) -> Agent:
        """The agent of that name; raises KeyError."""
        return self._agents[name]

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self._agents)

    def only(self, names: Iterable[str]) -> "Registry":
        """These of its agents."""
        some = Registry()
        some._agents = {name: self._agents[name] for name in names}
        return some

    def __contains__(self, name: object) -> bool:
        return name in self._agents


def _checked(name: str) -> str:
    """A name that a topology and a routing key can carry."""
    if not isinstance(name, str) or not name.strip() or name in RESERVED:
        raise InvalidAgent(f"{name!r} cannot name an agent", hint='write @agent("Name"); Start, End and User are taken')
    if any(c in "*#" or not c.isprintable() for c in name):
        raise InvalidAgent(f"agent name {name!r} contains '*', '#' or control characters", hint="rename it")
    return name


def _same(known: Any, again: Any) -> bool:
    """The same object, or a function or class that was loaded again from the same place."""
    return known is again or (_home(known) == _home(again) and _is_code(known) and _is_code(again))


def _is_code(implementation: Any) -> bool:
    """Written in a module, so the one loaded again is the same agent; two instances may differ."""
    qualname = getattr(implementation, "__qualname__", "<>")
    return "<" not in qualname and (inspect.isfunction(implementation) or isinstance(implementation, type))


def _home(implementation: Any) -> str:
    code = implementation if hasattr(implementation, "__qualname__") else type(implementation)
    try:
        source = inspect.getsourcefile(code)
    except TypeError:  # made in C or in a console
        source = None
    return f"{source or code.__module__}:{code.__qualname__}"


AGENTS = Registry()


def register(name: str, implementation: Any) -> None:
    """Register a function, class or object as the agent `name` of this process."""
    AGENTS.register(name, implementation)


def agent(name: str | None = None) -> Callable[[T], T]:
    """Register a function or class as the agent `name` (default: its own name)."""

    def decorate(implementation: T) -> T:
        own_name = getattr(implementation, "__name__", type(implementation).__name__)
        AGENTS.register(own_name if name is None else name, implementation)
        return implementation

    if callable(name):
        raise InvalidAgent("@agent was used without parentheses", hint='write @agent("Name")')
    return decorate

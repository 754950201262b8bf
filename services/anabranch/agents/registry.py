"""Which agents this process can run: any callable, or an object or class with `run`."""

import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from anabranch_contracts.errors import AnabranchError

T = TypeVar("T")


class Registry:
    """Agents by name."""

    def __init__(self) -> None:
        self._agents: dict[str, Any] = {}

    def register(self, name: str, implementation: Any) -> None:
        """Add an agent; the same name twice is refused unless it is the same code, loaded again."""
        known = self._agents.get(name)
        if known is not None and _home(known) != _home(implementation):
            raise AnabranchError(f"agent {name!r} is registered twice", hint="rename one of the two")
        self._agents[name] = implementation

    def resolve(self, name: str) -> Any:
        """The agent, a class made into an instance on first use."""
        found = self._agents[name]
        if isinstance(found, type):
            found = self._agents[name] = found()
        return found

    def names(self) -> list[str]:
        """All names, sorted."""
        return sorted(self._agents)

    def __contains__(self, name: object) -> bool:
        return name in self._agents


def _home(implementation: Any) -> tuple[str, str]:
    code = implementation if hasattr(implementation, "__qualname__") else type(implementation)
    return code.__module__, code.__qualname__


AGENTS = Registry()


def agent(name: str | None = None) -> Callable[[T], T]:
    """Register a function, class or object as the agent `name` (default: its own name)."""

    def decorate(implementation: T) -> T:
        AGENTS.register(name or getattr(implementation, "__name__", type(implementation).__name__), implementation)
        return implementation

    return decorate


def load_modules(names: str) -> None:
    """Import comma-separated modules or `.py` files, which register their agents by being imported."""
    sys.path[:0] = [] if "" in sys.path else [""]
    for name in filter(None, (part.strip() for part in names.split(","))):
        _load(name)


def _load(name: str) -> None:
    try:
        if not name.endswith(".py"):
            importlib.import_module(name)
            return
        spec = importlib.util.spec_from_file_location(Path(name).stem, name)
        if spec is None or spec.loader is None or not Path(name).is_file():
            raise ImportError(f"no such file: {name}")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    except ImportError as error:
        hint = "name an importable module or a .py file, as in --agents mypackage.agents"
        raise AnabranchError(f"agents {name!r} cannot be loaded: {error}", hint=hint) from error

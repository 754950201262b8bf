"""Import the modules and files that register agents."""

import importlib
import importlib.util
import sys
from pathlib import Path

from anabranch.agents.errors import InvalidAgent

HINT = "name an importable module or a .py file, as in --agents mypackage.agents,team.py"


def load_modules(names: str) -> None:
    """Import comma-separated modules or `.py` files; raises `InvalidAgent` for those that cannot be."""
    if not {"", str(Path.cwd())} & set(sys.path):
        sys.path.insert(0, "")
    for name in filter(None, (part.strip() for part in names.split(","))):
        _load(name)


def _load(name: str) -> None:
    try:
        if name.endswith(".py"):
            _load_file(Path(name).resolve())
        else:
            importlib.import_module(name)
    except InvalidAgent:
        raise
    except Exception as error:  # whatever a user's module raises while it is imported
        raise InvalidAgent(f"agents {name!r} cannot be loaded: {type(error).__name__}: {error}", HINT) from error


def _load_file(path: Path) -> None:
    """Run a file once, under a name that hides no module; its folder is importable for it."""
    if not path.is_file():
        raise FileNotFoundError(str(path))
    if any(getattr(module, "__file__", None) == str(path) for module in list(sys.modules.values())):
        return
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    spec = importlib.util.spec_from_file_location(f"anabranch_agents_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[spec.name]
        raise

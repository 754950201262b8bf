"""Measure Python source with `ast`: size, complexity, docstrings, imports."""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

JSON = Any
BRANCHING = (
    ast.If, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.IfExp, ast.comprehension, ast.match_case,
)  # fmt: skip
MAX_FILES, MAX_BYTES = 400, 2_000_000


def source_files(root: Path) -> list[str]:
    """Python files below `root`, sorted, test folders left out; at most 400."""
    found = sorted(p for p in root.rglob("*.py") if not {"test", "tests", "__pycache__"} & set(p.parts))
    return [str(p.relative_to(root)) for p in found[:MAX_FILES]]


def measure(root: Path, name: str) -> dict[str, JSON]:
    """What one file is like; a file that cannot be parsed says why."""
    data = (root / name).read_bytes()[:MAX_BYTES]
    facts: dict[str, JSON] = {"file": name, "lines": data.count(b"\n") + 1}
    try:
        tree = ast.parse(data)
    except (SyntaxError, ValueError) as error:
        return {**facts, "unreadable": str(error)}
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    classes = [n for n in ast.walk(tree) if isinstance(n, ast.ClassDef)]
    described = [n for n in (*functions, *classes) if ast.get_docstring(n)]
    return {
        **facts,
        "functions": len(functions),
        "classes": len(classes),
        "documented": len(described),
        "documentable": len(functions) + len(classes),
        "module_docstring": ast.get_docstring(tree) is not None,
        "imports": sorted(set(imports(tree))),
        "hotspots": hotspots(functions),
    }


def imports(tree: ast.AST) -> Iterator[str]:
    """Top-level names of the modules imported anywhere."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0] if not node.level else "." + (node.module or "")


def complexity(function: ast.AST) -> int:
    """McCabe's number: one path, and one more for each branching."""
    forks = sum(isinstance(n, BRANCHING) for n in ast.walk(function))
    return 1 + forks + sum(len(n.values) - 1 for n in ast.walk(function) if isinstance(n, ast.BoolOp))


def hotspots(functions: Iterable[ast.FunctionDef | ast.AsyncFunctionDef], most: int = 3) -> list[dict[str, JSON]]:
    """The most complex functions."""
    measured = [(complexity(f), f.lineno, f.name) for f in functions]
    worst = sorted(measured, key=lambda m: (-m[0], m[1]))[:most]
    return [{"name": name, "line": line, "complexity": paths} for paths, line, name in worst]


def _gaps(read: list[dict[str, JSON]]) -> list[dict[str, JSON]]:
    return [{"file": f["file"], "missing": f["documentable"] - f["documented"]} for f in read]


def _most(rows: list[dict[str, JSON]], column: str, most: int) -> list[dict[str, JSON]]:
    """The rows with the largest values, the first of equals first."""
    return sorted(rows, key=lambda row: -int(row[column]))[:most]


def summarise(files: list[dict[str, JSON]]) -> dict[str, JSON]:
    """The tree as a whole: totals, coverage, hotspots, what depends on what."""
    read = [f for f in files if "unreadable" not in f]
    documentable = sum(f["documentable"] for f in read)
    spots = [{**h, "file": f["file"]} for f in read for h in f["hotspots"]]
    used: dict[str, int] = {}
    for f in read:
        for name in f["imports"]:
            used[name] = used.get(name, 0) + 1
    return {
        "files": len(files),
        "lines": sum(f["lines"] for f in files),
        "functions": sum(f["functions"] for f in read),
        "classes": sum(f["classes"] for f in read),
        "docstring_coverage": round(sum(f["documented"] for f in read) / documentable, 3) if documentable else 1.0,
        "largest": _most([{"file": f["file"], "lines": f["lines"]} for f in files], "lines", 5),
        "hotspots": _most(spots, "complexity", 8),
        "undocumented": _most(_gaps(read), "missing", 5),
        "imports": sorted(used.items(), key=lambda item: (-item[1], item[0]))[:10],
        "unreadable": [f for f in files if "unreadable" in f],
    }

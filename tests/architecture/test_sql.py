"""SQL is always bound: statements are constants of their modules, and values travel beside them.

Three rules, on the syntax tree of everything that runs with a user's data:
- a text that reads like SQL is put together only from CONSTANTS of a module, or by a builder that runs at import;
- what is executed is such a text, a CONSTANT, or the parameter `statement` of a function that passes it on;
- what is put together at import cannot hold a value; builders are called there and nowhere else.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "services").rglob("*.py"))
SQL = re.compile(r"\b(SELECT|INSERT INTO|UPDATE|DELETE FROM|TRUNCATE|DROP|ALTER|CREATE|GRANT|COMMENT ON|WITH)\s")
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef
PASSED_ON = "statement"
BUILDERS = {"_upsert"}


def passing_on(tree: ast.AST) -> dict[str, int]:
    """Functions that pass a statement on, and at which place they take it."""
    found = {}
    for function in [n for n in ast.walk(tree) if isinstance(n, FUNCTIONS)]:
        names = [a.arg for a in function.args.args if a.arg != "self"]
        if PASSED_ON in names:
            found[function.name] = names.index(PASSED_ON)
    return found


EXECUTES = dict.fromkeys(("exec_driver_sql", "text", "fetch", "fetchrow", "fetchval"), 0)
for source in SOURCES:
    EXECUTES |= passing_on(ast.parse(source.read_text()))


def built(node: ast.AST) -> bool:
    """Whether a text is put together here."""
    if isinstance(node, ast.JoinedStr):
        return True
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.Add | ast.Mod)
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("format", "join")


def said(node: ast.AST) -> str:
    """The fixed parts of a text."""
    parts = [n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    return " ".join(parts)


def constant(node: ast.AST) -> bool:
    """Whether nothing but constants of modules goes into it."""
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Attribute) and node.func.attr in ("format", "join") and not node.args
    names = [n for n in ast.walk(node) if isinstance(n, ast.Name | ast.Attribute)]
    heads = [n for n in names if not any(n is m.value for m in names if isinstance(m, ast.Attribute))]
    return all((n.id if isinstance(n, ast.Name) else n.attr).isupper() for n in heads)


def outermost(tree: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """Texts that are put together, each with the name of the function it stands in."""

    def visit(node: ast.AST, function: str) -> Iterator[tuple[ast.AST, str]]:
        inside = node.name if isinstance(node, FUNCTIONS) else function
        if built(node):
            yield node, function
            return
        for child in ast.iter_child_nodes(node):
            yield from visit(child, inside)

    yield from visit(tree, "")


def violations(source: str) -> list[str]:
    """Where SQL is built from values, or something else than a constant is executed."""
    tree = ast.parse(source)
    found = [
        f"line {node.lineno}: built from values"  # type: ignore[attr-defined]
        for node, function in outermost(tree)
        if SQL.search(said(node)) and function and function not in BUILDERS and not constant(node)
    ]
    for call in [n for n in ast.walk(tree) if isinstance(n, ast.Call) and asks_a_database(source)]:
        name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        place = {**EXECUTES, **passing_on(tree)}.get(name)
        if place is not None and len(call.args) > place and not fixed(call.args[place]):
            found.append(f"line {call.lineno}: {name} is given {ast.unparse(call.args[place])}")
    return found + [f"{name} is called at run time" for name in run_time_builders(tree)]


def asks_a_database(source: str) -> bool:
    return re.search(r"\b(sqlalchemy|exec_driver_sql|queries|unit\.execute)\b", source) is not None


def fixed(node: ast.expr) -> bool:
    """Whether a statement is a constant, or was looked at where it came from."""
    if isinstance(node, ast.Subscript):
        node = node.value
    if isinstance(node, ast.IfExp):
        return fixed(node.body) and fixed(node.orelse)
    if isinstance(node, ast.Call):  # what `text` is given is looked at on its own
        return ast.unparse(node).startswith(("text(", f"getattr(queries, {PASSED_ON})"))
    if isinstance(node, ast.Name) and node.id == PASSED_ON:
        return True
    return isinstance(node, ast.Constant) or (isinstance(node, ast.Name | ast.Attribute) and constant(node))


def run_time_builders(tree: ast.AST) -> list[str]:
    functions = [n for n in ast.walk(tree) if isinstance(n, FUNCTIONS)]
    calls = [c for f in functions for c in ast.walk(f) if isinstance(c, ast.Call) and isinstance(c.func, ast.Name)]
    return [c.func.id for c in calls if isinstance(c.func, ast.Name) and c.func.id in BUILDERS]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_sql_is_never_built_from_values(path: Path) -> None:
    assert violations(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "def f(c, name): c.exec_driver_sql(f\"SELECT 1 FROM runs WHERE name = '{name}'\")",
        "def f(c, name): c.exec_driver_sql('SELECT 1 FROM runs WHERE name = ' + name)",
        "def f(c, name): c.exec_driver_sql('SELECT 1 FROM runs WHERE name = %s' % name)",
        "def f(c, name): c.exec_driver_sql('SELECT 1 FROM {}'.format(name))",
        "def f(c, name):\n    query = f'DELETE FROM {name}'\n    c.exec_driver_sql(query)",
        "def f(c, query): c.exec_driver_sql(query)",
        "def f(c, name): c.execute(text(f'DROP TABLE {name}'))  # exec_driver_sql",
        "def f(c, name): c.exec_driver_sql(_upsert(name))",
        "async def f(e, name): return await queries.rows(e, f'{queries.RUNS} AND name = {name}')",
    ],
)
def test_what_is_built_from_values_is_found(source: str) -> None:
    assert violations(source)


@pytest.mark.parametrize(
    "source",
    [
        "A = 'x'\nB = f'SELECT {A} FROM runs'\ndef f(c, name): c.exec_driver_sql(B, (name,))",
        "def f(c, name): c.exec_driver_sql('SELECT 1 FROM runs WHERE name = $1', (name,))",
        "def f(c, table): c.exec_driver_sql(sql.UPSERT[table], ())",
    ],
)
def test_what_is_bound_is_not(source: str) -> None:
    assert violations(source) == []

"""Pages that promise something name the tests that hold it; each of those exists."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
DOCS = TESTS.parent / "ops/docs"
PROOF = re.compile(r"`([\w/]+\.py)::(\w+)`")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
PROOFS = sorted({(page.name, *proof) for page in DOCS.glob("*.md") for proof in PROOF.findall(page.read_text())})


@cache
def functions(path: str) -> frozenset[str]:
    """The tests of a file."""
    tree = ast.parse((TESTS / path).read_text())
    return frozenset(node.name for node in tree.body if isinstance(node, FUNCTIONS))


@pytest.mark.parametrize(("page", "path", "name"), PROOFS)
def test_a_test_that_a_page_names_exists(page: str, path: str, name: str) -> None:
    assert name in functions(path), f"{page} names tests/{path}::{name}"


def test_the_pages_that_promise_name_tests() -> None:
    assert {"promises.md", "guarantees.md"} <= {page for page, _, _ in PROOFS}


def test_every_row_of_the_guarantees_names_one() -> None:
    rows = [line for line in (DOCS / "guarantees.md").read_text().splitlines() if line.startswith("| ")]
    stated = [row for row in rows if not row.startswith(("| guarantee", "| what"))]
    assert stated and all(PROOF.search(row) for row in stated)

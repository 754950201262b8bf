"""`ops/docs/promises.md` is true as far as a machine can tell: each row names tests, and they exist."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.examples import EXAMPLES

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "ops/docs/promises.md"
ROW = re.compile(r"\| (\d+) \| (.+) \| (.+) \| (`.+`) \|")
LEAST = 90


def rows() -> Iterator[tuple[int, list[str]]]:
    """Number and proofs of each row."""
    for line in PAGE.read_text().splitlines():
        if match := ROW.fullmatch(line):
            yield int(match[1]), [proof.strip("`") for proof in match[4].split("<br>")]


PROOFS = sorted({proof for _, proofs in rows() for proof in proofs})


def test_every_row_has_its_number_and_a_proof() -> None:
    table = [line for line in PAGE.read_text().splitlines() if re.match(r"\| \d", line)]
    assert [number for number, _ in rows()] == list(range(1, len(table) + 1)) and len(table) >= LEAST


@pytest.mark.parametrize("proof", PROOFS)
def test_a_proof_exists(proof: str) -> None:
    if proof.startswith("examples/"):
        assert proof.removeprefix("examples/") in EXAMPLES
        return
    path, _, name = proof.partition("::")
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    assert name in {node.name for node in ast.parse((TESTS / path).read_text()).body if isinstance(node, functions)}


def test_every_example_proves_something() -> None:
    assert {f"examples/{name}" for name in EXAMPLES} <= set(PROOFS)

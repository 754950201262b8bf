"""`ops/docs/promises.md`: each row has its number and its proofs, each example proves something."""

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


@pytest.mark.parametrize("proof", [proof for proof in PROOFS if "::" not in proof])
def test_an_example_that_proves_something_exists(proof: str) -> None:
    assert proof.removeprefix("examples/") in EXAMPLES


def test_every_example_proves_something() -> None:
    assert {f"examples/{name}" for name in EXAMPLES} <= set(PROOFS)

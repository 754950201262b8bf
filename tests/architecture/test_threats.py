"""`ops/docs/threat-model.md`: every attempt names what stops it, and a test that tries it."""

import re
from collections.abc import Iterator

from tests.architecture.test_proofs import DOCS, PROOF

PAGE = DOCS / "threat-model.md"
LEAST = 25


def attempts() -> Iterator[list[str]]:
    """The cells of each row of the tables of attempts."""
    inside = False
    for line in PAGE.read_text().splitlines():
        inside = line.startswith("| attempt |") or (inside and line.startswith("|"))
        if inside and not line.startswith(("| attempt |", "|---")):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_every_attempt_is_tried() -> None:
    rows = list(attempts())
    assert len(rows) >= LEAST
    assert not [row for row in rows if len(row) != 3 or not all(row) or not PROOF.search(row[2])]


def test_every_party_is_told_what_it_may_not() -> None:
    parties = PAGE.read_text().split("## Who")[1].split("##")[0]
    rows = [line.split("|")[1:-1] for line in parties.splitlines() if line.startswith("| ") and "---" not in line]
    assert len(rows) > 6 and all(cell.strip() for row in rows for cell in row)

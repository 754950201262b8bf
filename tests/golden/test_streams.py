"""Every shape ever published still means what it meant: whole runs of them fold to the rows of their day."""

from hashlib import sha256
from pathlib import Path

import pytest

from anabranch_contracts.catalog import VERSIONS
from tests.golden import streams


@pytest.mark.parametrize("path", streams.paths(), ids=lambda p: p.stem)
def test_a_published_run_folds_to_the_rows_it_had(path: Path) -> None:
    """Today's rows may say more, never other."""
    stream = streams.stored(path)
    today = streams.rows(streams.recorded(stream))
    for table, then in streams.migrated(stream["rows"]).items():
        assert today[table].keys() == then.keys()
        for key, row in then.items():
            assert {column: today[table][key][column] for column in row} == row


def test_every_shape_stands_in_a_run() -> None:
    """`python -m tests.golden.record` adds what is missing."""
    wanted = {(kind, v) for kind, newest in VERSIONS.items() for v in range(1, newest + 1)}
    assert wanted == {shape for path in streams.paths() for shape in streams.shapes(path)}


def test_what_was_published_is_never_edited_and_what_is_there_is_published() -> None:
    """`python -m tests.golden.record` lists what is new; a digest that differs is never the list's mistake."""
    assert streams.published() == dict(streams.there())


def test_an_edit_shows() -> None:
    name = next(iter(streams.published()))
    content = (streams.GOLDEN / name).read_bytes()
    assert sha256(content + b" ").hexdigest() != streams.published()[name]

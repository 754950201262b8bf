"""A published event is never edited: today's code reads every version ever stored."""

from pathlib import Path

import orjson
import pytest

from anabranch_contracts.catalog import EVENTS, VERSIONS, UnknownEvent, decode, encode
from tests.golden.samples import paths


@pytest.mark.parametrize("path", paths(), ids=lambda p: p.stem)
def test_every_stored_shape_is_read_and_the_newest_is_written_as_it_was(path: Path) -> None:
    kind, version = path.stem.split(".v")
    event = decode(kind, int(version), orjson.loads(path.read_bytes()))
    if int(version) == VERSIONS[kind]:
        assert encode(event)[2] == path.read_bytes().strip()


def test_every_type_and_version_has_a_sample() -> None:
    wanted = {f"{kind}.v{v}" for kind in EVENTS for v in range(1, VERSIONS[kind] + 1)}
    assert {p.stem for p in paths()} == wanted


def test_fields_of_a_newer_minor_shape_are_ignored_and_newer_versions_are_refused() -> None:
    assert decode("RunCancelled", 1, {"reason": "r", "since": "tomorrow"}).reason == "r"  # type: ignore[union-attr]
    with pytest.raises(UnknownEvent, match="upgrade"):
        decode("RunCancelled", VERSIONS["RunCancelled"] + 1, {})


def test_a_shape_that_lacks_what_today_is_needed_is_refused_by_its_name() -> None:
    with pytest.raises(UnknownEvent, match=r"BranchCancelled v1 is not known here in this shape: .*'branch_id'"):
        decode("BranchCancelled", 1, {"reason": "r"})

"""Ids that are derived."""

from uuid import UUID, uuid5

import pytest

from anabranch.domain.identity import derived


@pytest.mark.parametrize("space", [UUID(int=0), UUID(int=2**128 - 1), UUID("01a2135b-70f1-72fd-a992-139b59305cba")])
@pytest.mark.parametrize("name", ["", "1", "error/b0.f1.b7#3/2", "naïve"])
def test_a_derived_id_is_that_of_the_standard(space: UUID, name: str) -> None:
    assert derived(space, name) == uuid5(space, name)
    assert derived(space, name).version == 5

"""One town for all faults of the suite: starting it is slow, and what it has been through must not matter.

The audit of all that happened in it is at its end.
"""

import asyncio
from collections.abc import Iterator

import pytest

from tests.audit import audit
from tests.faults.town import Town, town


@pytest.fixture(scope="session")
def shared_town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with town(tmp_path_factory.mktemp("town")) as place:
        yield place
        asyncio.run(audit(place.database.url))


@pytest.fixture
def place(shared_town: Town) -> Iterator[Town]:
    """Everybody well at the beginning and at the end."""
    shared_town.heal()
    yield shared_town
    shared_town.heal()

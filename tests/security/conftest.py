"""The locked servers and the services on them, started once."""

from collections.abc import Iterator

import pytest

from tests.security.house import House, house
from tests.security.locked import Locked, locked


@pytest.fixture(scope="session")
def servers() -> Iterator[Locked]:
    with locked() as made:
        yield made


@pytest.fixture(scope="session")
def services(servers: Locked, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with house(tmp_path_factory.mktemp("locked"), servers) as made:
        yield made

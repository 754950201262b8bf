"""One house of scripted agents a module, and all of the module's runs asked for at once."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from anabranch.runtime.postgres.migrate import upgrade
from tests import services
from tests.acceptance.stage import AskedRun, Stage, stage


@pytest.fixture(scope="module")
def house_urls(postgres_server: str, rabbitmq_server: str) -> Iterator[tuple[str, str]]:
    """A database and a virtual host for all tests of a module."""
    with services.fresh_database(postgres_server) as database_url, services.fresh_vhost(rabbitmq_server) as amqp_url:
        asyncio.run(upgrade(database_url))
        yield database_url, amqp_url


@pytest.fixture(scope="module")
def addresses(house_urls: tuple[str, str]) -> Iterator[None]:
    """The environment names the house's services, for this process and the commands that it runs."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ANABRANCH_DATABASE_URL", house_urls[0])
        environment.setenv("ANABRANCH_AMQP_URL", house_urls[1])
        yield


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scripted_house(house_urls: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """Where a module's tests ask for runs; they need `pytest.mark.asyncio(loop_scope="module")`."""
    async with stage(*house_urls, tmp_path_factory.mktemp("house")) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def runs(scripted_house: Stage, request: pytest.FixtureRequest) -> dict[str, AskedRun]:
    """The runs of the module's `CASES` (arguments of `Stage.ask` by name), all under way at once."""
    return {name: await scripted_house.ask(**case) for name, case in request.module.CASES.items()}

"""Fixtures: a database and a virtual host of one's own for each test that asks."""

import asyncio
import signal
from collections.abc import Iterator

import pytest

from anabranch.runtime.postgres.migrate import upgrade
from tests import services

# Whoever a shell starts in the background has interrupts ignored, and so would have all that is started here.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    with services.postgres() as url:
        yield url


@pytest.fixture(scope="session")
def rabbitmq_server() -> Iterator[str]:
    with services.rabbitmq() as url:
        yield url


@pytest.fixture
def empty_database_url(postgres_server: str) -> Iterator[str]:
    with services.fresh_database(postgres_server) as url:
        yield url


@pytest.fixture
def database_url(empty_database_url: str) -> str:
    asyncio.run(upgrade(empty_database_url))
    return empty_database_url


@pytest.fixture
def amqp_url(rabbitmq_server: str) -> Iterator[str]:
    with services.fresh_vhost(rabbitmq_server) as url:
        yield url

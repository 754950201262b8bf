"""anabranch in one process: the same services on the memory broker, real Postgres; asked as `Orchestra.run` asks."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from ops.bench.drive import DATABASE_URL, drive
from ops.bench.subjects import team  # noqa: F401 - registers the agents
from ops.bench.subjects.runs import Runs

from anabranch.client.embedded import Engine
from anabranch.runtime.postgres.store import PostgresStore
from anabranch.runtime.settings import Settings
from anabranch_contracts.errors import AnabranchError

JSON = Any


class Embedded(Runs):
    """Runs in this process."""

    async def outcome(self, request: JSON) -> JSON:
        """What `Orchestra.run` does: the result with all its branches and their traces."""
        result = await (await self._session.submit(request)).result()
        if not result.success:
            raise AnabranchError(f"a run failed: {result}")
        return result.final_response


@asynccontextmanager
async def opened() -> AsyncIterator[Embedded]:
    """The engine on the benchmark's own database."""
    os.environ.pop("ANABRANCH_AMQP_URL", None)
    store = PostgresStore(DATABASE_URL)
    async with Engine(Settings(database_url=DATABASE_URL, concurrency=256, log_level="warning")) as session:
        yield Embedded(session, store)
    await store.close()


if __name__ == "__main__":
    drive(opened)

"""A broker in memory, and the other side of its workers."""

import pytest

from anabranch.runtime.memory.transport import MemoryBroker, MemoryTransport
from tests.integration.worker.wire import Asker


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker()


@pytest.fixture
async def asker(broker: MemoryBroker) -> Asker:
    transport = MemoryTransport(broker)
    await transport.connect()
    return await Asker.over(transport)

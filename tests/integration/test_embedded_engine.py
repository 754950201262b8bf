"""The embedded engine inside somebody's program."""

import asyncio
from uuid import uuid4

import pytest

from anabranch import Orchestra, ask_user, register
from anabranch.client.embedded import Engine
from anabranch.runtime.postgres.embedded import EmbeddedError
from anabranch.runtime.settings import load
from anabranch_contracts.errors import AnabranchError
from tests.services import data_folder


async def test_an_agent_that_is_registered_while_the_engine_is_up_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first run keeps the engine up until the second, of a late agent, has had its result."""
    may_go = asyncio.Event()

    async def early(request: str) -> str:
        await may_go.wait()
        return request

    register("Early", early)
    with data_folder() as folder:
        monkeypatch.setenv("ANABRANCH_DATA_DIR", str(folder))
        handle = await Orchestra.submit("first", {"nodes": ["Early"], "edges": []})
        register("Late", lambda request: f"late {request}")
        second = await Orchestra.run("second", {"nodes": ["Late"], "edges": []})
        may_go.set()
        first = await handle.result()
    assert (first.final_response, second.final_response) == ("first", "late second")


async def test_a_run_is_taken_hold_of_by_its_id(monkeypatch: pytest.MonkeyPatch) -> None:
    register("Patient", lambda request, memory: request if memory else ask_user("Well?"))
    with data_folder() as folder:
        monkeypatch.setenv("ANABRANCH_DATA_DIR", str(folder))
        asking = await Orchestra.submit("first", {"nodes": ["Patient"], "edges": []})
        async for event in asking.events():
            if event["type"] == "UserInputRequested":
                await (await Orchestra.attach(asking.run_id)).respond("so so")
        assert (await asking.result()).final_response == "so so"
        assert (await (await Orchestra.attach(str(asking.run_id))).result()).final_response == "so so"
        with pytest.raises(AnabranchError, match="is not known"):
            await Orchestra.attach(uuid4())


async def test_a_database_has_one_engine_at_a_time(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second one would take up what the first has in hand."""
    monkeypatch.setenv("ANABRANCH_DATABASE_URL", database_url)
    async with Engine(load()):
        with pytest.raises(EmbeddedError, match="another engine works on this database"):
            await Engine(load()).__aenter__()
    async with Engine(load()):
        pass

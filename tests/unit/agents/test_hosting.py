"""Foreign agents are known by module and class name; stand-ins with those names behave as the real ones do."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.unit.agents.steps import answer

MEMORY = [{"role": "user", "content": {"q": 1}}, {"role": "assistant", "content": "a", "name": "A"}]
CONVERSATION = [
    {"role": "user", "content": '{"q":1}'},
    {"role": "assistant", "content": "a"},
    {"role": "user", "content": "hello"},
]


def foreign(name: str, module: str, **members: Any) -> Any:
    base = type(name, (), {"__module__": module, **members})
    return type("Mine", (base,), {})()


async def test_langchain_runnables_get_the_request_as_it_is() -> None:
    async def ainvoke(self: Any, value: Any) -> Any:
        return {"got": value}

    chain = foreign("Runnable", "langchain_core.runnables.base", ainvoke=ainvoke)
    assert (await answer(chain, {"x": 1}, memory=MEMORY)).reply == {"got": {"x": 1}}


async def test_langchain_models_get_the_conversation() -> None:
    async def ainvoke(self: Any, value: Any) -> Any:
        assert value == CONVERSATION
        return SimpleNamespace(content="said", usage_metadata={"input_tokens": 2, "output_tokens": 1})

    runnable = type("Runnable", (), {"__module__": "langchain_core.runnables.base", "ainvoke": ainvoke})
    model = type("BaseLanguageModel", (runnable,), {"__module__": "langchain_core.language_models.base"})()
    found = await answer(model, memory=MEMORY)
    assert found.reply == "said"
    assert found.usage is not None and found.usage.input_tokens == 2


async def test_langgraph_takes_texts_as_messages_and_objects_as_state() -> None:
    async def ainvoke(self: Any, state: Any) -> Any:
        return {"messages": [SimpleNamespace(content=len(state["messages"]))]} if "messages" in state else state

    graph = foreign("Pregel", "langgraph.pregel.main", ainvoke=ainvoke)
    assert (await answer(graph, memory=MEMORY)).reply == 3
    assert (await answer(graph, {"own": "state"})).reply == {"own": "state"}


async def test_openai_agents_run_untraced(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(agent: Any, conversation: Any, run_config: Any) -> Any:
        assert run_config.tracing_disabled and conversation == CONVERSATION
        usage = SimpleNamespace(input_tokens=5, output_tokens=6)
        return SimpleNamespace(final_output="done", context_wrapper=SimpleNamespace(usage=usage))

    framework: Any = ModuleType("agents")
    framework.Runner, framework.RunConfig = SimpleNamespace(run=run), SimpleNamespace
    monkeypatch.setitem(sys.modules, "agents", framework)
    found = await answer(foreign("Agent", "agents.agent"), memory=MEMORY)
    assert found.reply == "done"
    assert found.usage is not None and found.usage.output_tokens == 6


async def test_pydantic_ai_gets_its_own_history(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run(self: Any, prompt: str, message_history: Any) -> Any:
        parts = [type(part).__name__ for message in message_history for part in message.parts]
        return SimpleNamespace(output=[prompt, *parts], usage=lambda: SimpleNamespace(input_tokens=1))

    framework: Any = ModuleType("pydantic_ai.messages")
    for name in ("UserPromptPart", "SystemPromptPart", "TextPart", "ModelRequest", "ModelResponse"):
        setattr(framework, name, type(name, (SimpleNamespace,), {}))
    monkeypatch.setitem(sys.modules, "pydantic_ai.messages", framework)
    found = await answer(foreign("AbstractAgent", "pydantic_ai.agent.abstract", run=run), memory=MEMORY)
    assert found.reply == ["hello", "UserPromptPart", "TextPart"]
    assert found.usage is not None and found.usage.input_tokens == 1

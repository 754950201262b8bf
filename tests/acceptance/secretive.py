"""Agents that say secrets wherever something can be said; each secret is `hush-` and the place."""

from typing import Any

from anabranch import agent, final_response
from anabranch_contracts.errors import TerminalError

JSON = Any


def secret(place: str) -> dict[str, JSON]:
    """A secret under three spellings of a name, beside something that is none."""
    return {"api-key": f"hush-{place}", "nested": [{"apiKey": {"deep": f"hush-{place}"}}], "kept": place}


@agent("Boss")
async def boss(request: JSON, *, memory: JSON, context: JSON, ctx: Any) -> JSON:
    assert "hush" not in str([request, memory, context]), "a secret has reached an agent"
    if memory:
        return final_response(secret("result"))
    called = await ctx.invoke_agent("Called", request=secret("call"))
    answer = await ctx.ask_user(secret("prompt"), choices=None, schema={"type": "object"})
    both = [called, answer, secret("fork")]
    return {"next_action": "parallel_invoke", "agents": ["W1", "W2"], "agent_requests": {"W1": both},
            "context_updates": secret("updates")}  # fmt: skip


@agent("Called")
def called(request: JSON) -> JSON:
    return secret("called")


@agent("W1")
def w1(request: JSON) -> JSON:
    return final_response(secret("reply"))


@agent("W2")
def w2(request: JSON) -> JSON:
    raise TerminalError("no luck: api_key=\"hush-error\" and {'Api-Key': 'hush-error'}")

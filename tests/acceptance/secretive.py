"""Agents that say secrets wherever something can be said; each secret is `hush-` and the place."""

from typing import Any

from anabranch import agent, final_response
from anabranch_contracts.errors import TerminalError

JSON = Any


def secret(place: str) -> dict[str, JSON]:
    """A secret under three spellings of a name, beside something that is none."""
    return {"api-key": f"hush-{place}", "nested": [{"apiKey": {"deep": f"hush-{place}"}}], "kept": place}


@agent("Teller")
async def teller(request: JSON, *, memory: JSON, context: JSON, ctx: Any) -> JSON:
    assert "hush" not in str([request, memory, context]), "a secret has reached an agent"
    if memory:
        return final_response(secret("result"))
    called = await ctx.invoke_agent("Aside", request=secret("call"))
    answer = await ctx.ask_user(secret("prompt"), choices=None, schema={"type": "object"})
    both = [called, answer, secret("fork")]
    return {"next_action": "parallel_invoke", "agents": ["Left", "Right"], "agent_requests": {"Left": both},
            "context_updates": secret("updates")}  # fmt: skip


@agent("Aside")
def aside(request: JSON) -> JSON:
    return secret("called")


@agent("Left")
def left(request: JSON) -> JSON:
    return final_response(secret("reply"))


@agent("Right")
def right(request: JSON) -> JSON:
    raise TerminalError("no luck: api_key=\"hush-error\" and {'Api-Key': 'hush-error'}")

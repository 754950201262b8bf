"""Play examples side by side: prints the facts of each beside what was promised, as JSON by example."""

import asyncio
import importlib
import json
import sys
import traceback
from types import ModuleType
from typing import Any

from anabranch.client.orchestra import connected
from anabranch.runtime.settings import load
from tests.acceptance.examples import EXAMPLES, module


def loaded(names: list[str]) -> dict[str, ModuleType]:
    """The examples, their agents registered."""
    return {name: importlib.import_module(module(name)) for name in names}


def promised(example: ModuleType) -> dict[str, Any]:
    """What is promised of an example; few things can be kept only where all is one process."""
    apart = load().amqp_url is not None and hasattr(example, "PROMISED_DISTRIBUTED")
    facts: dict[str, Any] = example.PROMISED_DISTRIBUTED if apart else example.PROMISED
    return facts


async def _facts(example: ModuleType) -> object:
    try:
        return await example.main()
    except Exception:  # the others go on; it stands where the facts should be
        return {"raised": traceback.format_exc()}


async def play(names: list[str]) -> None:
    """Play these, all on one connection or embedded engine."""
    examples = loaded(names)
    async with connected(load()):
        facts = await asyncio.gather(*map(_facts, examples.values()))
    found = zip(names, facts, examples.values(), strict=True)
    print(json.dumps({name: {"facts": told, "promised": promised(example)} for name, told, example in found}))


if __name__ == "__main__":
    asyncio.run(play(sys.argv[1:] or EXAMPLES))

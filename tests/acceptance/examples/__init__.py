"""The code examples of the seed document, one file each: its agents, `main`, and what the document `PROMISED`.

`main` asks for the example's runs and tells what they came to; the keys of its facts are the tasks of the runs
where they are told by `told`. `python -m tests.acceptance.examples NAME ...` plays examples side by side.
"""

from pathlib import Path

EXAMPLES = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))


def module(name: str) -> str:
    """Where an example is imported from."""
    return f"{__name__}.{name}"


AGENTS = ",".join(module(name) for name in EXAMPLES)
"""All of them as a worker loads them."""

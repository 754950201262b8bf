"""Conditions of edges and rules: CEL, guarded, over `run`, `branch`, `step` and `context`.

CEL knows no step limit, so what could grow without end is bounded before it is compiled: length, nesting, additions,
and comprehensions inside comprehensions; and what is too large to go through is left out of what they see. A
condition that cannot be evaluated (a key is missing, say) does not hold.
A Python callable is known only to the process that made it; its name stands for it in the topology.
What is said of `run` depends on how far other branches have come, so an outcome that hangs on it depends on timing.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

from anabranch.domain.state import Branch, RunState
from anabranch_contracts.rules import PYTHON, PYTHON_CONDITIONS

JSON = Any
MAX_LENGTH, MAX_NESTING, MAX_MACROS, MAX_ITEMS = 4000, 32, 4, 10_000
MAX_ADDITIONS, MAX_ADDITIONS_IN_MACROS = 32, 4
_MACRO = re.compile(r"\.\s*(?:all|exists|exists_one|existsOne|map|filter)\s*\(")
_TEXT = re.compile(  # comments and texts as CEL reads them: what only looks like one could hide code from the guard
    r"""//[^\n]*|[rR](?:\"{3}.*?\"{3}|'{3}.*?'{3}|"[^"]*"|'[^']*')"""
    r"""|\"{3}(?:\\.|[^\\])*?\"{3}|'{3}(?:\\.|[^\\])*?'{3}|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'""",
    re.DOTALL,
)
_PREFIXES = re.compile(rf"[!\-]{{{MAX_NESTING + 1},}}")
_BOUND = re.compile(_MACRO.pattern + r"\s*(\w+)\s*,(?:\s*(\w+)\s*,)?")
_KEY = re.compile(r"(?<![\w.])(run|branch)\s*\.\s*(\w+)")
TYPES = {
    *("bool", "bytes", "double", "duration", "int", "list", "map", "null_type", "string", "timestamp", "type", "uint")
}
FUNCTIONS = (
    *("size", "contains", "startsWith", "endsWith", "matches"),
    *("int", "uint", "double", "string", "bytes", "type", "dyn", "timestamp", "duration"),
    *("getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfYear", "getDayOfWeek"),
    *("getHours", "getMinutes", "getSeconds", "getMilliseconds"),
)
FACTS = {
    "run": ("id", "total_steps", "branch_count", "parallel_branches", "tokens", "cost"),
    "branch": ("id", "type", "agent", "steps"),
    "step": (),
    "context": (),
}
"""What a condition may ask about; of a step and the context whatever is in them."""
OPENING, CLOSING = "([{", ")]}"


def wrong_with(expression: str) -> str | None:
    """Why a condition cannot be used; None when it can."""
    if expression.startswith(PYTHON):
        mend = "a Python condition cannot cross a wire; write it in CEL, as in 'branch.steps < 5'"
        return None if known(expression) else mend
    if len(expression) > MAX_LENGTH:
        return f"has {len(expression)} characters, the limit is {MAX_LENGTH}"
    code = _TEXT.sub(" ", expression)
    if _too_deep(code):
        return f"is nested deeper than {MAX_NESTING}, or has a comprehension inside another; write it flat"
    most = MAX_ADDITIONS_IN_MACROS if _MACRO.search(code) else MAX_ADDITIONS
    if code.count("+") > most:
        return f"has {code.count('+')} additions, the limit is {most}; compute it in an agent"
    try:
        program = _compiled(expression)
    except Exception as error:  # whatever the parser raises is the author's to mend
        return f"is no CEL expression: {' '.join(str(error).split())[:300]}"
    strange = sorted(f for f in program.functions() if f not in FUNCTIONS and f[0] not in "_!@-")
    if strange:
        return f"calls {strange[0][:80]!r}, which is not there; known are {', '.join(FUNCTIONS)}"
    return _misspelt(code, set(program.variables()))


def _misspelt(code: str, names: set[str]) -> str | None:
    """A name that is never there would make a rule that never speaks."""
    bound = {name for pair in _BOUND.findall(code) for name in pair}
    unknown = sorted(names - FACTS.keys() - TYPES - bound)
    if unknown:
        return f"asks about {unknown[0][:80]!r}; known are {', '.join(FACTS)}"
    for fact, key in _KEY.findall(code):
        if key not in FACTS[fact] and fact not in bound:
            return f"asks about {fact}.{key[:80]}; known of {fact} are {', '.join(FACTS[fact])}"
    return None


def about_branch(expression: str) -> bool:
    """Whether the condition asks about more than the run; of a Python condition nobody knows."""
    return expression.startswith(PYTHON) or not FACTS.keys() & set(_compiled(expression).variables()) <= {"run"}


def known(expression: str) -> bool:
    """Whether the condition can be asked in this process."""
    return not expression.startswith(PYTHON) or expression in PYTHON_CONDITIONS


def _too_deep(code: str) -> bool:
    """Whether brackets nest too deep, or a comprehension stands inside another one."""
    starts = {m.end() - 1 for m in _MACRO.finditer(code)}
    stack: list[bool] = []
    for i, letter in enumerate(code):
        if letter in OPENING:
            if i in starts and any(stack):
                return True
            stack.append(i in starts)
        elif letter in CLOSING and stack:
            stack.pop()
        if len(stack) > MAX_NESTING:
            return True
    return len(starts) > MAX_MACROS or code.count("?") > MAX_NESTING or _long_prefix(code)


def _long_prefix(code: str) -> bool:
    """Operators in a row nest like brackets do."""
    return _PREFIXES.search(code.replace(" ", "")) is not None


@lru_cache(maxsize=1024)
def _compiled(expression: str) -> Any:
    import cel  # it costs a tenth of a second and is needed only where there are conditions

    return cel.compile(expression)


def holds(expression: str, facts: Mapping[str, JSON]) -> bool:
    """Whether the condition is true of these facts."""
    try:
        if expression.startswith(PYTHON):
            return bool(_python(PYTHON_CONDITIONS[expression], facts))
        return _compiled(expression).execute(dict(facts)) is True
    except Exception:  # a condition that cannot be evaluated does not hold
        return False


def _python(condition: Callable[[Any], Any], facts: Mapping[str, JSON]) -> Any:
    """The seed writes `lambda ctx: ctx.metadata.get("priority")`: keys of the context are attributes too."""
    context = facts["context"]
    known = {
        "metadata": {},
        "user_data": {},
        "session_id": None,
        **{k: v for k, v in context.items() if k.isidentifier()},
    }
    return condition(SimpleNamespace(**{**known, **facts}))


def facts_of(state: RunState, branch: Branch, step: Mapping[str, JSON], context: Mapping[str, JSON]) -> dict[str, JSON]:
    """What a condition may ask about."""
    return {
        "run": {
            "id": str(state.run_id),
            "total_steps": state.total_steps,
            "branch_count": state.branch_count,
            "parallel_branches": state.running,
            "tokens": state.tokens_used,
            "cost": state.cost / 10**9,
        },
        "branch": {"id": branch.id, "type": branch.type, "agent": branch.agent, "steps": branch.steps},
        "step": _bounded(step),
        "context": _bounded({**state.context, **branch.context, **context}),
    }


def _bounded(facts: Mapping[str, JSON]) -> dict[str, JSON]:
    """The facts without texts and lists that are too long to go through for every step."""
    pruned = {k: _bounded(v) if isinstance(v, dict) and len(v) <= MAX_ITEMS else v for k, v in facts.items()}
    return {k: v for k, v in pruned.items() if _small(v)}


def _small(value: JSON) -> bool:
    if not isinstance(value, str | list | dict):
        return True
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return len(value) <= MAX_ITEMS and all(map(_small, inside))

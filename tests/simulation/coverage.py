"""Where faults struck: one line for each port call, and those calls at which nobody was ever killed."""

from collections import Counter
from collections.abc import Mapping

Seen = Mapping[tuple[str, str, str], int]
BOTH = ("close", "connect", "probe", "publish", "publish, done", "publish, half", "read", "unit", "commit")
DECIDERS = (
    *(*BOTH, "ack", "ack, done", "append", "caused_by", "ready", "commit, done", "consume"),
    *("park", "park, done", "requeue", "take"),
)
CALLS = {
    "router": DECIDERS,
    "supervisor": (*DECIDERS, "due_runs", "history", "signal", "stop", "watch", "lookout", "marked", "mark", "looked"),
    "worker": (
        *("ack", "ack, done", "close", "connect", "consume", "declare_steps", "listen", "probe", "park", "park, done"),
        *("publish", "publish, done", "requeue", "take", "untaken"),
    ),
    "operator": ("connect", "live_runs", "unit", "read", "commit", "publish", "publish, done"),
}


def missed(seen: Seen) -> list[str]:
    """Calls at which no process was ever killed."""
    return [f"{role} {call}" for role, calls in CALLS.items() for call in calls if not seen.get((role, call, "crash"))]


def table(seen: Seen) -> str:
    """How often which fault struck where."""
    kinds = sorted({kind for _, _, kind in seen})
    places: Counter[tuple[str, str]] = Counter()
    for (role, call, _), number in seen.items():
        places[role, call] += number
    lines = [f"{'':28}" + "".join(f"{kind:>8}" for kind in kinds)]
    for role, call in sorted(places):
        counts = "".join(f"{seen.get((role, call, kind), 0):>8}" for kind in kinds)
        lines.append(f"{role + ' ' + call:28}{counts}")
    return "\n".join(lines)

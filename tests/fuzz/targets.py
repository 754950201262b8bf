"""All targets by name."""

from tests.fuzz import deciding, stored, wire, written
from tests.fuzz.driver import Target

TARGETS: dict[str, Target] = {**wire.TARGETS, **written.TARGETS, **stored.TARGETS, **deciding.TARGETS}

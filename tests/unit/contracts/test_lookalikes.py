"""A name that looks like a reserved one is refused: nobody is to take an agent for the person."""

import pytest

from anabranch_contracts.notation import parse_topology
from anabranch_contracts.topology import RESERVED

SAME = ["Uѕer", "Usеr", "Ｕｓｅｒ", "UЅER", "Εnd", "Еnd", "Eոd", "Ѕtart", "Stаrt", "sТaRt", "User ", " End", "Uꜱᴇʀ"]
OTHERS = ["Users", "Ender", "Starter", "Пользователь", "ユーザー", "Ünd", "Anna", "Тест"]


@pytest.mark.parametrize("name", SAME)
def test_what_looks_like_a_reserved_name_is_refused(name: str) -> None:
    assert name not in RESERVED
    topology, (error, *_) = parse_topology({"nodes": ["A", name], "edges": [f"A -> {name.strip()}"]})
    assert topology is None and "is too close to the reserved" in error


@pytest.mark.parametrize(
    "name", ["User\u200b", "Us\u200ber", "\u202eresU", "A\x1b[2J", "A\u2028B", "A\u00a0B", "\ufeffUser"]
)
def test_what_cannot_be_seen_is_refused(name: str) -> None:
    topology, (error, *_) = parse_topology({"nodes": ["A", name]})
    assert topology is None and "control characters" in error


@pytest.mark.parametrize("name", OTHERS)
def test_other_scripts_are_welcome(name: str) -> None:
    topology, errors = parse_topology({"nodes": [name]})
    assert topology is not None and not errors

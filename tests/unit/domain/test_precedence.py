"""Semantics 10: a policy per run, node or invocation, and which of them counts."""

from typing import Any

import pytest

from anabranch_contracts.reply_builders import parallel_invoke
from tests.unit.domain.runs import Run

JSON = Any
EDGES = ["S -> L", "S -> R", "S -> X", "L -> Y", "R -> Y", "Y -> Z", "X -> Z"]


def opened(*agents: str, **said: JSON) -> JSON:
    """The policy of a fork to `agents`, where each place in `said` asks for its own `min_ratio`."""
    node = {name: {"name": name, "convergence": said[name]} if name in said else name for name in "SLRXYZ"}
    run = Run({"nodes": list(node.values()), "edges": EDGES}, config={"convergence": said.get("run", {})})
    own = {"convergence": said["reply"]} if "reply" in said else {}
    run.reply("S", parallel_invoke(list(agents), **own))
    return run.last("ForkOpened").policy


PLACES = ["run", "Z", "Y", "S", "reply"]


@pytest.mark.parametrize("most", range(1, len(PLACES) + 1))
def test_who_is_nearer_to_the_fork_counts_more(most: int) -> None:
    said = {place: {"min_ratio": i / 10} for i, place in enumerate(PLACES[:most])}
    assert opened("L", "R", **said)["min_ratio"] == (most - 1) / 10


def test_what_one_does_not_say_another_does() -> None:
    policy = opened("L", "R", run={"timeout": 9}, Y={"eager": True}, S={"min_ratio": 0.5}, reply={"fail_fast": True})
    assert policy == {
        "timeout": 9, "eager": True, "min_ratio": 0.5, "fail_fast": True,
        "on_insufficient": "fail", "on_timeout": "fail", "terminate_orphans": True,
    }  # fmt: skip


@pytest.mark.parametrize(("agents", "ratio"), [(["L", "R"], 0.5), (["L"], 0.5), (["L", "X"], 0.8), (["X", "R"], 0.8)])
def test_a_convergence_node_speaks_for_forks_that_lead_to_it_whole(agents: list[str], ratio: float) -> None:
    assert opened(*agents, Y={"min_ratio": 0.5}, Z={"min_ratio": 0.8})["min_ratio"] == ratio


def test_a_node_where_nothing_converges_speaks_for_nobody_elses_fork() -> None:
    assert opened("L", "R", L={"min_ratio": 0.5})["min_ratio"] == 1


def test_the_entries_are_under_the_policy_of_where_they_meet() -> None:
    meeting: JSON = {"name": "Y", "convergence": {"on_insufficient": "proceed"}}
    run = Run({"nodes": ["A", "B", meeting], "edges": ["A -> Y", "B -> Y"]})
    run.fail("A")
    run.reply("B", "b")
    assert [r["result"] for r in run.at("Y")["request"]] == ["b"]


def test_a_fork_of_its_own_is_under_the_policy_of_the_node_that_opens_it() -> None:
    hub: JSON = {"name": "H", "dispatch": "all", "convergence": {"min_ratio": 0.5}}
    run = Run({"nodes": [hub, "V", "W"], "edges": ["H <-> V", "H <-> W"], "entry": "H"})
    run.reply("H", "all of you")
    run.fail("V")
    run.reply("W", "w")
    assert [r["status"] for r in run.at("H")["request"]] == ["failed", "completed"]


WRONG: list[JSON] = [
    {"min_ratio": 1.1},
    {"min_ratio": -0.1},
    {"on_insufficient": "shrug"},
    {"on_timeout": None},
    {"timeout": 0},
    {"patience": 3},
]
TEXTS: list[JSON] = [{"min_ratio": "0.5"}, {"eager": "false"}, {"timeout": "5"}]


@pytest.mark.parametrize("policy", [*WRONG, *TEXTS], ids=str)
def test_a_policy_that_is_none_is_refused_wherever_it_stands(policy: JSON) -> None:
    (setting,) = policy
    node = Run({"nodes": [{"name": "A", "convergence": policy}]})
    assert node.state.status == "rejected" and f"convergence.{setting}" in node.state.error["message"]
    reply = Run({"nodes": ["A", "B"], "edges": ["A -> B"]})
    reply.reply("A", parallel_invoke(["B"], convergence=policy))
    assert f"convergence.{setting}" in reply.at("A")["steering"]


@pytest.mark.parametrize("policy", WRONG, ids=str)
def test_the_runs_policy_is_refused_too(policy: JSON) -> None:
    run = Run({"nodes": ["A"]}, config={"convergence": policy})
    assert run.state.status == "rejected" and f"config.convergence.{next(iter(policy))}" in run.state.error["message"]

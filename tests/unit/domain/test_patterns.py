"""Semantics 2: the patterns of the seed document, played to their end."""

from typing import Any

import pytest

from anabranch_contracts.patterns import PatternConfig
from anabranch_contracts.reply_builders import final_response, invoke_agent
from anabranch_contracts.topology import Topology
from tests.unit.domain.runs import Run

JSON = Any
NAMES = ["A", "B", "C"]
STAGES = [
    {"name": "extract", "agents": ["Extractor"]},
    {"name": "transform", "agents": ["T1", "T2"]},
    {"name": "load", "agents": ["Loader"]},
]


def start(topology: Topology) -> Run:
    return Run(topology.canonical())


def at_work(run: Run) -> list[str]:
    return sorted(step["agent"] for step in run.asked.values())


def results(run: Run, agent: str) -> list[JSON]:
    return [record["result"] for record in run.at(agent)["request"]]


def test_a_hubs_first_content_goes_to_all_spokes_and_it_resumes_with_their_results() -> None:
    run = start(PatternConfig.hub_and_spoke(hub="Coordinator", spokes=["W1", "W2", "W3"], parallel_spokes=True))
    assert at_work(run) == ["Coordinator"]
    run.reply("Coordinator", "all of you")
    assert at_work(run) == ["W1", "W2", "W3"] and {s["request"] for s in run.asked.values()} == {"all of you"}
    for spoke in ("W3", "W1", "W2"):
        run.reply(spoke, f"by {spoke}")
    assert results(run, "Coordinator") == ["by W1", "by W2", "by W3"]
    run.reply("Coordinator", "together")
    assert run.result == "together" and run.state.branch_count == 4


def test_a_hub_of_one_spoke_resumes_after_it_as_others_do() -> None:
    run = start(PatternConfig.hub_and_spoke("H", ["W"], parallel_spokes=True))
    run.reply("H", "you")
    assert at_work(run) == ["W"] and run.at("W")["request"] == "you"
    run.reply("W", "by W")
    assert results(run, "H") == ["by W"]
    run.reply("H", "done")
    assert run.result == "done" and run.state.branch_count == 2


def test_a_hub_may_still_choose_and_then_speak_to_all() -> None:
    run = start(PatternConfig.hub_and_spoke("H", ["W1", "W2"], parallel_spokes=True))
    run.reply("H", invoke_agent("W1", "you first"))
    run.reply("W1", "so")
    run.reply("H", "now all")
    assert at_work(run) == ["W1", "W2"]


@pytest.mark.parametrize("pattern", [PatternConfig.hub_and_spoke, PatternConfig.star])
def test_without_parallel_spokes_the_hub_chooses_among_them(pattern: Any) -> None:
    run = start(pattern("H", ["W1", "W2"]))
    run.reply("H", "somebody")
    assert "W1, W2" in run.at("H")["steering"]
    run.reply("H", invoke_agent("W2", "you"))
    run.reply("W2", "so")
    assert run.at("H")["request"] == "so" and run.state.branches["b0"].type == "conversation"


def test_a_pipeline_runs_the_agents_of_a_stage_in_parallel() -> None:
    run = start(PatternConfig.pipeline(stages=STAGES, parallel_within_stage=True))
    run.reply("Extractor", "data")
    assert at_work(run) == ["T1", "T2"] and {s["request"] for s in run.asked.values()} == {"data"}
    run.reply("T2", "two")
    assert at_work(run) == ["T1"]
    run.reply("T1", "one")
    assert results(run, "Loader") == ["one", "two"]
    run.reply("Loader", "loaded")
    assert run.result == "loaded" and run.state.total_steps == 4


def test_or_in_the_order_named() -> None:
    run = start(PatternConfig.pipeline(stages=STAGES))
    for agent in ("Extractor", "T1", "T2", "Loader"):
        assert at_work(run) == [agent]
        run.reply(agent, f"by {agent}")
    assert run.result == "by Loader" and run.state.branch_count == 1


def test_a_stage_may_be_followed_by_another_of_several_and_a_pipeline_begin_with_one() -> None:
    stages = [{"agents": ["A1", "A2"]}, {"agents": ["B1", "B2"]}, {"agents": ["C"]}]
    run = start(PatternConfig.pipeline(stages, parallel_within_stage=True))
    for agent in ("A2", "A1"):
        run.reply(agent, agent)
    assert at_work(run) == ["B1", "B2"] and results(run, "B1") == results(run, "B2") == ["A1", "A2"]
    for agent in ("B1", "B2"):
        run.reply(agent, agent)
    assert results(run, "C") == ["B1", "B2"]
    run.reply("C", "c")
    assert run.result == "c" and run.state.total_steps == 5


def test_two_stages_of_several_in_a_row_run_each_agent_once() -> None:
    stages = [{"agents": ["A"]}, {"agents": ["B1", "B2"]}, {"agents": ["C1", "C2"]}, {"agents": ["D"]}]
    run = start(PatternConfig.pipeline(stages, parallel_within_stage=True))
    for stage in (["A"], ["B1", "B2"], ["C1", "C2"], ["D"]):
        assert at_work(run) == stage
        for agent in reversed(stage):
            run.reply(agent, f"by {agent}")
    assert run.result == "by D" and run.state.total_steps == 6 and run.state.result_count == 1


@pytest.mark.parametrize("first", [["A"], ["A1", "A2"]])
def test_a_last_stage_of_several_ends_with_what_each_of_them_said(first: list[str]) -> None:
    run = start(PatternConfig.pipeline([{"agents": first}, {"agents": ["Z1", "Z2"]}], parallel_within_stage=True))
    for agent in (*first, "Z2", "Z1"):
        run.reply(agent, f"by {agent}")
    assert [(r["agent"], r["result"]) for r in run.result] == [("Z1", "by Z1"), ("Z2", "by Z2")]
    assert run.state.total_steps == len(first) + 2 and run.state.result_count == 2


def test_in_a_hierarchy_each_talks_with_whoever_is_above_and_below() -> None:
    run = start(PatternConfig.hierarchical({"CEO": ["CTO", "CFO"], "CTO": ["Dev"]}))
    run.reply("CEO", invoke_agent("Dev"))
    assert "CEO may not invoke Dev" in run.at("CEO")["steering"]
    run.reply("CEO", invoke_agent("CTO", "build"))
    run.reply("CTO", invoke_agent("Dev", "code"))
    run.reply("Dev", "done")
    run.reply("CTO", invoke_agent("CEO", "built"))
    assert run.at("CEO")["request"] == "built"


def test_the_root_of_a_hierarchy_may_be_named() -> None:
    assert at_work(start(PatternConfig.hierarchical({"CTO": ["Dev"], "CEO": ["CTO"]}, root="CEO"))) == ["CEO"]


@pytest.mark.parametrize("target", ["B", "C"])
def test_in_a_mesh_everybody_may_talk_with_everybody_and_the_first_starts(target: str) -> None:
    run = start(PatternConfig.mesh(NAMES))
    run.reply("A", invoke_agent(target))
    for other in sorted({"A", "B", "C"} - {target}):
        assert other in run.at(target)["can_invoke"]
    run.reply(target, final_response("done"))
    assert run.result == "done"


def test_in_a_ring_each_hands_on_to_the_next_and_the_last_to_the_first() -> None:
    run = start(PatternConfig.ring(NAMES))
    for agent in (*NAMES, *NAMES):
        assert run.at(agent)["can_invoke"] == [NAMES[(NAMES.index(agent) + 1) % 3]]
        run.reply(agent, "on")
    assert at_work(run) == ["A"] and run.state.branch_count == 1


def test_a_broadcast_goes_to_all_targets_and_comes_back_to_its_source() -> None:
    run = start(PatternConfig.broadcast("S", NAMES))
    run.reply("S", "hear")
    assert at_work(run) == NAMES and {s["request"] for s in run.asked.values()} == {"hear"}
    for agent in NAMES:
        run.reply(agent, agent)
    assert results(run, "S") == NAMES
    run.reply("S", "heard")
    assert run.result == "heard"


CONVERSATIONS = [
    {"nodes": ["Agent1", "Agent2"], "edges": ["Agent1 <-> Agent2"]},
    {"agents": ["Agent1", "Agent2"], "flows": ["Agent1 <-> Agent2"]},
    {
        "nodes": [{"name": "Agent1"}, "Agent2"],
        "edges": [{"source": "Agent1", "target": "Agent2", "bidirectional": True}],
    },
]


@pytest.mark.parametrize("written", CONVERSATIONS)
def test_a_conversation_starts_at_the_first_named_and_goes_to_and_fro(written: JSON) -> None:
    run = Run({**written, "rules": ["max_turns(2)"]}, task="hello")
    for i, agent in enumerate(["Agent1", "Agent2"] * 2):
        assert run.at(agent)["request"] == (f"said {i - 1}" if i else "hello")
        run.reply(agent, f"said {i}")
    run.reply("Agent1", "bye")
    assert run.result == "bye" and run.rows("branch_rows")[0]["type"] == "conversation"


@pytest.mark.parametrize(
    ("nodes", "edges"), [("nodes", "edges"), ("agents", "flows"), ("agents", "edges"), ("nodes", "flows")]
)
def test_a_sequence_in_either_spelling(nodes: str, edges: str) -> None:
    run = Run({nodes: NAMES, edges: ["A -> B", "B -> C"]})
    for agent in NAMES:
        run.reply(agent, agent)
    assert run.result == "C"


NOBODY: list[tuple[str, Any]] = [
    ("spokes", lambda: PatternConfig.hub_and_spoke("H", [])),
    ("spokes", lambda: PatternConfig.hub_and_spoke("H", "W")),
    ("spokes", lambda: PatternConfig.star("S", [])),
    ("stages", lambda: PatternConfig.pipeline([])),
    ("agents of stage 0", lambda: PatternConfig.pipeline([{"name": "empty", "agents": []}])),
    ("agents of stage 0", lambda: PatternConfig.pipeline([{"name": "none"}])),
    ("tree", lambda: PatternConfig.hierarchical({})),
    ("agents", lambda: PatternConfig.mesh([])),
    ("agents", lambda: PatternConfig.ring([])),
    ("targets", lambda: PatternConfig.broadcast("S", [])),
]


@pytest.mark.parametrize(("what", "build"), NOBODY, ids=range(len(NOBODY)))
def test_a_pattern_of_nobody_is_refused(what: str, build: Any) -> None:
    with pytest.raises(ValueError, match=f"^{what}: give a list with at least one"):
        build()


def test_a_stage_that_is_a_bare_name_is_refused_with_what_a_stage_is() -> None:
    with pytest.raises(ValueError, match=r"stage 0: give .*agents.*, not 'A'"):
        PatternConfig.pipeline(["A", "B"])  # type: ignore[list-item]

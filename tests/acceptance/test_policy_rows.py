"""Semantics 10, the convergence policy field by field, from outside: per run, per node and per invocation."""

from typing import Any

import pytest

from tests.acceptance.stage import AskedRun, Seen, Stage

JSON = Any
pytestmark = pytest.mark.asyncio(loop_scope="module")

WORKERS = ["W1", "W2", "W3", "W4"]
FORK = {"next_action": "parallel_invoke", "agents": WORKERS}
FINAL = {"next_action": "final_response", "final_response": "$request"}
GATE, NEVER, BROKEN = {"wait_for": "gate"}, {"wait_for": "never"}, {"raise": "TerminalError", "message": "broke"}
HALF_FAIL = {"W3": [BROKEN], "W4": [BROKEN]}
HALF_STAY = {"W3": [NEVER], "W4": [NEVER]}
AGAIN = {"W3@b0.f1.b2r": ["mended"], "W4@b0.f1.b3r": ["mended"]}
LEVELS = ("run", "node", "invocation")
DECISIONS = ("skip", "abort", "retry")
ENOUGH = {"min_ratio": 0.5}
EAGER = {"min_ratio": 0.5, "eager": True}
STRICT = {"min_ratio": 1, "on_insufficient": "fail"}
ASK = {"on_insufficient": "user"}
SECONDS = 6  # enough for whoever answers at once, while all these runs are under way
SOON = {"timeout": SECONDS}

DONE, LOST, LEFT = "completed", "failed", "cancelled"
PROCEEDING: dict[str, tuple[JSON, JSON, list[str]]] = {
    "a share that is reached": (ENOUGH, HALF_FAIL, [DONE, DONE, LOST, LOST]),
    "no share at all": ({"min_ratio": 0}, HALF_FAIL, [DONE, DONE, LOST, LOST]),
    "proceed": ({"on_insufficient": "proceed"}, HALF_FAIL, [DONE, DONE, LOST, LOST]),
    "proceed with nobody": ({"on_insufficient": "proceed"}, {w: [BROKEN] for w in WORKERS}, [LOST] * 4),
    "eager": (EAGER, HALF_STAY, [DONE, DONE, LEFT, LEFT]),
    "eager, whoever comes first": (EAGER, {"W1": [NEVER], "W3": [NEVER]}, [LEFT, DONE, LEFT, DONE]),
    "timeout, proceed": ({**SOON, "on_timeout": "proceed"}, HALF_STAY, [DONE, DONE, LOST, LOST]),
    "in time": ({"timeout": 600, "on_timeout": "fail"}, {}, [DONE] * 4),
}
FAILING: dict[str, tuple[JSON, JSON, str]] = {
    "all are wanted by default": ({}, HALF_FAIL, "min_ratio 1.0"),
    "a share that is missed": ({"min_ratio": 0.75}, HALF_FAIL, "min_ratio 0.75"),
    "fail": ({"min_ratio": 0.75, "on_insufficient": "fail"}, HALF_FAIL, "min_ratio 0.75"),
    "fail, and nobody waits for the others": ({}, {**HALF_FAIL, "W1": [NEVER], "W2": [NEVER]}, "min_ratio 1.0"),
}


def team(level: str, policy: JSON, script: JSON) -> JSON:
    """A run whose boss forks to four workers under the policy, which stands where `level` says."""
    at = {one: {"convergence": policy} if one == level else {} for one in LEVELS}
    return {
        "topology": {"nodes": [{"name": "Boss", **at["node"]}, *WORKERS], "edges": [f"Boss -> {w}" for w in WORKERS]},
        "script": {"Boss": [{**FORK, **at["invocation"]}, FINAL], **script},
        "config": at["run"],
    }


def inner(level: str, policy: JSON, script: JSON) -> JSON:
    """A fork under the policy inside another one that goes on whatever comes."""
    at = {one: {"convergence": policy} if one == level else {} for one in LEVELS}
    outer = {"next_action": "parallel_invoke", "agents": ["Mid", "W1"], "convergence": {"on_insufficient": "proceed"}}
    return {
        "topology": {
            "nodes": ["Boss", {"name": "Mid", **at["node"]}, "W1", "W2", "W3"],
            "edges": ["Boss -> Mid", "Boss -> W1", "Mid -> W2", "Mid -> W3"],
        },
        "script": {
            "Boss": [outer, FINAL],
            "Mid": [{**FORK, "agents": ["W2", "W3"], **at["invocation"]}, FINAL],
            "W2": [BROKEN],
            **script,
        },
        "config": at["run"],
    }


def meeting(policy: JSON, script: JSON) -> JSON:
    """Workers whose ways meet at a node that declares the policy."""
    meet = {"name": "Meet", "convergence": policy}
    edges = [edge for w in WORKERS for edge in (f"Boss -> {w}", f"{w} -> Meet")]
    topology = {"nodes": ["Boss", *WORKERS, meet], "edges": edges}
    return {"topology": topology, "script": {"Boss": [FORK], "Meet": ["$request"], **script}}


def entries(policy: JSON, script: JSON) -> JSON:
    """Four entries, which form a fork of their own."""
    return {"topology": {"nodes": WORKERS}, "script": script, "config": {"convergence": policy}}


CASES: dict[str, JSON] = {
    **{f"{at}: {n}": team(at, policy, script) for at in LEVELS for n, (policy, script, _) in PROCEEDING.items()},
    **{f"{at}: {n}": team(at, policy, script) for at in LEVELS for n, (policy, script, _) in FAILING.items()},
    **{f"{at}: {d} failures": team(at, ASK, {**HALF_FAIL, **AGAIN}) for at in LEVELS for d in DECISIONS},
    **{
        f"{at}: {d} the late": team(at, {**SOON, "on_timeout": "user"}, {**HALF_STAY, **AGAIN})
        for at in LEVELS
        for d in DECISIONS
    },
    **{f"{at}: timeout, fail": team(at, {**SOON, "on_timeout": "fail"}, HALF_STAY) for at in LEVELS},
    **{f"{at}: timeout": team(at, SOON, HALF_STAY) for at in LEVELS},
    **{f"{at}: fail_fast": inner(at, {"fail_fast": True}, {"W3": [NEVER]}) for at in LEVELS},
    "not fast": inner("node", {"fail_fast": False}, {"W3": [GATE]}),
    "meeting: enough": meeting(ENOUGH, HALF_FAIL),
    "meeting: too few": meeting({}, HALF_FAIL),
    "meeting: eager": meeting(EAGER, HALF_STAY),
    "meeting: timeout, proceed": meeting({**SOON, "on_timeout": "proceed"}, HALF_STAY),
    "entries: enough": entries(ENOUGH, HALF_FAIL),
    "entries: too few": entries({"min_ratio": 0.75}, HALF_FAIL),
    "entries: eager": entries(EAGER, HALF_STAY),
    "entries: timeout, proceed": entries({**SOON, "on_timeout": "proceed"}, HALF_STAY),
    "entries: timeout, fail": entries(SOON, HALF_STAY),
    "entries: skip": entries(ASK, HALF_FAIL),
    "an invocation in a run": {**team("invocation", ENOUGH, HALF_FAIL), "config": {"convergence": STRICT}},
    "a node in a run": {**team("node", ENOUGH, HALF_FAIL), "config": {"convergence": STRICT}},
    "an invocation at a node": {
        **team("node", STRICT, HALF_FAIL),
        "script": {"Boss": [{**FORK, "convergence": ENOUGH}, FINAL], **HALF_FAIL},
    },
    "what a narrower one leaves open": {
        **team("invocation", {"min_ratio": 1}, HALF_FAIL),
        "config": {"convergence": {"min_ratio": 0, "on_insufficient": "proceed"}},
    },
    "patience": team(
        "run",
        {**SOON, "on_timeout": "fail"},
        {"W1": [{"next_action": "ask_user", "prompt": "?", "timeout": SECONDS + 1, "default": "late"}, FINAL]},
    ),
    "late": team("run", EAGER, HALF_STAY),
}
PAUSED: JSON = team("node", {"timeout": 2, "on_timeout": "fail"}, {"W1": [GATE]})
WHILE: JSON = {
    "topology": {"nodes": ["A"]},
    "script": {"A": [[{"next_action": "retry_later", "after_seconds": 2.5}, "over"]]},
}


def records(seen: Seen) -> list[tuple[str, str]]:
    """What came back into the boss's hands, in tree order."""
    assert seen.status == "completed" and seen.result == seen.of("Boss")[-1]["request"]
    return [(record["agent"], record["status"]) for record in seen.result]


def of_workers(*statuses: str) -> list[tuple[str, str]]:
    return list(zip(WORKERS, statuses, strict=True))


def fork_row(seen: Seen) -> JSON:
    (fork,) = [c for c in seen.convergences if c["kind"] == "fork"]
    assert fork["expected"] == 4
    return fork


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", PROCEEDING)
async def test_a_fork_goes_on_as_its_policy_says(runs: dict[str, AskedRun], level: str, name: str) -> None:
    seen = await runs[f"{level}: {name}"].seen()
    expected = PROCEEDING[name][2]
    assert records(seen) == of_workers(*expected)
    children = seen.branches[1:]
    assert [b["status"] for b in children] == expected and {b["agent"] for b in children} == set(WORKERS)
    assert [r.get("error") for r in seen.result] == [b["error"] for b in children]
    fork = fork_row(seen)
    assert (fork["status"], fork["into_branch_id"]) == ("fired", "b0")
    assert (fork["arrived"], fork["failed"]) == (expected.count(DONE), expected.count(LOST))
    assert all(s["status"] == LEFT for s in seen.steps if s["branch_id"] in unheard(seen))


def unheard(seen: Seen) -> list[str]:
    """Children that were ended from outside."""
    return [b["branch_id"] for b in seen.branches if b["status"] == LEFT or (b["error"] or {}).get("kind") == "timeout"]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", FAILING)
async def test_a_fork_that_cannot_be_met_fails_the_run(runs: dict[str, AskedRun], level: str, name: str) -> None:
    """At once, since that dooms the run; the causes are named."""
    seen = await runs[f"{level}: {name}"].seen()
    said = FAILING[name][2]
    assert (seen.status, seen.error["kind"], seen.error["type"]) == ("failed", "insufficient", "ForkFailed")
    assert said in seen.error["message"] and "broke" in seen.error["message"]
    assert {c["agent"] for c in seen.error["causes"]} <= {"W3", "W4"} and seen.error["causes"]
    assert {(c["kind"], c["type"]) for c in seen.error["causes"]} == {("terminal", "TerminalError")}
    assert len(seen.of("Boss")) == 1 and fork_row(seen)["status"] == "cancelled"


@pytest.mark.parametrize("level", LEVELS)
async def test_a_person_lets_the_fork_proceed(runs: dict[str, AskedRun], level: str) -> None:
    run = runs[f"{level}: skip failures"]
    question = await run.question("fork")
    assert (question["branch_id"], question["agent"]) == ("b0", "Boss")
    assert sorted(question["choices"]) == sorted(DECISIONS) and "2 of 4 failed" in question["prompt"]["what"]
    assert [c["agent"] for c in question["prompt"]["causes"]] == ["W3", "W4"]
    assert (await run.row())["status"] == "waiting"
    assert not (await run.answer(question, "perhaps"))["accepted"]
    assert (await run.answer(question, "skip"))["accepted"]
    seen = await run.seen()
    assert records(seen) == of_workers(DONE, DONE, LOST, LOST)
    assert [(r["status"], r["value"]) for r in seen.user_requests] == [("answered", "skip")]


@pytest.mark.parametrize("what", ["failures", "the late"])
@pytest.mark.parametrize("level", LEVELS)
async def test_a_person_has_the_failed_children_tried_again(runs: dict[str, AskedRun], level: str, what: str) -> None:
    run = runs[f"{level}: retry {what}"]
    await run.answer(await run.question("fork"), "retry")
    seen = await run.seen()
    assert records(seen) == of_workers(DONE, DONE, DONE, DONE)
    assert [r["result"] for r in seen.result] == ["W1", "W2", "mended", "mended"]
    assert len(seen.of("W1")) == 1 and [s["status"] for s in seen.of("W3")][1:] == [DONE], "only what failed"
    assert (fork_row(seen)["arrived"], fork_row(seen)["failed"]) == (4, 0) and len(seen.user_requests) == 1


@pytest.mark.parametrize("level", LEVELS)
async def test_a_person_gives_the_fork_up(runs: dict[str, AskedRun], level: str) -> None:
    """Where the policy is the run's, the entries are under it too, and the person is asked about them as well."""
    run = runs[f"{level}: abort failures"]
    asked = 2 if level == "run" else 1
    for _ in range(asked):
        await run.answer(await run.question("fork"), "abort")
    seen = await run.seen()
    (cause,) = seen.error["causes"]
    assert (seen.status, cause["type"], cause["agent"]) == ("failed", "Aborted", "Boss")
    assert seen.branches[0]["status"] == "failed" and len(seen.branches[0]["error"]["causes"]) == 2
    assert [r["value"] for r in seen.user_requests] == ["abort"] * asked


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("policy", ["timeout", "timeout, fail"])
async def test_a_fork_that_is_late_fails(runs: dict[str, AskedRun], level: str, policy: str) -> None:
    seen = await runs[f"{level}: {policy}"].seen()
    (cause,) = seen.error["causes"]
    assert (seen.status, cause["kind"], cause["type"]) == ("failed", "timeout", "ConvergenceTimeout")
    assert f"not there after {SECONDS} s" in cause["message"] and cause["agent"] == "Boss"
    assert [b["status"] for b in seen.branches] == [LOST, DONE, DONE, LEFT, LEFT]
    assert fork_row(seen)["wait_time"] >= SECONDS and fork_row(seen)["into_branch_id"] is None


@pytest.mark.parametrize("level", LEVELS)
async def test_a_late_child_is_a_failure_where_the_fork_proceeds(runs: dict[str, AskedRun], level: str) -> None:
    seen = await runs[f"{level}: timeout, proceed"].seen()
    late = [record["error"] for record in seen.result[2:]]
    assert {(e["kind"], e["type"]) for e in late} == {("timeout", "ConvergenceTimeout")}
    assert fork_row(seen)["wait_time"] >= SECONDS and len(seen.recorded("ForkWaived")) == 1


@pytest.mark.parametrize("level", LEVELS)
async def test_a_person_decides_about_the_late(runs: dict[str, AskedRun], level: str) -> None:
    skipped, aborted = runs[f"{level}: skip the late"], runs[f"{level}: abort the late"]
    question = await skipped.question("fork")
    assert f"not there after {SECONDS} s" in question["prompt"]["what"]
    await skipped.answer(question, "skip")
    await aborted.answer(await aborted.question("fork"), "abort")
    assert records(await skipped.seen()) == of_workers(DONE, DONE, LOST, LOST)
    seen = await aborted.seen()
    assert (seen.status, seen.error["causes"][0]["type"]) == ("failed", "Aborted")


@pytest.mark.parametrize("level", LEVELS)
async def test_fail_fast_waits_for_nobody(runs: dict[str, AskedRun], level: str) -> None:
    seen = await runs[f"{level}: fail_fast"].seen()
    assert records(seen) == [("Mid", LOST), ("W1", DONE)]
    assert [c["agent"] for c in seen.result[0]["error"]["causes"]] == ["W2"]
    assert seen.statuses("W3") == [LEFT] and [s["status"] for s in seen.of("W3")] == [LEFT]


async def test_otherwise_a_fork_fails_when_it_has_settled(runs: dict[str, AskedRun]) -> None:
    run = runs["not fast"]
    waiting = await run.begun("W3")
    await run.recorded("BranchFailed")
    await run.recorded("BranchCompleted")
    assert [b["status"] for b in await run.rows("branches")].count("waiting") == 2, "Boss and Mid"
    waiting.go("W3")
    seen = await run.seen()
    assert records(seen) == [("Mid", LOST), ("W1", DONE)] and seen.statuses("W3") == [DONE]


async def test_people_do_not_make_a_fork_late(runs: dict[str, AskedRun]) -> None:
    seen = await runs["patience"].seen()
    assert records(seen) == of_workers(DONE, DONE, DONE, DONE) and seen.result[0]["result"] == "late"
    assert fork_row(seen)["wait_time"] > SECONDS


async def test_a_pause_does_not_make_a_fork_late(scripted_house: Stage) -> None:
    run = await scripted_house.ask(**PAUSED)
    waiting = await run.begun("W1")
    assert (await run.tell("run.pause"))["accepted"]
    await (await scripted_house.ask(**WHILE)).outcome()
    assert (await run.row())["status"] == "paused"
    waiting.go("W1")
    assert (await run.tell("run.resume"))["accepted"]
    seen = await run.seen()
    assert records(seen) == of_workers(DONE, DONE, DONE, DONE) and fork_row(seen)["wait_time"] > 2.5


@pytest.mark.parametrize(
    "name",
    ["an invocation in a run", "a node in a run", "an invocation at a node", "what a narrower one leaves open"],
)
async def test_the_narrowest_policy_counts_field_by_field(runs: dict[str, AskedRun], name: str) -> None:
    assert records(await runs[name].seen()) == of_workers(DONE, DONE, LOST, LOST)


async def test_what_arrives_after_a_firing_is_recorded_as_discarded(runs: dict[str, AskedRun]) -> None:
    run = runs["late"]
    await run.outcome()
    await run.result("step.completed", "b0.f1.b2#1", 1, response="late", usage={"input_tokens": 9})
    (discarded,) = await run.recorded("StepResultDiscarded")
    assert discarded["branch_id"] == "b0.f1.b2" and discarded["usage"]["input_tokens"] == 9
    assert records(await run.seen()) == of_workers(DONE, DONE, LEFT, LEFT)


@pytest.mark.parametrize(
    ("name", "left"), [("enough", [LOST, LOST]), ("eager", [LEFT, LEFT]), ("timeout, proceed", [LOST, LOST])]
)
async def test_the_policy_of_the_node_where_they_meet(runs: dict[str, AskedRun], name: str, left: list[str]) -> None:
    """Who forked goes on there, with the values that came."""
    seen = await runs[f"meeting: {name}"].seen()
    assert [(r["agent"], r["result"]) for r in seen.result] == [("W1", "W1"), ("W2", "W2")]
    assert [b["status"] for b in seen.branches] == [DONE, "merged", "merged", *left]
    (node,) = [c for c in seen.convergences if c["kind"] == "node"]
    assert (node["node"], node["status"], node["into_branch_id"], node["arrived"]) == ("Meet", "fired", "b0", 2)


async def test_where_they_meet_all_are_wanted_by_default(runs: dict[str, AskedRun]) -> None:
    seen = await runs["meeting: too few"].seen()
    assert seen.status == "failed" and seen.of("Meet") == []


@pytest.mark.parametrize("name", ["enough", "eager", "timeout, proceed"])
async def test_entries_are_a_fork_too(runs: dict[str, AskedRun], name: str) -> None:
    seen = await runs[f"entries: {name}"].seen()
    assert seen.status == "completed" and seen.outcome["result_count"] == 2
    assert seen.result == [{"agent": w, "branch_id": f"b{n}", "result": w} for n, w in enumerate(WORKERS[:2])]


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [("too few", "insufficient", "min_ratio 0.75"), ("timeout, fail", "timeout", "the run was not there after 6 s")],
)
async def test_entries_fail_the_run(runs: dict[str, AskedRun], name: str, kind: str, said: str) -> None:
    seen = await runs[f"entries: {name}"].seen()
    assert (seen.status, seen.error["kind"]) == ("failed", kind) and said in seen.error["message"]


async def test_a_person_decides_about_the_entries(runs: dict[str, AskedRun]) -> None:
    run = runs["entries: skip"]
    await run.answer(await run.question("fork"), "skip")
    seen = await run.seen()
    assert seen.status == "completed" and [r["result"] for r in seen.result] == ["W1", "W2"]

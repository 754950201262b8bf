"""Runs that together show every kind of event, each as a journal of the past would have it."""

from collections.abc import Callable
from typing import Any

from anabranch.domain.deciders import Router, Supervisor
from anabranch.domain.intake import Request
from anabranch_contracts import messages as m
from anabranch_contracts import reply_builders as build
from tests.unit.domain.runs import RUN, Run

JSON = Any
USAGE = m.Usage(input_tokens=3, output_tokens=4, cost=0.25)
WORKED: JSON = {"worker": "w1", "usage": USAGE,
                "started_at": "2026-01-01T00:00:00+00:00", "finished_at": "2026-01-01T00:00:01+00:00"}  # fmt: skip
POLICY = {"on_insufficient": "proceed"}
MEET = {"name": "Y", "is_convergence_point": True}
HUB = {"nodes": ["H", "W", "X"], "edges": ["H <-> W", "H <-> X", "W <-> X"], "entry": "H"}
HELPED = {"nodes": ["A", "B"], "edges": ["A -> B", "A <-> User"], "entry": "A"}


def call(number: int, *agents: str, **more: JSON) -> JSON:
    invocations = [{"agent": agent, "request": i} for i, agent in enumerate(agents)]
    return {"next_action": "call", "number": number, "print": f"p{number}", "invocations": invocations, **more}


def invoke(run: Run, agent: str, to: str, value: JSON, step_id: str | None = None) -> None:
    run.wait(1)
    run.reply(agent, build.invoke_agent(to, value), step_id, **WORKED)


def final(run: Run, agent: str, value: JSON, step_id: str | None = None) -> None:
    run.wait(1)
    run.reply(agent, build.final_response(value), step_id)


def converging() -> Run:
    """A diamond whose owner goes on, then a pair of entries that meet anew; a checkpoint, a context."""
    nodes = [{"name": "S", "dispatch": "all"}, "L", "R", "Y", "Z"]
    topology = {"nodes": nodes, "edges": ["S -> L", "S -> R", "L -> Y", "R -> Y", "Y <-> Z"]}
    run = Run(topology, {"do": "it"}, context={"user": 7})
    run.reply("S", {"any": "content"}, **WORKED)
    run.checkpoint("split")
    invoke(run, "R", "Y", "r")
    run.reply("L", build.invoke_agent("Y", "l", context_updates={"seen": 1}), **WORKED)
    invoke(run, "Y", "Z", "talk")
    invoke(run, "Z", "Y", "back")
    final(run, "Y", "met")
    return run


def meeting_anew() -> Run:
    """Entries meet as a new branch, twice; a fork's own contribution; some is delivered at once."""
    topology = {
        "nodes": ["A", "B", "C", MEET],
        "edges": ["A -> Y", "B -> Y", "Y -> C", "C -> Y", "C -> End", "A -> End"],
    }
    run = Run(topology)
    run.reply("A", build.parallel_invoke(["Y", "End"], {"Y": "mine", "End": "early"}))
    run.wait(2)
    invoke(run, "B", "Y", "b")
    invoke(run, "Y", "C", "on")
    run.reply("C", build.parallel_invoke(invocations=[{"agent": "Y", "request": i} for i in (1, 2)]))
    run.wait(1)
    invoke(run, "Y", "C", "again")
    run.reply("C", build.parallel_invoke(["End", "End"], {"End": "late"}))
    return run


def nested() -> Run:
    """Forks in forks: home over a head, an inner owner merged, a child that ends elsewhere."""
    topology = {"nodes": ["S", "A", "B", "C", "D", MEET, "Z"],
                "edges": ["S <-> A", "S -> D", "A <-> B", "A -> C", "B -> Y", "C -> Y", "D -> Y", "B -> S", "Y -> Z",
                          "S -> Z"]}  # fmt: skip
    run = Run({**topology, "entry": "S"}, config={"inherit_memory": True})
    run.reply("S", build.parallel_invoke(["A", "D", "A"]))
    run.reply("A", build.parallel_invoke(["B", "C"]), "b0.f1.b0#1")
    invoke(run, "B", "Y", "b")
    invoke(run, "C", "Y", "c")
    invoke(run, "D", "Y", "d")
    run.reply("A", build.parallel_invoke(["B"]), "b0.f1.b2#1")
    invoke(run, "B", "S", "over A's head")
    invoke(run, "Y", "Z", "together")
    final(run, "Z", "z")
    final(run, "S", "done")
    return run


def failing() -> Run:
    """Steering, retries, limits, deferrals, and what a person makes of what is left."""
    config = {"max_steering": 1, "retry": {"max_attempts": 2, "base_delay": 4}, "max_rate_limit_wait": 60}
    run = Run(HELPED, config=config)
    run.reply("A", {"next_action": "dance"}, **WORKED)
    run.reply("A", {"next_action": "dance"})
    run.answer({"decision": "retry", "request": "once more"})
    run.tend()
    run.fail("A", "rate_limit", retry_after=5)
    run.wait(5)
    run.reply("A", build.retry_later(7, context_updates={"k": 1}), **WORKED)
    run.wait(7)
    ids = {k: run.at("A")[k] for k in ("run_id", "branch_id", "step_id", "attempt")}
    error = m.StepError(kind="transient", type="Broken", message="broken")
    run.tell(Supervisor(), m.StepFailed(**ids, error=error, **WORKED))
    run.wait(8)
    run.fail("A", "transient")
    run.answer("skip")
    run.tend()
    run.reply("B", build.error_recovery("stuck"))
    run.answer("abort")
    run.tend()
    return run


def deciding() -> Run:
    """A fork a person is asked about, an eager one, one that fails fast, and one that is insufficient."""
    run = Run(HUB, config={"convergence": {"on_insufficient": "user"}})
    run.reply("H", build.parallel_invoke(["W", "W", "X"]))
    run.fail("W", step_id="b0.f1.b1#1")
    final(run, "X", "x")
    final(run, "W", "w", "b0.f1.b0#1")
    run.answer("retry")
    run.tend()
    run.fail("W")
    run.answer("skip")
    run.tend()
    run.reply("H", build.parallel_invoke(["W", "X"], convergence={"eager": True, "min_ratio": 0.5}))
    final(run, "W", "enough")
    run.reply("H", build.parallel_invoke(["W", "X"], convergence=POLICY))
    run.reply("W", build.parallel_invoke(["X", "X"], convergence={"fail_fast": True, "on_insufficient": "fail"}))
    run.fail("X", step_id="b0.f3.b0.f1.b1#1")
    final(run, "X", "x")
    run.reply("H", build.parallel_invoke(["W", "X"], convergence={"on_insufficient": "fail"}))
    run.fail("W")
    final(run, "X", "x")
    run.answer("abort")
    run.tend()
    return run


def timing_out() -> Run:
    """Forks whose time is over: people are asked, what is there goes on, and at last the run fails."""
    topology = {
        "nodes": ["H", "W", "X", MEET],
        "edges": ["H <-> W", "H <-> X", "W -> Y", "X -> Y", "Y -> H"],
        "entry": "H",
    }
    run = Run(topology, config={"convergence": {"timeout": 10}, "run_timeout": 200})
    run.reply("H", build.parallel_invoke(["W", "X"], convergence={"on_timeout": "user"}))
    final(run, "W", "w")
    run.wait(10)
    run.answer("skip")
    run.tend()
    run.reply("H", build.parallel_invoke(["W", "X"], convergence={"on_timeout": "proceed"}))
    invoke(run, "W", "Y", "y")
    run.pause()
    run.wait(50)
    run.resume()
    run.wait(10)
    run.tend()
    invoke(run, "Y", "H", "late")
    run.reply("H", build.parallel_invoke(["W"]))
    run.wait(10)
    return run


def orphaned() -> Run:
    """Who is not waited for finishes unheard; one of them fails, one is cancelled with what it parked."""
    topology = {"nodes": ["H", "W", "V", "X", MEET],
                "edges": ["H <-> W", "H <-> V", "H <-> X", "W <-> X", "X -> Y", "W -> Y", "V -> End"],
                "entry": "H"}  # fmt: skip
    run = Run(topology, config={"convergence": {"eager": True, "min_ratio": 0.3, "terminate_orphans": False}})
    run.reply("H", build.parallel_invoke(["V", "W", "X"]))
    run.reply("W", build.parallel_invoke(["X", "X"], convergence={"eager": False}))
    invoke(run, "X", "Y", "parked", "b0.f1.b1.f1.b0#1")
    final(run, "V", "first")
    run.reply(
        "H", build.parallel_invoke(["V", "V"], convergence={"eager": False, "timeout": 5, "on_timeout": "proceed"})
    )
    final(run, "V", "v", "b0.f2.b0#1")
    run.wait(5)
    run.fail("X", step_id="b0.f1.b2#1")
    final(run, "H", "done")
    invoke(run, "V", "End", "unheard")
    final(run, "X", "x")
    run.reply("W", build.final_response("unheard too"), **WORKED)
    return run


def calling() -> Run:
    """An agent waits inside its code: for agents, for a person, for too long, and for one who goes elsewhere."""
    topology = {
        "nodes": ["A", "B", "C", MEET],
        "edges": ["A <-> B", "A <-> C", "A <-> User", "B -> Y", "C -> Y"],
        "entry": "A",
    }
    run = Run(topology)
    run.reply("A", call(1, "B", "C"), **WORKED)
    run.reply("B", "plain")
    run.fail("C")
    run.reply(
        "A", {"next_action": "call", "number": 2, "print": "p2", "ask": {"prompt": "well?", "choices": ["a", "b"]}}
    )
    run.answer("b")
    run.tend()
    run.reply("A", call(3, "B", "C", timeout=5))
    invoke(run, "B", "Y", "parked")
    run.wait(5)
    run.reply("A", call(4, "B", "C"))
    invoke(run, "B", "Y", "one")
    invoke(run, "C", "Y", "two")
    run.reply("Y", "met")
    final(run, "A", "done")
    return run


def asking() -> Run:
    """People: a question with a schema, one at a node of theirs, a default when time is up, and a cancelled one."""
    topology = {"nodes": ["A", "B"], "edges": ["A <-> B", "A -> User", "B <-> User"], "entry": "A"}
    run = Run(topology)
    run.reply("A", build.ask_user({"q": 1}, schema={"type": "integer"}))
    run.wait(60)
    run.answer(5)
    invoke(run, "A", "User", {"prompt": "choose", "choices": [1, 2], "timeout": 9, "default": 2})
    run.wait(9)
    invoke(run, "B", "User", "just words")
    run.answer({"free": "text"})
    run.reply("B", build.parallel_invoke(["User", "A"], {"User": "never mind"}))
    run.reply("A", build.ask_user("me neither"))
    run.cancel("b0.f1.b0")
    run.answer("said")
    run.tend()
    final(run, "A", "a")
    final(run, "B", "b")
    return run


def ruled() -> Run:
    """Rules speak: a notice, a pause, one lifted, an end of a conversation, a bound."""
    rules: list[JSON] = [
        {"type": "ConditionalRule", "condition": "branch.steps == 1", "action": "notify_user"},
        {"type": "ConditionalRule", "condition": "run.total_steps == 2", "action": "pause"},
        {"type": "ConditionalRule", "condition": "run.total_steps < 9", "action": "allow"},
        "max_turns(A <-> B, 2)", "max_parallel_branches(1)", "max_steps(5)",
    ]  # fmt: skip
    topology = {"nodes": ["A", "B", "C"], "edges": ["A <-> B"], "entry": ["A", "C"], "rules": rules}
    run = Run(topology, config={"convergence": POLICY})
    invoke(run, "A", "B", 1)
    run.resume()
    run.tend()
    run.answer("seen", next(iter(run.open)))
    while run.asked:
        step = next(iter(run.asked.values()))
        if step["agent"] == "C":
            final(run, "C", "c")
        else:
            invoke(run, step["agent"], "AB"[step["agent"] == "A"], step["step_number"])
        run.resume()
    return run


def spending() -> Run:
    """A budget is spent; what comes later is discarded with its cost."""
    run = Run(
        {**HUB, "rules": [{"type": "BudgetRule", "max_tokens": 10, "max_cost": 9}]}, config={"max_branch_steps": 3}
    )
    run.reply("H", build.parallel_invoke(["W", "X"]), **WORKED)
    late = run.at("X")
    run.reply("W", build.final_response("w"), **WORKED)
    run.late(late, response="late", **WORKED)
    return run


def forked() -> Run:
    """A new run from a paused one in the midst of everything, with another topology and context."""
    topology = {
        **HUB,
        "edges": [*HUB["edges"], "H <-> User", "H <-> Z"],
        "nodes": [*HUB["nodes"], "Z"],
        "rules": ["timeout(100)"],
    }
    run = Run(topology, config={"convergence": {"timeout": 50}})
    run.reply("H", build.parallel_invoke(["W", "X", "W"]))
    run.wait(10)
    run.reply("W", build.ask_user("well?", timeout=30, default="no"), "b0.f1.b0#1")
    run.fail("X", "transient")
    run.pause()
    new = run.fork(
        len(run.events), topology={**topology, "nodes": ["Z", *HUB["nodes"]], "entry": "H"}, context={"new": 1}
    )
    new.tend()
    new.wait(20)
    new.answer("well")
    new.tend()
    while new.asked and not new.state.terminal:
        step = next(iter(new.asked.values()))
        final(new, step["agent"], step["agent"], step["step_id"])
    new.tell(Router(), m.StepCompleted(run_id=RUN, branch_id="b0", step_id="b0#1", attempt=1, response="late"))
    return new


def rejected() -> Run:
    """Nothing of it can run."""
    return Run({"nodes": ["A", "A"], "edges": ["A -> B"]}, config={"max_steps": 0})


def awaited() -> Run:
    """Two more wait for the outcome, one when all is over; then nothing can be cancelled any more."""
    run = Run({"nodes": ["A"]})
    body = {"task": "task", "topology": {"nodes": ["A"]}, "config": {}, "context": {}}
    run.tell(Router(), Request(RUN, body, "q1", "c1"))
    run.cancel()
    run.tell(Router(), Request(RUN, body, "q2"))
    run.cancel()
    return run


def cancelled_by_branches() -> Run:
    """Every branch is cancelled, one while it waits for a fork with something parked in it."""
    topology = {"nodes": ["A", "B", "C", MEET], "edges": ["A -> B", "A -> Y", "B -> Y"], "entry": ["A", "C"]}
    run = Run(topology)
    run.reply("A", build.parallel_invoke(["B", "Y"]))
    run.cancel("b0")
    run.cancel("b1")
    run.tend()
    return run


def unheard() -> Run:
    """Orphans with clocks, questions and forks of their own inside timed forks, which do not count them any more."""
    topology = {"nodes": ["S", "H", "V", "W", "X"], "entry": "S",
                "edges": ["S <-> H", "S <-> X", "H <-> V", "H <-> W", "W <-> X", "X <-> V", "W <-> User"]}  # fmt: skip
    run = Run(topology, config={"run_timeout": 500})
    run.reply("S", build.parallel_invoke(["H", "X"], convergence={"timeout": 100}))
    leaving = {"eager": True, "min_ratio": 0.2, "terminate_orphans": False, "timeout": 50}
    run.reply("H", build.parallel_invoke(["V", "W", "W", "W", "W"], convergence=leaving))
    run.wait(5)
    run.reply(
        "W", build.parallel_invoke(["X", "V"], convergence={"timeout": 30, "on_timeout": "user"}), "b0.f1.b0.f1.b1#1"
    )
    run.reply("W", build.ask_user("who is it?"), "b0.f1.b0.f1.b2#1")
    run.reply("W", build.parallel_invoke(["X"], convergence={"on_insufficient": "user"}), "b0.f1.b0.f1.b3#1")
    run.fail("X", step_id="b0.f1.b0.f1.b3.f1.b0#1")
    final(run, "V", "enough", "b0.f1.b0.f1.b0#1")
    run.reply("H", build.ask_user("go on?"))
    run.reply("X", build.ask_user("and me?"), "b0.f1.b1#1")
    run.wait(60)
    by_prompt = {str(asked["prompt"]): request_id for request_id, asked in run.open.items()}
    run.answer("somebody", by_prompt["who is it?"])
    run.answer("yes", by_prompt["go on?"])
    run.answer("you too", by_prompt["and me?"])
    run.tend()
    for request_id in list(run.open):
        run.answer("skip", request_id)
        run.tend()
    while run.asked:
        step = next(iter(run.asked.values()))
        final(run, step["agent"], step["branch_id"], step["step_id"])
    return run


def troubled() -> Run:
    """Everything at once is unmet: what is borne, what is suspect, what a person lets be tried again."""
    topology = {"nodes": ["S", "A", "B", "C"], "edges": ["S <-> A", "A <-> B", "B <-> C", "S -> End"], "entry": "S"}
    run = Run(topology, config={"max_branch_steps": 4})
    run.reply("S", build.parallel_invoke(["A", "A", "A"], convergence={"min_ratio": 0.6, "on_insufficient": "user"}))
    run.reply("A", build.parallel_invoke(["B", "B"], convergence={"on_insufficient": "fail"}), "b0.f1.b0#1")
    run.reply("B", build.parallel_invoke(["C", "C"]), "b0.f1.b0.f1.b0#1")
    run.fail("C", step_id="b0.f1.b0.f1.b0.f1.b1#1")
    run.fail("A", step_id="b0.f1.b1#1")
    final(run, "C", "c")
    final(run, "B", "b", "b0.f1.b0.f1.b1#1")
    final(run, "A", "a", "b0.f1.b2#1")
    run.answer({"decision": "retry"})
    run.tend()
    final(run, "A", "again", "b0.f1.b0r#1")
    run.cancel("b0.f1.b1r")
    run.tend()
    run.reply("S", build.parallel_invoke(["A", "End"], {"End": "some"}))
    for _ in range(3):
        invoke(run, "A", "B", "on")
        invoke(run, "B", "A", "back") if "B" in [s["agent"] for s in run.asked.values()] else None
        if not run.asked:
            break
    return run


def delivering() -> Run:
    """To the run by the way out, from a fork too; a conversation that has had its turns fails."""
    rules: list[JSON] = [
        {"type": "MaxTurnsRule", "max_turns": 1, "agents": ["B", "C"], "on_limit": "fail"},
        "max_turns(1)",
    ]
    edges = ["S <-> A", "S -> B", "B <-> C", "C -> End", "A -> End", "C -> S"]
    run = Run({"nodes": ["S", "A", "B", "C"], "edges": edges, "entry": "S", "rules": rules})
    run.reply("S", build.parallel_invoke(["A", "B", "B"], convergence=POLICY))
    invoke(run, "A", "End", {"the": "first"})
    for step_id in ("b0.f1.b1#1", "b0.f1.b2#1"):
        run.reply("B", build.invoke_agent("C", "c?"), step_id)
    invoke(run, "C", "End", "the second", "b0.f1.b1#2")
    invoke(run, "C", "B", "b!")
    invoke(run, "B", "C", "too much")
    return run


SCENARIOS: list[Callable[[], Run]] = [
    converging, meeting_anew, nested, failing, deciding, timing_out, orphaned, calling, asking, ruled, spending, forked,
    rejected, awaited, cancelled_by_branches, unheard, troubled, delivering,
]  # fmt: skip

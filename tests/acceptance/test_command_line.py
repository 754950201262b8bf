"""The command line on the embedded default: real processes, a data folder of their own."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.faces import MAIN

AGENTS = """
import asyncio
from anabranch import agent, final_response

@agent("A")
def a(request):
    return f"a saw {request}"

@agent("B")
async def b(request, context):
    with open(context["marks"], "a") as marks:
        marks.write("b\\n")
    if context.get("hang"):
        await asyncio.sleep(600)
    return {"said": request}

@agent("Broken")
def broken(request):
    from anabranch import TerminalError
    raise TerminalError("out of order")
"""
CHAIN = {"nodes": ["A", "B"], "edges": ["A -> B"]}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    (tmp_path / "agents.py").write_text(AGENTS)
    (tmp_path / "chain.json").write_text(json.dumps(CHAIN))
    (tmp_path / "broken.json").write_text(json.dumps({"nodes": ["Broken"], "edges": []}))
    (tmp_path / "wrong.json").write_text(json.dumps({"nodes": ["A"], "edges": ["A -> Z", "A -> Y"]}))
    return tmp_path


def environment(place: Path) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("ANABRANCH_")}
    return clean | {"ANABRANCH_DATA_DIR": str(place / "data")}


def command(*arguments: str) -> list[str]:
    return [*MAIN, *arguments]


def anabranch(place: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command(*arguments), cwd=place, env=environment(place), capture_output=True, text=True, timeout=90
    )


def run(place: Path, *more: str, file: str = "chain.json") -> "subprocess.CompletedProcess[str]":
    marks = json.dumps({"marks": str(place / "marks")})
    return anabranch(place, "run", file, "--task", "t", "--agents", "agents.py", "--context", marks, *more)


def test_a_run_and_everything_one_asks_about_it(place: Path) -> None:
    done = run(place, "--json")
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert outcome["result"] == {"said": "a saw t"} and outcome["metrics"]["total_steps"] == 2
    (listed,) = json.loads(anabranch(place, "runs", "--json").stdout)
    assert listed["run_id"] == outcome["run_id"] and listed["status"] == "completed"
    traced = json.loads(anabranch(place, "trace", outcome["run_id"][:13], "--json").stdout)
    assert [s["agent"] for s in traced["steps"]] == ["A", "B"]
    assert "B" in anabranch(place, "trace").stdout and "completed" in anabranch(place, "show").stdout
    events = json.loads(anabranch(place, "events", "last", "--json").stdout)
    assert [e["type"] for e in events][0::7] == ["RunStarted", "RunCompleted"]
    assert "run completed" in anabranch(place, "watch", "last").stdout
    assert "equal" in anabranch(place, "projections", "verify").stdout
    assert "1 runs" in anabranch(place, "projections", "rebuild").stdout
    assert anabranch(place, "doctor").returncode == 0


def test_progress_is_plain_lines_where_there_is_no_terminal(place: Path) -> None:
    done = run(place)
    assert "b0  A: step 1" in done.stderr and "run completed" in done.stderr and "a saw t" in done.stdout


def test_a_failed_run_ends_with_1_and_says_why(place: Path) -> None:
    done = run(place, file="broken.json")
    assert done.returncode == 1 and "out of order" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("topology", "check", "wrong.json"), "unknown node 'Z'"),
        (("topology", "check", "none.json"), "No such file"),
        (("run", "wrong.json", "--task", "t"), "unknown node 'Y'"),
        (("run", "chain.json", "--task", "t"), "no agent is registered for: A, B"),
        (("run", "chain.json", "--task", "t", "--agents", "nowhere"), "nowhere"),
        (("run", "chain.json", "--task", "t", "--context", "{"), "not JSON"),
        (("show", "ffffffff"), "no run matches"),
        (("submit", "chain.json", "--task", "t"), "ANABRANCH_AMQP_URL"),
        (("router",), "ANABRANCH_DATABASE_URL"),
        (("fly",), "fly"),
    ],
)
def test_wrong_usage_ends_with_2_in_one_line(place: Path, arguments: tuple[str, ...], part: str) -> None:
    if arguments[0] == "show":
        assert anabranch(place, "migrate").returncode == 0
    done = anabranch(place, *arguments)
    assert done.returncode == 2, (done.returncode, done.stderr)
    assert part in done.stderr and "Traceback" not in done.stderr


def test_what_cannot_be_reached_ends_with_3(place: Path) -> None:
    lost = {"ANABRANCH_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}
    done = subprocess.run(command("runs"), env=environment(place) | lost, capture_output=True, text=True, timeout=60)
    assert done.returncode == 3 and "Postgres cannot be reached" in done.stderr and "Traceback" not in done.stderr


def test_a_topology_is_checked_and_drawn(place: Path) -> None:
    assert "2 nodes" in anabranch(place, "topology", "check", "chain.json").stdout
    drawn = anabranch(place, "topology", "show", "chain.json").stdout
    assert "* A" in drawn and "→ B" in drawn


def test_stop_it_start_it_and_the_run_goes_on(place: Path) -> None:
    """`kill -9` while B runs; the next engine on the folder finishes the run, and A is not asked again."""
    context = json.dumps({"marks": str(place / "marks"), "hang": True})
    first = subprocess.Popen(
        command("run", "chain.json", "--task", "t", "--agents", "agents.py", "--context", context),
        cwd=place,
        env=environment(place),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert first.stderr is not None
    assert any("B: step 2" in line for line in first.stderr)
    first.kill()
    first.wait()
    (place / "agents.py").write_text(AGENTS.replace('context.get("hang")', "False"))
    engine = subprocess.Popen(
        command("dev", "--agents", "agents.py"), cwd=place, env=environment(place), stderr=subprocess.PIPE, text=True
    )
    try:
        assert engine.stderr is not None
        assert any("ready" in line for line in engine.stderr)
        assert "run completed" in anabranch(place, "watch", "last").stdout
    finally:
        engine.send_signal(signal.SIGTERM)
        engine.wait(40)
    steps = json.loads(anabranch(place, "trace", "last", "--json").stdout)["steps"]
    assert [(s["agent"], s["attempt"], s["status"]) for s in steps] == [("A", 1, "completed"), ("B", 1, "completed")]

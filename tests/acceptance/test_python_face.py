"""`Orchestra` as the seed shows it, embedded and distributed: the same program, the same outcome."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import house

AGENTS = """
from anabranch import agent

@agent("Coordinator")
def coordinator(request):
    return request

@agent("W1")
class First:
    async def run(self, prompt, memory=None, context=None):
        return f"one of {prompt} for {context['session_id']}"

@agent("W2")
def second(request):
    return f"two of {request}"
"""
PROGRAM = """
import asyncio, json
import agents
from anabranch import ExecutionConfig, Orchestra, PatternConfig, StatusConfig

TOPOLOGY = PatternConfig.hub_and_spoke(hub="Coordinator", spokes=["W1", "W2"], parallel_spokes=True)

async def main():
    config = ExecutionConfig(status=StatusConfig.from_verbosity(2))
    context = {"session_id": "abc123"}
    result = await Orchestra.run(task="a book", topology=TOPOLOGY, context=context, config=config)
    handle = await Orchestra.submit(task="more", topology=TOPOLOGY, context=context)
    kinds = [event["type"] async for event in handle.events()]
    again = await handle.result()
    both = await asyncio.gather(*(Orchestra.run("x", TOPOLOGY, context) for _ in range(3)))
    print(json.dumps({
        "success": result.success,
        "final": [r["result"] for r in result.final_response],
        "metrics": result.metrics,
        "trace": [[b.branch_id, [[s.step_number, s.agent_name] for s in b.execution_trace]]
                  for b in result.branch_results],
        "kinds": [kinds[0], kinds[-1]],
        "again": again.success,
        "three": [r.success for r in both],
    }))

asyncio.run(main())
"""


def _play(folder: Path, environment: dict[str, str]) -> tuple[dict[str, object], str]:
    (folder / "agents.py").write_text(AGENTS)
    (folder / "program.py").write_text(PROGRAM)
    clean = {k: v for k, v in os.environ.items() if not k.startswith("ANABRANCH_")}
    done = subprocess.run(
        [sys.executable, "program.py"], cwd=folder, env=clean | environment, capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def _judge(outcome: dict[str, object], said: str) -> None:
    assert outcome["success"] and outcome["again"] and outcome["three"] == [True] * 3
    assert outcome["final"] == ["one of a book for abc123", "two of a book"]
    assert outcome["kinds"] == ["RunStarted", "RunCompleted"]
    assert outcome["trace"] == [
        ["b0", [[1, "Coordinator"], [2, "Coordinator"]]],
        ["b0.f1.b0", [[1, "W1"]]],
        ["b0.f1.b1", [[1, "W2"]]],
    ]
    metrics = outcome["metrics"]
    assert isinstance(metrics, dict) and (metrics["total_steps"], metrics["branch_count"]) == (4, 3)
    assert metrics["parallel_branches"] == 2 and 0 < metrics["convergence_wait_time"] <= metrics["total_duration"]
    assert "Coordinator invokes 2 in parallel" in said and "run completed" in said


def test_embedded(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    _judge(*_play(tmp_path, {"ANABRANCH_DATA_DIR": str(tmp_path / "data")}))


@pytest.mark.timeout(180)
def test_distributed(database_url: str, amqp_url: str, tmp_path: Path) -> None:
    (tmp_path / "agents.py").write_text(AGENTS)
    with house(database_url, amqp_url, tmp_path, tmp_path / "agents.py"):
        addresses = {"ANABRANCH_AMQP_URL": amqp_url, "ANABRANCH_DATABASE_URL": database_url}
        _judge(*_play(tmp_path, addresses))

"""The team: Planner, Reader (one for each file), Analyst, and Writer in conversation with Critic."""

from pathlib import Path
from typing import Any

from anabranch.agents.registry import agent
from anabranch.demo.measure import measure, source_files, summarise
from anabranch.demo.report import draft, missing
from anabranch_contracts.reply_builders import final_response, invoke_agent, parallel_invoke

JSON = Any

TOPOLOGY: dict[str, JSON] = {
    "nodes": ["Planner", "Reader", {"name": "Analyst", "is_convergence_point": True}, "Writer", "Critic"],
    "edges": ["Planner -> Reader", "Reader -> Analyst", "Analyst -> Writer", "Writer <-> Critic"],
}


@agent("Planner")
def planner(request: JSON) -> JSON:
    """Split the tree: one invocation of Reader for each file."""
    root = request["path"]
    files = source_files(Path(root))
    if not files:
        return final_response(f"There are no Python files below {root}.")
    calls = [{"agent": "Reader", "request": {"root": root, "file": name}} for name in files]
    return parallel_invoke(invocations=calls, context_updates={"root": root})


@agent("Reader")
def reader(request: JSON) -> JSON:
    """Measure one file; what it says goes to the Analyst, where all readers meet."""
    return measure(Path(request["root"]), request["file"])


@agent("Analyst")
def analyst(request: list[JSON]) -> JSON:
    """Put what the readers found together."""
    return summarise([record["result"] for record in request if record["status"] == "completed"])


@agent("Writer")
def writer(request: JSON, context: dict[str, JSON], memory: list[JSON]) -> JSON:
    """Draft the report; add what the critic misses."""
    title = f"What is in {Path(context['root']).name}"
    if "missing" not in request:
        return invoke_agent("Critic", draft(title, request, ["Overview", "Largest files", "Imports"]))
    summary = next(m["content"] for m in memory if m["role"] == "user" and "lines" in m["content"])
    asked = [m["content"]["missing"]["section"] for m in memory if m["role"] == "user" and "missing" in m["content"]]
    sections = ["Overview", "Largest files", "Imports", *asked, request["missing"]["section"]]
    return invoke_agent("Critic", draft(title, summary, sections))


@agent("Critic")
def critic(request: str) -> JSON:
    """Ask for one thing after the other until the report meets all criteria."""
    gaps = missing(request)
    return invoke_agent("Writer", {"missing": gaps[0]}) if gaps else final_response(request)

"""Generated contracts for other languages: JSON Schemas and the AsyncAPI document.

`python -m anabranch_contracts.schemas` writes them, `--check` fails when they are not what the code says.
"""

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import models_json_schema

from anabranch_contracts import messages as m
from anabranch_contracts.catalog import EVENTS, VERSIONS
from anabranch_contracts.config import RunConfig
from anabranch_contracts.topology import TopologyInput

JSON = Any
FOLDER = Path(__file__).parents[1]
CHANNELS: dict[str, tuple[type[BaseModel], str, str]] = {
    "run.requested": (m.RunRequested, "receive", "Start a run."),
    "step.requested.{agent}": (m.StepRequested, "send", "A step for a worker of the agent."),
    "step.completed": (m.StepCompleted, "receive", "The reply of an agent."),
    "step.failed": (m.StepFailed, "receive", "An attempt failed."),
    "branch.spawned": (m.BranchNews, "send", "A branch begins."),
    "branch.parked": (m.BranchNews, "send", "A branch waits at a convergence node."),
    "branch.completed": (m.BranchNews, "send", "A branch is done."),
    "branch.failed": (m.BranchNews, "send", "A branch failed."),
    "branch.merged": (m.BranchNews, "send", "A branch gave its control away."),
    "branch.converged": (m.BranchNews, "send", "Paths met and go on as one."),
    "user.requested": (m.UserInputRequested, "send", "A person is asked."),
    "user.provided": (m.UserInputProvided, "receive", "The answer of a person."),
    "run.cancel": (m.CancelRun, "receive", "End a run, or one branch of it."),
    "run.pause": (m.PauseRun, "receive", "Start nothing new."),
    "run.resume": (m.ResumeRun, "receive", "Go on."),
    "run.checkpoint": (m.CheckpointRun, "receive", "Name the present version."),
    "run.fork": (m.ForkRun, "receive", "A new run from the past of another."),
    "command.answered": (m.CommandAnswered, "send", "To reply_to of a command: whether it was accepted."),
    "run.recover": (m.RecoverRun, "receive", "Do what is due in a run."),
    "run.completed": (m.RunEnded, "send", "The outcome of a run."),
    "run.failed": (m.RunEnded, "send", "The outcome of a run."),
    "run.cancelled": (m.RunEnded, "send", "The outcome of a run."),
    "run.rejected": (m.RunEnded, "send", "The request cannot run; the error lists every reason."),
}


def documents() -> dict[str, str]:
    """All generated files by their path below `contracts/`."""
    models = {model.__name__: model for model, _, _ in CHANNELS.values()}
    found = {f"schemas/messages/{name}.json": _schema(model) for name, model in models.items()}
    found |= {
        f"schemas/events/{name}.v{VERSIONS[name]}.json": _text(TypeAdapter(cls).json_schema())
        for name, cls in EVENTS.items()
    }
    found |= {"schemas/Topology.json": _schema(TopologyInput), "schemas/RunConfig.json": _schema(RunConfig)}
    return {**found, "asyncapi.yaml": _text(asyncapi())}


def _schema(model: type[BaseModel]) -> str:
    return _text({"$schema": "https://json-schema.org/draft/2020-12/schema", **model.model_json_schema()})


def _text(value: JSON) -> str:
    """Deterministic JSON, which is YAML too."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def asyncapi() -> dict[str, JSON]:
    """The AsyncAPI 3 document."""
    models = sorted({model for model, _, _ in CHANNELS.values()}, key=lambda c: c.__name__)
    _, schemas = models_json_schema(
        [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
    )
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "anabranch", "version": "1.0.0", "description": "Runs of agents on AMQP 0-9-1."},
        "defaultContentType": "application/json",
        "channels": {_name(key): _channel(key, model) for key, (model, _, _) in CHANNELS.items()},
        "operations": {
            _name(key): {"action": action, "summary": summary, "channel": {"$ref": f"#/channels/{_name(key)}"}}
            for key, (_, action, summary) in CHANNELS.items()
        },
        "components": {
            "schemas": schemas["$defs"],
            "messages": {c.__name__: {"payload": {"$ref": f"#/components/schemas/{c.__name__}"}} for c in models},
        },
    }


def _name(key: str) -> str:
    return key.replace(".{agent}", "").replace(".", "_")


def _channel(key: str, model: type[BaseModel]) -> dict[str, JSON]:
    channel: dict[str, JSON] = {
        "address": key,
        "messages": {model.__name__: {"$ref": f"#/components/messages/{model.__name__}"}},
        "bindings": {"amqp": {"is": "routingKey", "exchange": {"name": "anabranch", "type": "topic", "durable": True}}},
    }
    return channel | ({"parameters": {"agent": {"description": "Name of the agent"}}} if "{agent}" in key else {})


def main(arguments: list[str]) -> int:
    """Write, or with `--check` compare; 1 when something differs."""
    wanted = documents()
    kept = {str(p.relative_to(FOLDER)): p.read_text() for p in sorted(FOLDER.glob("schemas/**/*.json"))}
    kept |= {p.name: p.read_text() for p in FOLDER.glob("asyncapi.yaml")}
    differing = sorted(name for name in wanted.keys() | kept.keys() if wanted.get(name) != kept.get(name))
    if "--check" in arguments:
        print("\n".join(f"{name} is not what the code says" for name in differing), end="\n" if differing else "")
        return 1 if differing else 0
    for name in differing:
        _write(FOLDER / name, wanted.get(name))
    return 0


def _write(path: Path, text: str | None) -> None:
    if text is None:
        path.unlink()
        return
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

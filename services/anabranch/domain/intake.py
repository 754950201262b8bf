"""Take or reject a run: everything that is wrong is found before anything runs, and all of it is said."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from uuid import UUID

import orjson
from pydantic import ValidationError

from anabranch.domain.graph import Graph
from anabranch.domain.state import ROOT, RunState
from anabranch.domain.turn import Refused, Turn
from anabranch_contracts.config import RunConfig, parse_config
from anabranch_contracts.events import BranchSpawned, RunRejected, RunStarted
from anabranch_contracts.messages import RunRequested
from anabranch_contracts.notation import parse_topology
from anabranch_contracts.topology import Topology

JSON = Any
SERVED_RULES = frozenset({"MaxStepsRule"})


@dataclass(frozen=True, slots=True)
class Request:
    """A `run.requested` as it came: the decoded body and where the outcome is awaited."""

    run_id: UUID
    body: JSON
    reply_to: str | None = None
    reply_correlation: str | None = None

    def content_hash(self) -> str:
        """Identity of what is asked, so that the same request twice is one run."""
        body = {k: v for k, v in self.body.items() if k != "run_id"} if isinstance(self.body, dict) else self.body
        return sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)).hexdigest()


def known(state: RunState, request: Request) -> None:
    """A request for a run that exists: the same content is stale, another is refused."""
    if state.request_hash != request.content_hash():
        raise Refused(f"run {request.run_id} exists with another content; use a new run_id")


def take(turn: Turn, request: Request) -> None:
    """Start the run, or reject it with every reason."""
    asked, errors = _asked(request.body)
    topology, config = None, None
    if asked is not None:
        topology, wrong = parse_topology(asked.topology)
        config, unfit = parse_config(asked.config)
        errors = [*wrong, *unfit]
        if topology is not None and config is not None and not errors:
            errors = check(topology, config)
    if errors or asked is None or topology is None or config is None:
        turn.record(_rejected(request, errors))
    else:
        _start(turn, request, asked, topology, config)


def _asked(body: JSON) -> tuple[RunRequested | None, list[str]]:
    try:
        return RunRequested.model_validate(body), []
    except ValidationError as error:
        return None, [f"{'.'.join(map(str, e['loc'])) or 'body'}: {e['msg']}" for e in error.errors()]


def _rejected(request: Request, errors: list[str]) -> RunRejected:
    return RunRejected(errors[:1000], request.body, request.content_hash(), request.reply_to, request.reply_correlation)


def _start(turn: Turn, request: Request, asked: RunRequested, topology: Topology, config: RunConfig) -> None:
    turn.record(
        RunStarted(
            task=asked.task,
            topology=topology.canonical(),
            topology_hash=topology.content_hash(),
            context=asked.context,
            config=_bounded(config, topology),
            labels=asked.labels,
            request_hash=request.content_hash(),
            reply_to=request.reply_to,
            reply_correlation=request.reply_correlation,
        )
    )
    for i, entry in enumerate(turn.state.graph.entries):
        turn.record(BranchSpawned(f"b{i}", None, ROOT, [0, i], entry))


def _bounded(config: RunConfig, topology: Topology) -> dict[str, JSON]:
    """The configuration in force: the topology's rules narrow it."""
    values: dict[str, JSON] = config.model_dump(mode="json")
    for rule in topology.canonical()["rules"]:
        if rule["type"] == "MaxStepsRule":
            values["max_steps"] = min(values["max_steps"], rule["max_steps"])
    return values


def check(topology: Topology, config: RunConfig) -> list[str]:
    """What is wrong with a well-formed topology: nodes nobody reaches, no entry, parts not served yet."""
    graph = Graph(topology.canonical(), config.auto_detect_convergence)
    if not graph.entries:
        return ["topology: no agent can start; add an agent node without incoming edges, or name an `entry`"]
    lost = [
        f"topology: no entry reaches node {name!r}; add an edge to it, name it in `entry`, or remove it"
        for name in graph.unreachable()
    ]
    return lost + _unserved(topology.canonical(), config)


def _unserved(topology: Mapping[str, JSON], config: RunConfig) -> list[str]:
    """Parts of the interface that this version understands but does not carry out: refused, never ignored."""
    found = [f"node {n['name']!r}: people (kind user)" for n in topology["nodes"] if n["kind"] == "user"]
    found += [f"edge {x['source']} -> {x['target']}: condition" for x in topology["edges"] if x.get("condition")]
    found += [f"rule {r['type']}" for r in topology["rules"] if r["type"] not in SERVED_RULES]
    policies = [("config.convergence", config.convergence.model_dump(mode="json"))]
    policies += [(f"node {n['name']!r}: convergence", n["convergence"] or {}) for n in topology["nodes"]]
    found += [f"{where}.{what}" for where, policy in policies for what in _unserved_policy(policy)]
    if config.run_timeout is not None:
        found.append("config.run_timeout")
    return [f"{what} is not served by this version; leave it out" for what in found]


def _unserved_policy(policy: Mapping[str, JSON]) -> list[str]:
    wanted = [k for k in ("eager", "fail_fast", "timeout") if policy.get(k)]
    return wanted + (["on_insufficient = user"] if policy.get("on_insufficient") == "user" else [])

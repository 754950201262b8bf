"""Take or reject a run: everything that is wrong is found before anything runs, and all of it is said."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from uuid import UUID

import orjson
from pydantic import ValidationError

from anabranch.domain.conditions import wrong_with
from anabranch.domain.graph import START, Graph, graph_of
from anabranch.domain.sizes import MAX_CONTEXT, MAX_LABELS, MAX_TOGETHER, size, too_much
from anabranch.domain.state import ROOT, RunState
from anabranch.domain.stepping import too_many_branches
from anabranch.domain.turn import Refused, Turn
from anabranch_contracts.config import RunConfig, parse_config
from anabranch_contracts.errors import place
from anabranch_contracts.events import BranchSpawned, OutcomeAwaited, RunRejected, RunStarted
from anabranch_contracts.messages import RunRequested
from anabranch_contracts.notation import parse_topology
from anabranch_contracts.topology import Topology

JSON = Any
MOST_ERRORS, LONGEST_ERROR = 1000, 1000


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


def known(turn: Turn, request: Request) -> None:
    """A request for a run that exists: of the same content it is an address more, another is refused."""
    if turn.state.erased:
        raise Refused(f"run {request.run_id} was erased; use a new run_id")
    if turn.state.request_hash != request.content_hash():
        raise Refused(f"run {request.run_id} exists with another content; use a new run_id")
    await_outcome(turn, request.reply_to, request.reply_correlation)


def awaited(state: RunState, reply_to: str | None, correlation: str | None) -> bool:
    """Whether the outcome is to be told there already, or to nobody."""
    return reply_to is None or (reply_to, correlation) in state.replies


def await_outcome(turn: Turn, reply_to: str | None, correlation: str | None) -> None:
    """Have the outcome told to one more who asked."""
    if reply_to is not None and (turn.state.terminal or not awaited(turn.state, reply_to, correlation)):
        turn.record(OutcomeAwaited(reply_to, correlation))


def take(turn: Turn, request: Request) -> None:
    """Start the run, or reject it with every reason."""
    asked, errors = _asked(request.body)
    topology, config = None, None
    if asked is not None:
        topology, wrong = parse_topology(asked.topology)
        config, unfit = parse_config(asked.config)
        errors = [*wrong, *unfit, *_too_large(asked)]
        if topology is not None and config is not None and not errors:
            errors = check(topology, config) or _multiplied(asked, topology, config)
    if errors or asked is None or topology is None or config is None:
        turn.record(_rejected(request, errors))
    else:
        _start(turn, request, asked, topology, config)


def _asked(body: JSON) -> tuple[RunRequested | None, list[str]]:
    try:
        return RunRequested.model_validate(body), []
    except ValidationError as error:
        return None, [f"{place(e['loc']) or 'body'}: {e['msg']}" for e in error.errors()]


def _too_large(asked: RunRequested) -> list[str]:
    found = (
        too_much("context: has", size(asked.context), MAX_CONTEXT),
        too_much("labels: has", size(asked.labels), MAX_LABELS),
    )
    return [why for why in found if why is not None]


def _multiplied(asked: RunRequested, topology: Topology, config: RunConfig) -> list[str]:
    """The task goes to every entry."""
    if len(topology.nodes) * (bytes_ := size(asked.task)) <= MAX_TOGETHER:
        return []
    entries = len(graph_of(topology.canonical(), topology.content_hash(), config.auto_detect_convergence).entries)
    why = too_much(f"task: for {entries} entries it has", entries * bytes_, MAX_TOGETHER)
    return [] if why is None else [why]


def _rejected(request: Request, errors: list[str]) -> RunRejected:
    errors = [said if len(said) <= LONGEST_ERROR else f"{said[:LONGEST_ERROR]}…" for said in errors[:MOST_ERRORS]]
    return RunRejected(errors, request.body, request.content_hash(), request.reply_to, request.reply_correlation)


def _start(turn: Turn, request: Request, asked: RunRequested, topology: Topology, config: RunConfig) -> None:
    turn.record(
        RunStarted(
            task=asked.task,
            topology=topology.canonical(),
            topology_hash=topology.content_hash(),
            context=asked.context,
            config=config.model_dump(mode="json"),
            labels=asked.labels,
            request_hash=request.content_hash(),
            reply_to=request.reply_to,
            reply_correlation=request.reply_correlation,
        )
    )
    entries = turn.state.graph.entries
    if too_many_branches(turn, len(entries)):
        return
    for i, entry in enumerate(entries):
        turn.record(BranchSpawned(f"b{i}", None, ROOT, [0, i], entry))


def check(topology: Topology, config: RunConfig) -> list[str]:
    """What is wrong with a well-formed topology: nodes nobody reaches, no entry, conditions that cannot be used."""
    canonical = topology.canonical()
    graph = graph_of(canonical, topology.content_hash(), config.auto_detect_convergence)
    if not graph.entries:
        return ["topology: no agent can start; add an agent node without incoming edges, or name an `entry`"]
    lost = [
        f"topology: no entry reaches node {name!r}; add an edge to it, name it in `entry`, or remove it"
        for name in graph.unreachable()
    ]
    return lost + _too_many(graph) + _unanswerable(graph) + _conditions(canonical) + _unasked(graph)


def _too_many(graph: Graph) -> list[str]:
    agents = sum(node.get("kind", "agent") == "agent" for node in graph.node.values())
    most = graph.rules.agents
    return [f"rule MaxAgentsRule: {agents} agents, max_agents = {most}"] if most is not None and agents > most else []


def _unanswerable(graph: Graph) -> list[str]:
    """Who asks a person must be answered: the way back is an edge to who asks, or the only one there is."""
    return [
        f"topology: an answer to {asking!r} has several ways on from {user!r}; add an edge {user} -> {asking}"
        for user in graph.names
        if graph.is_user(user)
        for asking in graph.predecessors[user]
        if graph.answers_to(user, asking) is None
    ]


def _unasked(graph: Graph) -> list[str]:
    """Where a person or the start hands over, no reply is there to be judged."""
    return [
        f"topology: edge {a} -> {b}: its condition would never be asked; put it on an edge from an agent, or in a rule"
        for a, b in graph.conditions
        if (graph.is_user(a) or a == START) and (a, b) not in graph.conversational
    ]


def _conditions(topology: Mapping[str, JSON]) -> list[str]:
    found = [(f"edge {x['source']} -> {x['target']}", x["condition"]) for x in topology["edges"] if x.get("condition")]
    found += [
        (f"rules: ConditionalRule {i}", r["condition"])
        for i, r in enumerate(topology["rules"])
        if r["type"] == "ConditionalRule"
    ]
    judged = [(where, wrong_with(condition)) for where, condition in found]
    return [f"topology: {where}: condition {why}" for where, why in judged if why is not None]

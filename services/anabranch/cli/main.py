"""`anabranch`: commands are loaded when they are called, errors are one line and a hint."""

import logging
import sys

from cyclopts import App, CycloptsError

from anabranch.client.terminal import tame
from anabranch_contracts.errors import AnabranchError, InvalidTopology

COMPLETED, FAILED, USAGE, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 130
NOISY = ("pika",)  # what they log of a lost connection is in the one line that we say

app = App(
    name="anabranch",
    help="Durable multi-agent workflows. Start with `anabranch demo`; every command has --help and --json.",
    version_flags=["--version"],
)

COMMANDS = {
    "demo": ("anabranch.cli.demo:demo", "A small team of agents reads a source tree and reports on it."),
    "run": ("anabranch.cli.running:run", "Run a topology to its outcome, with live progress."),
    "submit": ("anabranch.cli.running:submit", "Ask running services for a run; print its id at once."),
    "runs": ("anabranch.cli.looking:runs", "List the newest runs."),
    "show": ("anabranch.cli.looking:show", "Show one run: status, result, metrics."),
    "trace": ("anabranch.cli.looking:trace", "Show a run's branches and steps as a tree."),
    "events": ("anabranch.cli.looking:events", "List a run's events."),
    "watch": ("anabranch.cli.looking:watch", "Follow a run live."),
    "cancel": ("anabranch.cli.controlling:cancel", "End a run, or one branch of it."),
    "pause": ("anabranch.cli.controlling:pause", "Start nothing new in a run."),
    "resume": ("anabranch.cli.controlling:resume", "Go on with a paused run."),
    "fork": ("anabranch.cli.controlling:fork", "Start a new run from another's past."),
    "inbox": ("anabranch.cli.people:inbox", "List the questions that wait for a person."),
    "respond": ("anabranch.cli.people:respond", "Answer a question."),
    "recover": ("anabranch.cli.recovering:recover", "Publish again what live runs still owe."),
    "erase": ("anabranch.cli.erasing:erase", "Erase what a run that is over was about."),
    "migrate": ("anabranch.cli.operating:migrate", "Bring the database to the schema of this release."),
    "doctor": ("anabranch.cli.doctor:doctor", "Check every dependency."),
    "router": ("anabranch.cli.serving:router", "Run the router service."),
    "supervisor": ("anabranch.cli.serving:supervisor", "Run the branch-supervisor service."),
    "worker": ("anabranch.cli.serving:worker", "Run an agent-worker."),
    "dev": ("anabranch.cli.serving:dev", "Run all services in one process."),
}
GROUPS = {
    "topology": ("Check or draw a topology file.", {"check": "topology:check", "show": "topology:show"}),
    "checkpoint": (
        "Names for versions of a run.",
        {"create": "controlling:create_checkpoint", "list": "controlling:list_checkpoints"},
    ),
    "projections": (
        "Compare the SQL tables with the event log, or write them anew.",
        {"verify": "operating:verify", "rebuild": "operating:rebuild"},
    ),
    "parked": (
        "Messages set aside with a reason.",
        {"list": "parked:list_parked", "show": "parked:show", "replay": "parked:replay", "drop": "parked:drop"},
    ),
}

for _name, (_target, _help) in COMMANDS.items():
    app.command(_target, name=_name, help=_help)
for _name, (_help, _parts) in GROUPS.items():
    _group = App(name=_name, help=_help)
    for _part, _target in _parts.items():
        _group.command(f"anabranch.cli.{_target}", name=_part)
    app.command(_group)


def main(arguments: list[str] | None = None) -> None:
    """Run one command and leave with its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    if debug:
        given.remove("--debug")
    else:
        for name in NOISY:
            logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        sys.exit(_exit_code(app(given, exit_on_error=False, print_error=False)))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # who reads has read enough
        sys.stderr.close()
        sys.exit(COMPLETED)
    except CycloptsError as error:
        sys.exit(_explain_usage(error))
    except Exception as error:
        if debug:
            raise
        sys.exit(_explain(error))


def _exit_code(result: object) -> int:
    return result if isinstance(result, int) and not isinstance(result, bool) else COMPLETED


def _explain_usage(error: CycloptsError) -> int:
    """One line and where to read on."""
    said = tame(str(error))
    command = " ".join(["anabranch", *(error.command_chain or ())])
    print(f"anabranch: {said}\n  `{command} --help` says how", file=sys.stderr)
    return USAGE


def _explain(error: BaseException) -> int:
    """One line and a hint on stderr; the exit code that fits."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    kinds = {kind.__name__ for kind in type(error).__mro__}
    unreachable = "Unavailable" in kinds or isinstance(error, ConnectionError)
    hint = getattr(error, "hint", None) or vars(error).get("mend")
    if unreachable:
        hint = hint or "is it running? `anabranch doctor` looks at each dependency"
    known = unreachable or isinstance(error, AnabranchError)
    text = str(error) if known else f"{type(error).__name__}: {error}"
    print(f"anabranch: {tame(text)}", file=sys.stderr)
    if hint or not known:
        print(f"  {hint or 'this is a defect; --debug shows where'}", file=sys.stderr)
    if unreachable:
        return UNREACHABLE
    return USAGE if isinstance(error, InvalidTopology | AnabranchError) else FAILED

"""`anabranch demo`: the team of `anabranch.demo` on a real source tree."""

import asyncio
import json as standard_json
import sys
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown

from anabranch.cli.output import as_json
from anabranch.cli.progress import follow
from anabranch.cli.tree import run_tree
from anabranch.client import queries
from anabranch.client.orchestra import Orchestra
from anabranch.client.results import OrchestraResult
from anabranch.demo import agents
from anabranch_contracts.errors import AnabranchError

DEFAULT = Path(standard_json.__file__).parents[1] / "email"


def demo(path: Path = DEFAULT, *, output: Path = Path("anabranch-report.md"), json: bool = False) -> int:
    """A small team of agents reads a Python source tree in parallel, discusses, and reports on it.

    Parameters
    ----------
    path
        the tree (default: the `email` package of the installed Python)
    output
        where the report is written
    json
        print the outcome as JSON
    """
    if not path.is_dir():
        raise AnabranchError(f"{path} is no folder", hint="name a folder with Python files")
    return asyncio.run(_demo(path.resolve(), output, json))


async def _demo(path: Path, output: Path, json: bool) -> int:
    async with Orchestra.submitted({"path": str(path)}, agents.TOPOLOGY) as handle:
        if not json:
            await follow(handle)
        result = await handle.result()
        assert handle.session.database is not None
        rows = [
            await queries.rows(handle.session.database, statement, handle.run_id)
            for statement in (queries.RUN, queries.BRANCHES, queries.STEPS, queries.CONVERGENCES)
        ]
    if result.success:
        await asyncio.to_thread(output.write_text, result.final_response)
    if json:
        as_json({"run_id": result.run_id, "status": result.status, "report": str(output), "metrics": result.metrics})
    else:
        _tell(result, rows, output)
    return 0 if result.success else 1


def _tell(result: OrchestraResult, rows: list[list[queries.Row]], output: Path) -> None:
    console = Console(highlight=False)
    if not result.success:
        print(f"anabranch: the run {result.status}: {result.error}", file=sys.stderr)
        return
    console.print(Markdown(result.final_response))
    console.rule()
    console.print(run_tree(rows[0][0], *rows[1:]))
    steps = f"{result.total_steps} steps in {result.branch_count} branches, {result.parallel_branches} at once"
    console.print(f"\n{steps}, {result.total_duration:.2f} s. The report is in [bold]{output}[/].")
    console.print("\nAsk next:\n  anabranch trace last · anabranch events last · or plain SQL:")
    console.print(f"  {ASK_NEXT.format(run_id=result.run_id)}", markup=False, soft_wrap=True)


ASK_NEXT = """select agent, count(*), round(avg(duration)::numeric, 4) as seconds
  from anabranch.steps where run_id = '{run_id}' group by agent order by 2 desc;"""

"""How a subject is run: `python -m ops.bench.subjects.NAME W1 W4 --scale 0.1`, one JSON line a workload.

The place to work in comes in the environment: `BENCH_DATABASE_URL`, `BENCH_AMQP_URL` (both empty and its own),
`BENCH_FOLDER`, `BENCH_MARKS`. After a workload that was not over in time the process ends, for what it left running
would be in the way of the next; who asked starts it again for the rest.
"""

import argparse
import asyncio
import json
import os
import traceback
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from ops.bench import processor
from ops.bench.workloads import LONGER, WORKLOADS, Subject, chains, forks

Opened = Callable[[], AbstractAsyncContextManager[Subject]]
DATABASE_URL = os.environ.get("BENCH_DATABASE_URL", "")
AMQP_URL = os.environ.get("BENCH_AMQP_URL", "")
FOLDER = Path(os.environ.get("BENCH_FOLDER", "."))


def tell(workload: str, **found: object) -> None:
    """One line for who asked."""
    print(json.dumps({"workload": workload, **found}), flush=True)


async def _measured(subject: Subject, workload: str, scale: float, patience: float) -> bool:
    """Measure and tell; False when the subject is not fit for another."""
    patience *= LONGER.get(workload, 1)
    try:
        async with asyncio.timeout(patience):
            with processor.watched(DATABASE_URL) as shares:
                figures = await WORKLOADS[workload](subject, scale)
        tell(workload, figures=figures, processor=shares)
    except TimeoutError:
        tell(workload, failed=f"not over in {patience:g} s")
        return False
    except Exception as error:
        traceback.print_exc()
        tell(workload, failed=f"{type(error).__name__}: {error}"[:300])
        return False
    return True


async def _drive(opened: Opened, args: argparse.Namespace) -> None:
    async with opened() as subject:
        await chains(subject, 10)  # the first of everything is slow everywhere
        await forks(subject, 2, 5)
        for workload in args.workloads:
            if not await _measured(subject, workload, args.scale, args.patience):
                return


def drive(opened: Opened) -> None:
    """Parse, open the subject, measure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("workloads", nargs="+", choices=WORKLOADS)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--patience", type=float, default=60.0, help="seconds that a workload may take")
    args = parser.parse_args()
    Path(os.environ["BENCH_MARKS"]).touch()
    asyncio.run(_drive(opened, args))

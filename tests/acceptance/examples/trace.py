"""Execution Trace: the loop that prints it."""

import io
import re
from contextlib import redirect_stdout

from anabranch import Orchestra
from tests.acceptance.examples import parallel
from tests.acceptance.telling import told


def printed(result):
    # From OrchestraResult
    for branch_result in result.branch_results:
        print(f"Branch {branch_result.branch_id}:")
        for step in branch_result.execution_trace:
            print(f"  Step {step.step_number}: {step.agent_name}")
            print(f"    Duration: {step.duration}s")


async def main():
    result = await Orchestra.run(task="a page", topology=parallel.topology)
    with redirect_stdout(io.StringIO()) as paper:
        printed(result)
    lines = [re.sub(r"\d+\.\d+(e-\d+)?s$", "T s", line) for line in paper.getvalue().splitlines()]
    return {"a page": told(result), "printed": lines}


PROMISED = {
    "a page": {
        **parallel.PROMISED["a book"],
        "result": ["one of a page", "two of a page", "three of a page"],
    },
    "printed": [
        "Branch b0:", "  Step 1: Coordinator", "    Duration: T s", "  Step 2: Coordinator", "    Duration: T s",
        "Branch b0.f1.b0:", "  Step 1: W1", "    Duration: T s",
        "Branch b0.f1.b1:", "  Step 1: W2", "    Duration: T s",
        "Branch b0.f1.b2:", "  Step 1: W3", "    Duration: T s",
    ],
}  # fmt: skip

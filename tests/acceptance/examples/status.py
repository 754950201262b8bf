"""Status Updates: what each verbosity shows on stderr."""

import io
import re
from contextlib import redirect_stderr

from anabranch import ExecutionConfig, Orchestra, StatusConfig
from tests.acceptance.examples import metrics
from tests.acceptance.telling import told

SHOWN = {
    "agent transitions": r"b0\.f1\.b0  Fast: step 1",
    "step outcomes": r"b0  Starter: parallel_invoke",
    "branch creation": r"\+ b0\.f1\.b1  starts at Slow",
    "branch completion": r"- b0  done at Finish",
    "convergence points": r"> 2 converge at Finish after \d+\.\d\d s, b0 goes on",
    "times": r"^\d\d:\d\d:\d\d\.\d{3}  ",
    "duration of a step": r"b0\.f1\.b1  Slow: content, \d+\.\d{3} s",
    "duration of the run": r"^4 steps in 3 branches in \d+\.\d{3} s, \d+\.\d{3} s waited at convergences",
    "outcome": r"run completed",
}


async def shown(verbosity):
    config = ExecutionConfig(status=StatusConfig.from_verbosity(verbosity))
    with redirect_stderr(io.StringIO()) as said:
        result = await Orchestra.run(task=f"verbosity {verbosity}", topology=metrics.topology, config=config)
    text = said.getvalue()
    return {**told(result), "shows": [what for what, pattern in SHOWN.items() if re.search(pattern, text, re.M)]}


async def main():
    return {f"verbosity {verbosity}": await shown(verbosity) for verbosity in (0, 1, 2)}


BRANCHES = [what for what in SHOWN if what not in ("agent transitions", "step outcomes", "duration of a step")]
PROMISED = {
    f"verbosity {verbosity}": {**metrics.PROMISED["measure"], "shows": shows}
    for verbosity, shows in enumerate([[], BRANCHES, list(SHOWN)])
}

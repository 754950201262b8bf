"""`python -m tests.fuzz --inputs N [--first F] [NAME ...]`: a table of every target, and the number of each finding.

`python -m tests.fuzz --again NUMBER NAME` runs one input alone, with its traceback.
"""

import argparse
import sys

from tests.fuzz import driver
from tests.fuzz.targets import TARGETS


def main() -> int:
    """Run them; exit code 1 when something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--inputs", type=int, default=100_000, help="per target")
    parser.add_argument("--first", type=int, default=0, help="the first number")
    parser.add_argument("--again", type=int, help="one number, of the one target named")
    parser.add_argument("names", nargs="*", default=list(TARGETS), help="targets (default: all)")
    given = parser.parse_args()
    if given.again is not None:
        (name,) = given.names
        print("accepted" if driver.one(TARGETS[name], name, given.again) else "refused")
        return 0
    print(driver.HEADER, flush=True)
    found = 0
    for name in given.names:
        report = driver.run(name, TARGETS[name], given.first, given.inputs)
        print(report.row(), flush=True)
        for number, what in report.findings:
            print(f"    --again {number} {name!r}: {what}", flush=True)
        found += len(report.findings)
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())

"""`python -m anabranch.branch_supervisor`."""

import asyncio
import sys

from anabranch.branch_supervisor.app import serve
from anabranch.runtime.settings import load

if __name__ == "__main__":
    sys.exit(asyncio.run(serve(load())))

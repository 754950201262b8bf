"""`python -m anabranch.agent_worker`."""

import asyncio
import sys

from anabranch.agent_worker.service import serve
from anabranch.runtime.settings import load

if __name__ == "__main__":
    sys.exit(asyncio.run(serve(load())))

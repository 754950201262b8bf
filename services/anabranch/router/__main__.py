"""`python -m anabranch.router`."""

import asyncio
import sys

from anabranch.router.app import serve
from anabranch.runtime.settings import load

if __name__ == "__main__":
    sys.exit(asyncio.run(serve(load())))

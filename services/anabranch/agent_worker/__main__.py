"""`python -m anabranch.agent_worker`."""

import sys

from anabranch.agent_worker.service import serve
from anabranch.runtime.lifecycle import main

if __name__ == "__main__":
    sys.exit(main(serve))

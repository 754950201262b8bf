"""`python -m anabranch.branch_supervisor`."""

import sys

from anabranch.branch_supervisor.app import serve
from anabranch.runtime.lifecycle import main

if __name__ == "__main__":
    sys.exit(main(serve))

"""`python -m anabranch.router`."""

import sys

from anabranch.router.app import serve
from anabranch.runtime.lifecycle import main

if __name__ == "__main__":
    sys.exit(main(serve))

"""Install the peers beside the project, each for itself: `python -m ops.bench.install .venv-bench`.

One that cannot be installed leaves the reason in `.venv-bench/NAME.why`, which the tables of `make bench` show.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

PINS = Path(__file__).with_name("requirements.txt")
RESTATE_SERVER = "@restatedev/restate-server@1.7.12"
PEERS = {
    "dbos": ["dbos"],
    "langgraph": ["langgraph", "langgraph-checkpoint-postgres", "psycopg[binary,pool]"],
    "celery": ["celery", "sqlalchemy", "psycopg2-binary"],
    "restate": ["restate-sdk", "hypercorn", "aiohttp"],
    "tools": ["matplotlib", "py-spy"],
}


def tried(command: Sequence[str | Path]) -> str | None:
    """Run it; the last words of one that failed."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return str(error)
    said = [line.strip() for line in done.stderr.splitlines() if line.strip() and not line.startswith("WARNING")]
    return (said[-1] if said else f"exit code {done.returncode}")[:300] if done.returncode else None


def installed(place: Path, name: str) -> str | None:
    """Install a peer; why not, if it cannot be."""
    pip = [place / "bin/python", "-m", "pip", "install", "-q", "--disable-pip-version-check", "-c", PINS]
    why = tried([*pip, *PEERS[name]])
    if why is None and name == "restate":  # the server is a binary in an npm package
        why = tried(["npm", "install", "--silent", "--ignore-scripts", "--prefix", place, RESTATE_SERVER])
    return why


def main() -> None:
    """Install all; say who is missing."""
    place = Path(sys.argv[1])
    for name in PEERS:
        note = place / f"{name}.why"
        note.unlink(missing_ok=True)
        print(f"installing {name} for the benchmark", file=sys.stderr, flush=True)
        if why := installed(place, name):
            note.write_text(f"{why}\n")
            print(f"not installed: {name}: {why}", file=sys.stderr)


if __name__ == "__main__":
    main()

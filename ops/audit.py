"""Ask the advisory database of PyPI about every pinned package; what could not be asked about is said, not passed over.

    python -m ops.audit PIP_AUDIT REQUIREMENTS...

Exit code 1: a known vulnerability. 0: none, or nobody could be asked, in which case the last lines say so in capitals.
"""

import json
import subprocess
import sys
from typing import Any

FLAGS = ("--disable-pip", "--no-deps", "--format", "json", "--progress-spinner", "off")


def findings(pip_audit: str, files: list[str]) -> tuple[list[dict[str, Any]], str]:
    """What is known of each package, and what the tool complained of."""
    named = [part for file in files for part in ("-r", file)]
    done = subprocess.run([pip_audit, *FLAGS, *named], capture_output=True, text=True)
    try:
        return json.loads(done.stdout)["dependencies"], done.stderr
    except (ValueError, KeyError):
        return [], done.stderr


def verdict(packages: list[dict[str, Any]], complaint: str) -> tuple[str, int]:
    """What to say, and the exit code."""
    lines = [
        f"{p['name']} {p['version']}: {v['id']}, mended in {', '.join(v['fix_versions']) or 'no release'}"
        for p in packages
        for v in p.get("vulns", ())
    ]
    unknown = [p["name"] for p in packages if "skip_reason" in p]
    asked = len(packages) - len(unknown)
    code = 1 if lines else 0
    lines.append(f"audit: {asked} packages asked about, {len(lines)} known vulnerabilities")
    if unknown or not packages:
        why = f"{len(unknown)} packages" if packages else (complaint.strip().splitlines() or ["nothing was said"])[-1]
        lines.append(f"audit: NOT AUDITED: {why}; the advisory database was not reached. Run `make audit` where it is.")
    return "\n".join(lines), code


if __name__ == "__main__":
    said, exit_code = verdict(*findings(sys.argv[1], sys.argv[2:]))
    print(said)
    sys.exit(exit_code)

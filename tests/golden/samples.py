"""Golden samples: what each event looked like when it was first stored, byte for byte."""

from pathlib import Path

FOLDER = Path(__file__).parent / "events"


def paths() -> list[Path]:
    """`<Type>.v<N>.json`, one for each type and schema version ever published."""
    return sorted(FOLDER.glob("*.json"))

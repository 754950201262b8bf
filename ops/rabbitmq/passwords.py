"""Print RabbitMQ definitions with the users' password hashes, made from a folder of secrets.

    python ops/rabbitmq/passwords.py ops/rabbitmq/definitions.json SECRETS > definitions-to-load.json

SECRETS holds one file for each user, of the user's name: its password. A user without a file cannot log in.
Load the output at boot (`load_definitions`) or with `rabbitmqctl import_definitions`; do it again to rotate passwords.
"""

import json
import sys
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from secrets import token_bytes


def hashed(password: str, salt: bytes) -> str:
    """As RabbitMQ keeps it: the salt, and SHA-256 of salt and password."""
    return b64encode(salt + sha256(salt + password.encode()).digest()).decode()


def with_passwords(definitions: dict[str, list[dict[str, object]]], secrets: Path) -> dict[str, object]:
    """The definitions, each user with the hash of its password; raises `OSError` or `ValueError` naming the file."""
    for user in definitions["users"]:
        file = secrets / str(user["name"])
        if file.exists():
            password = file.read_text().rstrip("\r\n")
            if not password:
                raise ValueError(f"{file} is empty")
            user["password_hash"] = hashed(password, token_bytes(4))
    return dict(definitions)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        print(json.dumps(with_passwords(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])), indent=2))
    except (OSError, ValueError) as error:
        sys.exit(f"passwords: {error}")

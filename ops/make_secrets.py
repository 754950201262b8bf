"""Make the secrets of a deployment, each in a file of its own: what is there already stays.

    python ops/make_secrets.py FOLDER [--broker rabbitmq:5672] [--database postgres:5432/anabranch]

Of each user a file with its password, of that name; of each service `NAME-amqp-url` and `NAME-database-url`, for
ANABRANCH_AMQP_URL_FILE and ANABRANCH_DATABASE_URL_FILE. To rotate a password, remove its file and do it again.
"""

import argparse
from pathlib import Path
from secrets import token_urlsafe

BROKER = ("router", "supervisor", "worker", "client", "operator")
DATABASE = ("owner", "router", "supervisor", "operator", "console")


def made(folder: Path, broker: str, database: str) -> None:
    """All files of the folder, which only its owner may enter: those in it are for the services' users to read."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _password(folder / "postgres")
    for name in BROKER:
        user = f"anabranch-{name}"
        _write(folder / f"{name}-amqp-url", f"amqp://{user}:{_password(folder / user)}@{broker}/")
    for name in DATABASE:
        user = f"anabranch_{name}"
        _write(folder / f"{name}-database-url", f"postgresql://{user}:{_password(folder / user)}@{database}")


def _password(file: Path) -> str:
    if not file.exists():
        _write(file, token_urlsafe(24))
    return file.read_text().strip()


def _write(file: Path, content: str) -> None:
    file.write_text(content + "\n")
    file.chmod(0o644)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--broker", default="rabbitmq:5672")
    parser.add_argument("--database", default="postgres:5432/anabranch")
    given = parser.parse_args()
    made(given.folder, given.broker, given.database)

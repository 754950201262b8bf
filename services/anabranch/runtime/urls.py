"""What an address of a server must not say: things that a driver would pass over, or complain of with the password."""

import os
import re
from urllib.parse import parse_qsl, urlsplit

CERTIFICATES = {
    "amqps": ("cafile", "capath", "certfile", "keyfile"),
    "postgresql": ("sslrootcert", "sslcert", "sslkey"),
}
MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
CHECKED = MODES[3:]


def fault(url: str) -> str | None:
    """What is wrong with it, without its password; None = nothing."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "host and port cannot be read; write what is special in a password as %XX"
    if re.search(r"\s", url) or port == 0 or "@" in url.removeprefix(f"{parts.scheme}://{parts.netloc}"):
        return "it has blanks, the port 0, or special characters that are not written as %XX"
    said = dict(parse_qsl(parts.query))
    return (_of_broker if parts.scheme.startswith("amqp") else _of_database)(parts.scheme, said)


def _of_broker(scheme: str, said: dict[str, str]) -> str | None:
    if said.get("no_verify_ssl", "0") != "0":
        return "no_verify_ssl would trust everybody; give the authority's certificate as cafile"
    files = [name for name in CERTIFICATES["amqps"] if name in said]
    if files and scheme != "amqps":
        return f"{files[0]} has no meaning without amqps://"
    return _unreadable(files, said)


def _of_database(_: str, said: dict[str, str]) -> str | None:
    mode = said.get("sslmode", "prefer")
    if mode not in MODES:
        return f"sslmode must be one of {', '.join(MODES)}"
    files = [name for name in CERTIFICATES["postgresql"] if name in said]
    if "sslrootcert" in files and mode not in CHECKED:
        return "sslrootcert has no meaning without sslmode=verify-full"
    return _unreadable(files, said)


def _unreadable(names: list[str], said: dict[str, str]) -> str | None:
    lost = [name for name in names if not os.access(said[name], os.R_OK)]
    return f"{lost[0]} {said[lost[0]]} cannot be read" if lost else None

"""TLS on both: what is not the server that was meant, or not said in secret, is refused in one line."""

import pytest

from anabranch.runtime.ports import Denied, Unavailable
from anabranch.runtime.postgres.store import PostgresStore
from anabranch.runtime.rabbitmq.parties import CLIENT
from anabranch.runtime.rabbitmq.transport import RabbitTransport
from anabranch.runtime.settings import Settings, SettingsError, load
from tests.security.locked import Locked


async def broker(url: str) -> None:
    transport = RabbitTransport(url, party=CLIENT)
    try:
        await transport.connect()
    finally:
        await transport.close()


async def database(url: str) -> None:
    store = PostgresStore(url)
    try:
        await store.live_runs()
    finally:
        await store.close()


async def test_the_right_certificates_get_in(servers: Locked) -> None:
    await broker(servers.amqp("client"))
    await database(servers.postgres("router"))


def unknown(servers: Locked) -> tuple[str, str]:
    ca = servers.certificates.unknown_ca
    return servers.amqp("client", cafile=ca), servers.postgres("router", sslrootcert=ca)


def unnamed(servers: Locked) -> tuple[str, str]:
    """The authority of the system does not know ours."""
    return servers.amqp("client", cafile=None), servers.postgres("router", sslrootcert=None)


def misnamed(servers: Locked) -> tuple[str, str]:
    return servers.amqp("client", host="127.0.0.1"), servers.postgres("router", host="127.0.0.1")


def stranger(servers: Locked) -> tuple[str, str]:
    """A client whose certificate another authority has signed."""
    certificate, key = servers.certificates.pair("stranger")
    return servers.amqp("client", certfile=certificate, keyfile=key), servers.postgres(
        "router", sslcert=certificate, sslkey=key
    )


def bare(servers: Locked) -> tuple[str, str]:
    """A client without a certificate."""
    return servers.amqp("client", certfile=None, keyfile=None), servers.postgres("router", sslcert=None, sslkey=None)


def plain(servers: Locked) -> tuple[str, str]:
    """No TLS at all."""
    nothing = {"cafile": None, "certfile": None, "keyfile": None}
    none = {"sslrootcert": None, "sslcert": None, "sslkey": None}
    return (
        servers.amqp("client", **nothing).replace("amqps://", "amqp://"),
        servers.postgres("router", sslmode="disable", **none),
    )


@pytest.mark.parametrize("wrong", [unknown, unnamed, misnamed, stranger, bare, plain], ids=lambda f: f.__name__)
@pytest.mark.parametrize("which", [0, 1], ids=["broker", "database"])
async def test_what_cannot_be_trusted_is_refused_in_one_line(servers: Locked, wrong: object, which: int) -> None:
    url = wrong(servers)[which]  # type: ignore[operator]
    with pytest.raises(Unavailable) as refused:
        await (broker, database)[which](url)
    print(type(refused.value).__name__, refused.value)
    assert "\n" not in str(refused.value) and str(refused.value).startswith(("RabbitMQ", "Postgres"))
    if wrong in (unknown, unnamed, misnamed):
        assert isinstance(refused.value, Denied)
    for password in servers.passwords.values():
        assert password not in str(refused.value)


async def test_plain_text_where_tls_is_spoken_and_tls_where_it_is_not(servers: Locked) -> None:
    url = servers.amqp("client").replace(f":{servers.tls_port}/", f":{servers.broker.port}/")
    with pytest.raises(Denied, match="TLS"):
        await broker(url)


WRONG = {
    "amqps://u:hush@h/?no_verify_ssl=1": "no_verify_ssl would trust everybody",
    "amqp://u:hush@h/?cafile=/etc/hosts": "cafile has no meaning without amqps",
    "amqps://u:hush@h/?cafile=/nowhere": "cafile /nowhere cannot be read",
    "amqps://u:hush/x@h/": "%XX",
    "amqps://u:1/hush@h/": "%XX",
    "amqps://u:hush@h:0/": "port 0",
    "postgresql://u:hush@h/d?sslmode=verify_full": "sslmode must be one of",
    "postgresql://u:hush@h/d?sslrootcert=/etc/hosts": "sslrootcert has no meaning without sslmode",
    "postgresql://u:hush@h/d?sslmode=verify-full&sslrootcert=/nowhere": "sslrootcert /nowhere cannot be read",
    "postgresql://u:hush#x@h/d": "%XX",
}


@pytest.mark.parametrize("url", WRONG)
def test_what_a_driver_would_pass_over_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    name = "AMQP" if url.startswith("amqp") else "DATABASE"
    monkeypatch.delenv("ANABRANCH_AMQP_URL", raising=False)
    monkeypatch.delenv("ANABRANCH_DATABASE_URL", raising=False)
    monkeypatch.setenv(f"ANABRANCH_{name}_URL", url)
    with pytest.raises(SettingsError) as refused:
        load()
    assert WRONG[url] in str(refused.value) and "hush" not in str(refused.value)


def test_what_is_right_is_taken(servers: Locked) -> None:
    settings = Settings(amqp_url=servers.amqp("router"), database_url=servers.postgres("router"))
    assert settings.amqp_url and settings.database_url

"""Settings: what may stand in the environment, and what is said of the rest."""

from pathlib import Path

import pytest

from anabranch.runtime.redaction import redacted
from anabranch.runtime.settings import SettingsError, load, required


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AMQP_URL", "DATABASE_URL", "AGENTS", "CONCURRENCY", "QUEUE_TYPE", "DATA_DIR"):
        monkeypatch.delenv(f"ANABRANCH_{name}", raising=False)
    for name in ("LOG_LEVEL", "LOG_FORMAT", "METRICS_PORT"):
        monkeypatch.delenv(f"ANABRANCH_{name}", raising=False)


def test_the_defaults_need_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    found = load()
    assert (found.amqp_url, found.database_url, found.metrics_port) == (None, None, None)
    assert (found.concurrency, found.queue_type, found.log_level) == (16, "quorum", "info")
    assert found.data_dir == tmp_path / "anabranch"


def test_empty_counts_as_not_set_and_case_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("METRICS_PORT", ""), ("AMQP_URL", ""), ("LOG_LEVEL", "WARNING"), ("DATA_DIR", "~/x")):
        monkeypatch.setenv(f"ANABRANCH_{name}", value)
    found = load()
    assert (found.metrics_port, found.amqp_url, found.log_level) == (None, None, "warning")
    assert found.data_dir == Path.home() / "x"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("CONCURRENCY", "0", "ANABRANCH_CONCURRENCY is '0'; allowed: a whole number from 1 to 10000"),
        ("QUEUE_TYPE", "stream", "ANABRANCH_QUEUE_TYPE is 'stream'; allowed: quorum or classic"),
        ("LOG_FORMAT", "xml", "ANABRANCH_LOG_FORMAT is 'xml'; allowed: console or json"),
        ("METRICS_PORT", "70000", "ANABRANCH_METRICS_PORT is '70000'; allowed: a port, 0 to 65535"),
        ("AMQP_URL", "http://u:hush@host", "ANABRANCH_AMQP_URL is '***@host'; allowed: amqp://"),
        ("DATABASE_URL", "hush", "ANABRANCH_DATABASE_URL is (not shown); allowed: postgresql://"),
    ],
)
def test_a_wrong_value_is_named_with_the_allowed_form(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(f"ANABRANCH_{name}", value)
    with pytest.raises(SettingsError) as refused:
        load()
    assert str(refused.value).startswith(said)
    assert "hush" not in str(refused.value)


def test_all_that_is_wrong_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANABRANCH_CONCURRENCY", "x")
    monkeypatch.setenv("ANABRANCH_LOG_LEVEL", "loud")
    with pytest.raises(SettingsError, match=r"CONCURRENCY.*LOG_LEVEL"):
        load()


def test_what_is_required_says_its_name() -> None:
    assert required("x", "ANABRANCH_AGENTS") == "x"
    with pytest.raises(SettingsError, match="ANABRANCH_AGENTS is not set"):
        required("", "ANABRANCH_AGENTS")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("amqp://u:p@h/v", "amqp://u:***@h/v"),
        ("cannot reach postgresql://u:p@ss:w@h:5432/d now", "cannot reach postgresql://u:***@h:5432/d now"),
        ("postgresql://h/d?password=p&x=1", "postgresql://h/d?password=***&x=1"),
        ("http://h:80/path", "http://h:80/path"),
    ],
)
def test_passwords_are_left_out(text: str, shown: str) -> None:
    assert redacted(text) == shown

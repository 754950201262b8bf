"""The environment, read in one place; a wrong value is refused with its name and the allowed form."""

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from anabranch.runtime.redaction import Redaction, names_in, needed_by_messages, redacted
from anabranch.runtime.urls import fault
from anabranch_contracts.errors import AnabranchError

PREFIX = "ANABRANCH_"
AMQP_FORM = "amqp://user:password@host:5672/vhost"
DATABASE_FORM = "postgresql://user:password@host:5432/database"
FORMS = {
    "amqp_url": AMQP_FORM,
    "database_url": DATABASE_FORM,
    "concurrency": "a whole number from 1 to 10000",
    "queue_type": "quorum or classic",
    "data_dir": "a folder",
    "log_level": "debug, info, warning or error",
    "log_format": "console or json",
    "metrics_port": "a port, 0 to 65535",
    "redact_keys": "comma-separated names, none of which messages themselves are made of, as in api_key,password",
    "sweep_seconds": "seconds, more than 0",
}
SECRET = ("amqp_url", "database_url")


class SettingsError(AnabranchError):
    """A variable of the environment has no allowed value."""


def _data_dir() -> Path:
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "anabranch"


class Settings(BaseSettings):
    """All `ANABRANCH_*` variables; an empty one counts as not set."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, extra="ignore", frozen=True)

    amqp_url: str | None = Field(default=None, pattern=r"^amqps?://.")
    database_url: str | None = Field(default=None, pattern=r"^postgres(ql(\+asyncpg)?)?://.")
    agents: str = ""
    concurrency: int = Field(default=16, ge=1, le=10_000)
    queue_type: Literal["quorum", "classic"] = "quorum"
    data_dir: Path = Field(default_factory=_data_dir)
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["console", "json"] = "console"
    metrics_port: int | None = Field(default=None, ge=0, le=65_535)
    redact_keys: str = ""
    sweep_seconds: float = Field(default=30.0, gt=0, le=86_400)

    @field_validator("queue_type", "log_level", "log_format", mode="before")
    @classmethod
    def _any_case(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    @field_validator(*SECRET)
    @classmethod
    def _sound(cls, value: str | None) -> str | None:
        if value is not None and (wrong := fault(value)) is not None:
            raise ValueError(wrong)
        return value

    @field_validator("redact_keys")
    @classmethod
    def _spared(cls, value: str) -> str:
        if needed_by_messages(names_in(value)):
            raise ValueError("messages are made of such names")
        return value

    @property
    def redaction(self) -> Redaction:
        """What is left out of everything that is stored, published, parked or logged."""
        return Redaction(names_in(self.redact_keys))

    @field_validator("data_dir")
    @classmethod
    def _home(cls, value: Path) -> Path:
        try:
            return value.expanduser()
        except RuntimeError as error:  # ~somebody who is not here
            raise ValueError(str(error)) from None


def load() -> Settings:
    """Read the environment; raises `SettingsError`, one line that names all that is wrong."""
    try:
        return Settings(**_from_files())
    except ValidationError as error:
        raise SettingsError("; ".join(_refusal(str(e["loc"][0]), e) for e in error.errors())) from None


def _from_files() -> dict[str, Any]:
    """The addresses that `ANABRANCH_..._URL_FILE` name files of; raises `SettingsError`."""
    named = {name: os.environ.get(f"{PREFIX}{name.upper()}_FILE") for name in SECRET}
    return {name: _content(f"{PREFIX}{name.upper()}", file) for name, file in named.items() if file}


def reread(settings: Settings) -> Settings:
    """The same, with addresses from files as they are now: passwords are rotated there."""
    return settings.model_copy(update=_from_files())


def _content(variable: str, file: str) -> str:
    if os.environ.get(variable):
        raise SettingsError(f"{variable} and {variable}_FILE are both set", hint="give one of them")
    try:
        content = Path(file).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text"
        raise SettingsError(f"{variable}_FILE: {file} cannot be read: {why}") from None
    if not content:
        raise SettingsError(f"{variable}_FILE: {file} is empty", hint="write the address into it")
    return content


def _refusal(name: str, error: Any) -> str:
    why = f" ({error['ctx']['error']})" if name in SECRET and error["type"] == "value_error" else ""
    return f"{PREFIX}{name.upper()} is {_shown(name, str(error['input']))}{why}; allowed: {FORMS[name]}"


def _shown(name: str, value: str) -> str:
    """The value, or of one that may hold a password only what follows it."""
    if name not in SECRET:
        return repr(value[:80])
    return f"'***@{redacted(value.rpartition('@')[2])[:80]}'" if "@" in value else "(not shown)"


def required(value: str | None, name: str) -> str:
    """The value of a variable that this command cannot do without."""
    if not value:
        raise SettingsError(f"{name} is not set", hint=f"export {name}=..., or use the embedded mode")
    return value

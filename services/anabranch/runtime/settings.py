"""The environment, read in one place; a wrong value is refused with its name and the allowed form."""

import os
from pathlib import Path
from typing import Literal

from anabranch_contracts.errors import AnabranchError
from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

SECRET = ("amqp_url", "database_url")


def _data_dir() -> Path:
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "anabranch"


class Settings(BaseSettings):
    """All `ANABRANCH_*` variables; see the README's table."""

    model_config = SettingsConfigDict(env_prefix="ANABRANCH_", extra="ignore", frozen=True)

    amqp_url: str | None = None
    database_url: str | None = None
    agents: str = ""
    concurrency: int = Field(default=16, ge=1, le=10_000)
    queue_type: Literal["quorum", "classic"] = "quorum"
    data_dir: Path = Field(default_factory=_data_dir)
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["console", "json"] = "console"
    metrics_port: int | None = Field(default=None, ge=0, le=65_535)

    @field_validator("amqp_url")
    @classmethod
    def _amqp(cls, value: str | None) -> str | None:
        if value and not value.startswith(("amqp://", "amqps://")):
            raise ValueError("must look like amqp://user:password@host:5672/vhost")
        return value or None

    @field_validator("database_url")
    @classmethod
    def _database(cls, value: str | None) -> str | None:
        if value and not value.startswith(("postgresql://", "postgres://", "postgresql+asyncpg://")):
            raise ValueError("must look like postgresql://user:password@host:5432/database")
        return value or None


class SettingsError(AnabranchError):
    """A variable of the environment has no allowed value."""


def load() -> Settings:
    """Read the environment; raises `SettingsError` in one line."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        given = "" if name in SECRET else f" is {str(first['input'])[:80]!r}:"
        raise SettingsError(f"ANABRANCH_{name.upper()}{given} {first['msg']}") from None


def required(value: str | None, name: str) -> str:
    """The value of a variable that this command cannot do without."""
    if not value:
        raise SettingsError(f"{name} is not set", hint=f"export {name}=..., or use the embedded mode")
    return value

"""The Python face of a run's configuration, and of what is shown while it runs."""

from dataclasses import dataclass
from typing import Any

from pydantic import Field

from anabranch_contracts.config import RunConfig

JSON = Any


@dataclass(frozen=True, slots=True)
class StatusConfig:
    """How much is said on stderr while a run goes on: 0 nothing, 1 branches and outcome, 2 every step."""

    verbosity: int = 0

    @classmethod
    def from_verbosity(cls, verbosity: int) -> "StatusConfig":
        """0, 1 or 2."""
        if verbosity not in (0, 1, 2):
            raise ValueError(f"verbosity must be 0, 1 or 2, not {verbosity!r}")
        return cls(verbosity)


class ExecutionConfig(RunConfig):
    """All settings of a run; `convergence_timeout` (seconds) is short for `convergence.timeout`."""

    status: StatusConfig = Field(default_factory=StatusConfig, exclude=True)
    convergence_timeout: float | None = Field(default=None, gt=0, exclude=True)

    def wire(self) -> dict[str, JSON]:
        """`config` of RunRequested: only what was set."""
        body: dict[str, JSON] = self.model_dump(mode="json", exclude_unset=True)
        if self.convergence_timeout is not None:
            body.setdefault("convergence", {})["timeout"] = self.convergence_timeout
        return body

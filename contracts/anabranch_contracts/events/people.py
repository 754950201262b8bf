"""People are asked, and answer."""

from dataclasses import dataclass
from typing import Any

JSON = Any


@dataclass(frozen=True, slots=True)
class UserInputRequested:
    """A person is asked. `kind`: `question`, `call` (from inside an agent), `error`, `fork`, `notice`.

    `returns_to` is where the answer to a question goes, `user` the node at which it was asked (None for `ask_user`);
    at `expires_at` (ISO 8601) `default` is the answer.
    """

    request_id: str
    branch_id: str
    agent: str | None
    kind: str
    prompt: JSON
    choices: list[JSON] | None = None
    schema: JSON = None
    returns_to: str | None = None
    user: str | None = None
    fork_id: str | None = None
    expires_at: str | None = None
    default: JSON = None


@dataclass(frozen=True, slots=True)
class UserInputProvided:
    """The answer to a user request; `by` is `person` or `timeout`."""

    request_id: str
    branch_id: str
    value: JSON = None
    by: str = "person"

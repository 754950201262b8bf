"""Checkpoints by the seed's names: create one while a run goes on, restore it, resume from it."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from anabranch.client.orchestra import connected
from anabranch.client.session import Session
from anabranch.runtime.settings import load
from anabranch_contracts.errors import AnabranchError

JSON = Any


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A named version of a run; `Orchestra.resume` starts a new run from it."""

    checkpoint_id: UUID
    run_id: UUID
    name: str
    version: int


class StateManager:
    """The seed's `state_manager`."""

    async def create_checkpoint(self, session_id: str, checkpoint_name: str) -> UUID:
        """Name the present version of a run; `session_id` is its id, or the `session_id` of its context."""
        async with connected(load()) as session:
            run_id = await _run_of(session, str(session_id))
            await session.command("run.checkpoint", {"run_id": str(run_id), "name": checkpoint_name})
            (row,) = await _rows(session, "CHECKPOINT_NAMED", run_id, checkpoint_name)
        return UUID(str(row["checkpoint_id"]))

    async def restore_checkpoint(self, checkpoint_id: UUID | str) -> Checkpoint:
        """The checkpoint, ready to be resumed."""
        async with connected(load()) as session:
            found = await _rows(session, "CHECKPOINT", UUID(str(checkpoint_id)))
        if not found:
            raise AnabranchError(f"checkpoint {checkpoint_id} is not known", hint="`anabranch checkpoint list RUN`")
        row = found[0]
        return Checkpoint(UUID(str(row["checkpoint_id"])), UUID(str(row["run_id"])), row["name"], row["version"])


async def _rows(session: Session, statement: str, *parameters: Any) -> list[dict[str, JSON]]:
    from anabranch.client import queries

    return await queries.rows(session.needed_database(), getattr(queries, statement), *parameters)


async def _run_of(session: Session, session_id: str) -> UUID:
    found = await _rows(session, "OF_SESSION", session_id)
    if not found:
        raise AnabranchError(f"no run has the id or session_id {session_id!r}", hint="`anabranch runs` lists them")
    return UUID(str(found[0]["run_id"]))


state_manager = StateManager()

"""The mark that log and broker share: an exchange that nobody binds to, named after a token in the database."""

from uuid import UUID, uuid5

from anabranch.runtime.outbox import NewId
from anabranch.runtime.ports import Lookout, Store, Transport
from anabranch_contracts.addresses import MARK


def mark_name(lookout: Lookout, mark: UUID) -> str:
    """What the broker is to know."""
    return MARK + uuid5(mark, lookout.identity).hex


async def known(transport: Transport, lookout: Lookout) -> bool:
    """Whether the broker knows the mark that the database has; without one it is believed."""
    return lookout.mark is None or await transport.marked(mark_name(lookout, lookout.mark))


async def agree(store: Store, transport: Transport, lookout: Lookout, new_id: NewId) -> UUID:
    """A new mark, known to the broker before the database believes it; raises `Denied` before anything is changed."""
    mark = new_id()
    await transport.mark(mark_name(lookout, mark))
    await store.looked(mark)
    await forget(transport, lookout)
    return mark


async def forget(transport: Transport, lookout: Lookout) -> None:
    """Remove the mark that the database had."""
    if lookout.mark is not None:
        await transport.unmark(mark_name(lookout, lookout.mark))

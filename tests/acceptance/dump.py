"""Everything that a database, a virtual host and the logs hold, as text to search."""

from pathlib import Path

import aio_pika
import asyncpg

COLUMNS = """SELECT table_name, string_agg(
    CASE WHEN data_type = 'bytea' THEN format('encode(%1$I, ''escape'')', column_name)
    ELSE format('%1$I::text', column_name) END, ', ' ORDER BY ordinal_position) AS shown
FROM information_schema.columns WHERE table_schema = 'anabranch' GROUP BY table_name ORDER BY table_name"""


async def database(url: str) -> str:
    """Each row of each table and view of the schema."""
    connection = await asyncpg.connect(url)
    try:
        lines = []
        for name, shown in await connection.fetch(COLUMNS):
            lines += [f"{name} {tuple(row)}" for row in await connection.fetch(f"SELECT {shown} FROM anabranch.{name}")]
        return "\n".join(lines)
    finally:
        await connection.close()


async def queue(amqp_url: str, name: str) -> list[tuple[str, str]]:
    """Header `reason`, and everything else of each message that a queue holds; they stay there."""
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        held = await channel.declare_queue(name, passive=True)
        found = []
        while (message := await held.get(fail=False)) is not None:
            found.append((str(message.headers.get("reason")), f"{message.body!r} {message.info()!r}"))
        return found


def logs(folder: Path) -> str:
    """What all processes of a house have logged."""
    return "\n".join(path.read_text() for path in sorted(folder.glob("*.log")))

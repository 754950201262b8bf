"""Keep the embedded engine up as a service, until a signal."""

import asyncio
import signal

import structlog

from anabranch.client.embedded import Engine
from anabranch.runtime.settings import Settings
from anabranch.runtime.telemetry import configure_logging

log = structlog.get_logger(__name__)


async def serve_embedded(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT; unfinished runs of the data folder go on."""
    configure_logging(settings.log_level, settings.log_format, settings.redaction)
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with Engine(settings):
        log.info("ready", service="embedded", data=str(settings.data_dir))
        await stopping.wait()
    return 0

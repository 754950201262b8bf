"""Logs and metrics: their names are all here."""

import logging
import re
import sys

import structlog
from prometheus_client import Counter, Histogram
from structlog.typing import EventDict, WrappedLogger

MESSAGES = Counter("anabranch_messages", "Messages handled", ["service"])
BATCH_SIZE = Histogram("anabranch_batch_size", "Messages per batch", ["service"], buckets=(1, 4, 16, 64, 256))
BATCH_SECONDS = Histogram("anabranch_batch_seconds", "Seconds from delivery to ack of a batch", ["service"])
EVENTS = Counter("anabranch_events", "Events appended", ["service"])
CONFLICTS = Counter("anabranch_conflicts", "Batches decided again because another writer was first", ["service"])
PARKED = Counter("anabranch_parked", "Messages parked", ["service"])
STEPS_RUN = Counter("anabranch_steps_run", "Steps run by this worker", ["agent", "outcome"])
STEP_SECONDS = Histogram("anabranch_step_seconds", "Seconds an agent took", ["agent"])

_SECRET = re.compile(r"(://[^:/@\s]*:)[^@\s]+@")


def redacted(text: str) -> str:
    """The text with passwords of URLs left out."""
    return _SECRET.sub(r"\1***@", text)


def _redact(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    return {k: redacted(v) if isinstance(v, str) else v for k, v in event.items()}


def configure_logging(level: str = "info", form: str = "console") -> None:
    """Log to stderr, as lines for people or as JSON for machines."""
    shape: structlog.typing.Processor = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    if form == "json":
        shape = structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _redact,
            shape,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(name)s %(levelname)s %(message)s")
    for noisy in ("aiormq", "aio_pika"):
        logging.getLogger(noisy).setLevel(logging.ERROR)

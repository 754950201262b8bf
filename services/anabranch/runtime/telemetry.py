"""Logs and metrics: their names are all here."""

import logging
import sys
from functools import lru_cache

import structlog
from prometheus_client import Counter, Histogram
from structlog.typing import EventDict, Processor, WrappedLogger

from anabranch.runtime.redaction import NOTHING, Redaction, redacted
from anabranch.runtime.settings import Settings

SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
STEP_LENGTHS = (0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)

MESSAGES = Counter("anabranch_messages", "Messages handled", ["service"])
BATCH_SIZE = Histogram("anabranch_batch_size", "Messages per batch", ["service"], buckets=SIZES)
DECIDE_SECONDS = Histogram("anabranch_decide_seconds", "Seconds to decide a batch", ["service"], buckets=SECONDS)
APPEND_SECONDS = Histogram("anabranch_append_seconds", "Seconds to store a batch", ["service"], buckets=SECONDS)
PUBLISH_SECONDS = Histogram(
    "anabranch_publish_seconds", "Seconds until what a batch says is confirmed", ["service"], buckets=SECONDS
)
CONFLICTS = Counter("anabranch_conflicts", "Batches decided again because another writer was first", ["service"])
PARKED = Counter("anabranch_parked", "Messages parked", ["service"])
LEFT = Counter("anabranch_left", "Messages left to services of a newer release", ["service"])
OFFERED_AGAIN = Counter("anabranch_offered_again", "Messages that were lost and published again", ["lost"])
STEPS_RUN = Counter("anabranch_steps_run", "Steps run by this worker", ["agent", "outcome"])
STEP_SECONDS = Histogram("anabranch_step_seconds", "Seconds an agent took", ["agent"], buckets=STEP_LENGTHS)


@lru_cache(1024)
def step_meters(agent: str, outcome: str) -> tuple[Counter, Histogram]:
    """To count a step by and to time it; to look them up costs more than to use them."""
    return STEPS_RUN.labels(agent, outcome), STEP_SECONDS.labels(agent)


def _redacting(redaction: Redaction) -> Processor:
    def redact(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        return {k: redaction.text(redacted(v)) if isinstance(v, str) else v for k, v in event.items()}

    return redact


class _RedactingFormatter(logging.Formatter):
    """For the libraries, which log through the standard library."""

    redaction = NOTHING

    def format(self, record: logging.LogRecord) -> str:
        return self.redaction.text(redacted(super().format(record)))


def configure_logging(level: str = "info", form: str = "console", redaction: Redaction = NOTHING) -> None:
    """Log to stderr, as lines for people or as JSON for machines."""
    shape: list[Processor] = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    if form == "json":
        shape = [structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _redacting(redaction),
            *shape,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    _configure_libraries(redaction)


def log_quietly(settings: Settings) -> None:
    """Inside somebody's program: only warnings unless asked for more, and its own way to log where it has one."""
    if not structlog.is_configured():
        level = settings.log_level if "log_level" in settings.model_fields_set else "warning"
        configure_logging(level, settings.log_format, settings.redaction)


def _configure_libraries(redaction: Redaction) -> None:
    handler = logging.StreamHandler(sys.stderr)
    formatter = _RedactingFormatter("%(name)s %(levelname)s %(message)s")
    formatter.redaction = redaction
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("pika").setLevel(logging.CRITICAL)  # a lost connection is said once, by the lifecycle

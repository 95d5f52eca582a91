"""The agent's log: lines for a person at a terminal, JSON lines for a collector; always on stderr."""

import sys

import structlog
from structlog.typing import FilteringBoundLogger

DETAIL_LENGTH_MAX = 2_048


def configure() -> None:
    """Send the log to stderr. Tracebacks never show local variables: these hold renters' secrets."""
    renderer: list[structlog.typing.Processor]
    if sys.stderr.isatty():
        renderer = [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    else:
        renderer = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def get_logger() -> FilteringBoundLogger:
    logger: FilteringBoundLogger = structlog.get_logger()
    return logger


class Trouble:
    """Says that something fails when it begins or changes, and once when it is over."""

    def __init__(self, log: FilteringBoundLogger, over: str) -> None:
        self._log = log
        self._over = over
        self._message = ""

    def happened(self, message: str) -> None:
        if message != self._message:
            self._log.warning(message)
            self._message = message

    def passed(self) -> None:
        if self._message:
            self._log.info(self._over)
            self._message = ""

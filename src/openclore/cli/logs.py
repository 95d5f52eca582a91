"""How our long-running commands log: to standard error, readable at a terminal, JSON lines elsewhere.

Tracebacks never show local variables: these may hold secrets. What can't be written is lost, and nothing
else is: a full disk under the log must not keep a market from answering.
"""

import sys
from contextlib import suppress
from typing import Literal, TextIO, cast

import structlog


def configure_logs(style: Literal["auto", "json", "text"] = "auto") -> None:
    """`style` "auto" is "text" at a terminal and "json" elsewhere."""
    colors = sys.stderr.isatty()
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)
        if style == "text" or (style == "auto" and colors)
        else structlog.processors.JSONRenderer(sort_keys=True)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, _StandardError())),
        cache_logger_on_first_use=True,
    )


class _StandardError:
    """As much of a file as the logger uses."""

    def write(self, text: str) -> None:
        with suppress(OSError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            sys.stderr.flush()

"""How the agent speaks of what goes on, and of trouble that lasts."""

import structlog
from structlog.typing import FilteringBoundLogger

DETAIL_LENGTH_MAX = 2_048


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

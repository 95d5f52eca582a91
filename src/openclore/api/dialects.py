"""The two ways to speak the one API."""

from enum import StrEnum


class Dialect(StrEnum):
    """`open`: as documented, with what OpenClore adds. `live`: as the public service was recorded."""

    OPEN = "open"
    LIVE = "live"


DIALECT_HEADER = "OpenClore-Dialect"
"""In every reply. The public service has no such header."""

"""Why a database does not do what it is told, as far as that is known."""

from enum import StrEnum
from sqlite3 import SQLITE_FULL, SQLITE_READONLY

from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

_SQLITE_PRIMARY = 0xFF
_POSTGRES_DISK_FULL = "53100"
_POSTGRES_READ_ONLY = "25006"


class Silent(SQLAlchemyError):
    """A database did not answer in time, where nothing was to be changed."""


class Cause(StrEnum):
    """Why a database surely did nothing: the whole transaction is undone, or was never begun."""

    UNREACHABLE = "the market's database can't be reached"
    DISK_FULL = "the disk of the market's database is full"
    READ_ONLY = "the market's database takes no changes at present"


def cause(error: SQLAlchemyError) -> Cause | None:
    """None: another one, and what became of the transaction is unknown."""
    if isinstance(error, Silent):
        return Cause.UNREACHABLE
    original = error.orig if isinstance(error, DBAPIError) else None
    code = getattr(original, "sqlite_errorcode", 0) & _SQLITE_PRIMARY
    state = getattr(original, "sqlstate", None)
    if getattr(original, "pgconn", None) is not None:  # psycopg's mark of a failed attempt to connect
        return Cause.UNREACHABLE
    if code == SQLITE_FULL or state == _POSTGRES_DISK_FULL:
        return Cause.DISK_FULL
    if code == SQLITE_READONLY or state == _POSTGRES_READ_ONLY:
        return Cause.READ_ONLY
    return None


def for_the_operator(error: SQLAlchemyError) -> str:
    """The database's own words, and which one it is where that is known."""
    which = f" ({', '.join(notes)})" if (notes := getattr(error, "__notes__", ())) else ""
    return f"the database failed: {' '.join(str(getattr(error, 'orig', error)).split())}{which}"


def for_the_log(error: SQLAlchemyError) -> str:
    """What the operator should read: the database's own words, unless they may quote what a caller sent."""
    if isinstance(error, OperationalError) or cause(error) is not None:
        return " ".join(str(getattr(error, "orig", error)).split())
    return type(error).__name__

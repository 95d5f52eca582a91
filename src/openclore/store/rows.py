"""Rows as the plain data of the rules."""

from typing import Any, TypeVar

import msgspec
from sqlalchemy import Row

T = TypeVar("T")


def as_struct(row: Row[*tuple[Any, ...]], kind: type[T], **replaced: Any) -> T:
    """A row as a struct with the same members; some may be `replaced`."""
    return msgspec.convert({str(name): value for name, value in row._mapping.items()} | replaced, kind)

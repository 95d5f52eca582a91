"""Rows as the plain data of the rules, and many of them written by one statement."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnClause,
    ColumnElement,
    Connection,
    Executable,
    LargeBinary,
    Row,
    Table,
    TableValuedAlias,
    Text,
    bindparam,
    cast,
    column,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import JSON

T = TypeVar("T")


def as_struct(row: Row[*tuple[Any, ...]], kind: type[T], **replaced: Any) -> T:
    """A row as a struct with the same members; some may be `replaced`."""
    return msgspec.convert({str(name): value for name, value in row._mapping.items()} | replaced, kind)


class Write:
    """A statement for many rows, each a dictionary of its columns.

    SQLite runs it row by row, which costs it nothing more. To PostgreSQL they all go in one message, as JSON:
    a fraction of the work for it, and for its driver.
    """

    def __init__(self, of_each: Executable, of_all: Executable) -> None:
        self._of_each = of_each
        self._of_all = of_all

    def __call__(self, tx: Connection, rows: Sequence[Mapping[str, object]]) -> None:
        if not rows:
            return
        if tx.dialect.name == "sqlite":
            tx.execute(self._of_each, rows)
        else:
            tx.execute(self._of_all, {"rows": msgspec.json.encode(rows).decode()})


def inserting(table: Table, names: Sequence[str]) -> Write:
    """Adds rows with these columns."""
    given = _given(table, names)
    chosen = select(*(_value(given, table.c[name]) for name in names))
    return Write(insert(table), insert(table).from_select(list(names), chosen))


def updating(table: Table, names: Sequence[str]) -> Write:
    """Changes these columns of the rows whose ids stand under `of`."""
    given = _given(table, names, column("of", BigInteger))
    values = {name: _value(given, table.c[name]) for name in names}
    return Write(
        update(table).where(table.c.id == bindparam("of")),
        update(table).where(table.c.id == given.c.of).values(values),
    )


def _given(table: Table, names: Sequence[str], *more: ColumnClause[Any]) -> TableValuedAlias:
    """The rows of the parameter `rows`. JSON has no bytes: they are text in it, base64."""
    types = {name: table.c[name].type for name in names}
    columns = [
        column(name, Text() if isinstance(kind, LargeBinary) else kind) for name, kind in types.items()
    ]
    rows = func.json_to_recordset(cast(bindparam("rows", type_=Text()), JSON))
    return rows.table_valued(*more, *columns).render_derived("given", with_types=True)


def _value(given: TableValuedAlias, of: Column[Any]) -> ColumnElement[Any]:
    value = given.c[of.name]
    return func.decode(value, "base64") if isinstance(of.type, LargeBinary) else value

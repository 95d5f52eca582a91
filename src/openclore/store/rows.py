"""Rows as the plain data of the rules, and many of them written by one statement."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    ColumnClause,
    ColumnElement,
    Connection,
    Dialect,
    Executable,
    LargeBinary,
    Result,
    Row,
    Table,
    TableValuedAlias,
    Text,
    TypeDecorator,
    bindparam,
    cast,
    column,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import JSON
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.operators import OperatorType
from sqlalchemy.types import TypeEngine

T = TypeVar("T")


def as_struct(row: Row[*tuple[Any, ...]], kind: type[T], **replaced: Any) -> T:
    """A row as a struct with the same members; some may be `replaced`."""
    return msgspec.convert({str(name): value for name, value in row._mapping.items()} | replaced, kind)


def as_structs(found: Result[*tuple[Any, ...]], kind: type[T], **decoded: Callable[[Any], object]) -> list[T]:
    """Rows as structs with the same members; of some, what is stored is `decoded`."""
    names = [str(name) for name in found.keys()]  # noqa: SIM118 -- iterating it gives rows
    made = []
    for row in found.all():
        values = dict(zip(names, row, strict=True))
        for name, decode in decoded.items():
            values[name] = decode(values[name])
        made.append(msgspec.convert(values, kind))
    return made


class among(FunctionElement[bool]):  # noqa: N801 -- reads like a function
    """Whether a column's value is among the ids that a parameter lists; one statement for any number."""

    name = "among"
    type = Boolean()
    inherit_cache = True

    def __init__(self, column: ColumnElement[Any], parameter: str) -> None:
        super().__init__(column, bindparam(parameter, type_=_Ids()))

    def self_group(self, against: OperatorType | None = None) -> "among":
        """As it stands: compared with 1, which SQLite has for true, no index would serve."""
        return self


@compiles(among, "postgresql")
def _among_array(element: among, compiler: SQLCompiler, **options: Any) -> str:
    column, ids = (compiler.process(part, **options) for part in element.clauses)
    return f"{column} = ANY ({ids})"


@compiles(among, "sqlite")
def _among_json(element: among, compiler: SQLCompiler, **options: Any) -> str:
    column, ids = (compiler.process(part, **options) for part in element.clauses)
    return f"{column} IN (SELECT value FROM json_each({ids}))"  # noqa: S608 -- what was compiled


class _Ids(TypeDecorator[Sequence[int]]):
    """An array for PostgreSQL, JSON for SQLite."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        kind = Text() if dialect.name == "sqlite" else ARRAY(BigInteger())
        return dialect.type_descriptor(kind)

    def process_bind_param(self, value: Sequence[int] | None, dialect: Dialect) -> Any:
        return msgspec.json.encode(value).decode() if dialect.name == "sqlite" else value


class Write:
    """A statement for many rows, each a dictionary of its columns.

    SQLite runs it row by row, which costs it nothing more. To PostgreSQL several go in one message, as JSON:
    a fraction of the work for it, and for its driver.
    """

    def __init__(self, of_each: Executable, of_all: Executable) -> None:
        self._of_each = of_each
        self._of_all = of_all

    def __call__(self, tx: Connection, rows: Sequence[Mapping[str, object]]) -> None:
        if not rows:
            return
        if tx.dialect.name == "sqlite" or len(rows) == 1:
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

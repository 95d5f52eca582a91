"""Whether JSON has the members and types that the contract names."""

import types
import typing
from collections import Counter
from collections.abc import Iterable, Iterator
from enum import Enum
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import fields

_NAMES = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number"}


class Misfit(NamedTuple):
    """Something at a path ("servers[].specs.ram") that is not as the type says.

    `kind` is "unknown" for a member without a name in the type, "null", or "wrong" for another type.
    """

    path: str
    kind: str
    text: str


def misfits(wanted: Any, value: Any, path: str = "") -> Iterator[Misfit]:
    """Everything in a JSON value that does not fit a type of the contract."""
    wanted = typing.get_args(wanted)[0] if typing.get_origin(wanted) is typing.Annotated else wanted
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if origin in (typing.Union, types.UnionType):
        yield from _fewest(arguments, value, path)
    elif isinstance(wanted, type) and issubclass(wanted, msgspec.Struct) and isinstance(value, dict):
        yield from _in_struct(wanted, value, path)
    elif origin is list and isinstance(value, list):
        for element in value:
            yield from misfits(arguments[0], element, f"{path}[]")
    elif origin is dict and isinstance(value, dict):
        for element in value.values():
            yield from misfits(arguments[1], element, f"{path}.*")
    elif not _fits(wanted, value):
        kind = "null" if value is None else "wrong"
        yield Misfit(path, kind, f"{path} is {_kind(value)}, not {_word(wanted)}")


def _in_struct(wanted: type[msgspec.Struct], value: dict[str, Any], path: str) -> Iterator[Misfit]:
    known = {field.encode_name: field.type for field in fields(wanted)}
    for name, element in value.items():
        here = f"{path}.{name}" if path else name
        if name in known:
            yield from misfits(known[name], element, here)
        else:
            yield Misfit(here, "unknown", here)


def _fewest(arms: tuple[Any, ...], value: Any, path: str) -> Iterable[Misfit]:
    """Of the arm that fits best; null is one only where it is asked for alone."""
    kinds = [arm for arm in arms if arm not in (type(None), msgspec.UnsetType)]
    found = [list(misfits(arm, value, path)) for arm in kinds]
    return min(found, key=lambda each: sum(misfit.kind != "unknown" for misfit in each))


def _fits(wanted: Any, value: Any) -> bool:
    if wanted is Any:
        return True
    if isinstance(wanted, type) and issubclass(wanted, Enum):
        return value in [each.value for each in wanted]
    if typing.get_origin(wanted) is typing.Literal:
        return value in typing.get_args(wanted)
    if wanted is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if wanted is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(wanted, type) and isinstance(value, wanted)


def _kind(value: Any) -> str:
    return "null" if value is None else _NAMES.get(type(value), type(value).__name__)


def _word(wanted: Any) -> str:
    origin = typing.get_origin(wanted) or wanted
    if isinstance(origin, type) and issubclass(origin, msgspec.Struct):
        return "object"
    return _NAMES.get(origin, str(wanted))


def missing(rows: Iterable[Any], members: Iterable[str]) -> list[str]:
    """Members ("price.on_demand") that some row has not, most often missing first."""
    lacking = Counter(member for row in rows for member in members if not _has(row, member))
    return [f"{member} (in {count})" for member, count in lacking.most_common()]


def _has(row: Any, member: str) -> bool:
    for step in member.split("."):
        if not isinstance(row, dict) or step not in row:
            return False
        row = row[step]
    return True

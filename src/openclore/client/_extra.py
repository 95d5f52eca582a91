"""Members that a reply has and its type has not: looked for when somebody asks, at next to no cost before.

The parts of a reply share one `_Source`, which keeps the bytes until then. Each part knows its column (all
parts at the same path, like `servers[].price`) and its place in it.
"""

import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

import msgspec
from msgspec.structs import fields

from openclore.api.base import Part, Reply

Place = tuple[int | str, ...]
"""The indexes and keys on the way to a part."""


def remember(value: Any, load: Callable[[], Any]) -> None:
    """Let a reply or a part, or each of a list or a mapping of them, answer `extra`.

    `load` gives what came, as JSON does; it is called when that is asked for first.
    """
    parts: list[Any] = [value]
    places: list[Place] = [()]
    steps: tuple[None, ...] = ()
    if isinstance(value, list | dict):
        parts = list(value.values() if isinstance(value, dict) else value)
        places = [(key,) for key in (value if isinstance(value, dict) else range(len(value)))]
        steps = (None,)
    if parts and isinstance(parts[0], Part | Reply):
        _link(type(parts[0]), parts, places, _Source(load), steps)


def remember_itself(part: Part | Reply, came: dict[str, Any]) -> None:
    """The same for one part without those in it."""
    names, _ = _known(type(part))
    part._left_out = _Column(_Source(lambda: came), (), names)
    part._place = ()


class _Source:
    """What came, read when first needed."""

    def __init__(self, load: Callable[[], Any]) -> None:
        self._load: Callable[[], Any] | None = load
        self._content: Any = None

    def content(self) -> Any:
        load = self._load
        if load is not None:
            self._content = load()
            self._load = None
        return self._content


@dataclass(frozen=True, slots=True)
class _Column:
    """All parts at one path; a step of None takes the next index or key of the place."""

    source: _Source
    steps: tuple[str | None, ...]
    names: frozenset[str]

    def __call__(self, place: Place) -> dict[str, Any]:
        came = self.source.content()
        keys = iter(place)
        for step in self.steps:
            came = came[next(keys) if step is None else step]
        return {name: value for name, value in came.items() if name not in self.names}


def _link(
    kind: type[msgspec.Struct],
    parts: Sequence[Any],
    places: Sequence[Place],
    source: _Source,
    steps: tuple[str | None, ...],
) -> None:
    """Parts in a column and their places; column by column is what makes it quick."""
    names, members = _known(kind)
    column = _Column(source, steps, names)
    for part, place in zip(parts, places):  # noqa: B905 -- strict costs time here
        part._left_out = column
        part._place = place
    for member in members:
        found, where = _in_member(member, list(map(member.of, parts)), places)
        if found:
            many = () if member.shape == "one" else (None,)
            _link(member.kind, found, where, source, (*steps, member.encode_name, *many))


def _in_member(
    member: "_Member", values: list[Any], places: Sequence[Place]
) -> tuple[Sequence[Any], Sequence[Place]]:
    """The parts that a member holds, and their places."""
    if member.shape == "one":
        if all(values):
            return values, places
        there = [pair for pair in zip(values, places, strict=True) if pair[0]]
        return [part for part, _ in there], [place for _, place in there]
    there = [pair for pair in zip(values, places, strict=True) if pair[0]]
    if member.shape == "list":
        where: list[Place] = [(*place, index) for parts, place in there for index in range(len(parts))]
        return [part for parts, _ in there for part in parts], where
    where = [(*place, key) for parts, place in there for key in parts]
    return [part for parts, _ in there for part in parts.values()], where


class _Member(NamedTuple):
    of: Callable[[Any], Any]
    encode_name: str
    shape: Literal["one", "list", "dict"]
    kind: type[Part]


@cache
def _known(kind: type[msgspec.Struct]) -> tuple[frozenset[str], tuple[_Member, ...]]:
    """The names of a type's members on the wire, and the members that hold parts."""
    names = frozenset(field.encode_name for field in fields(kind))
    members = tuple(
        _Member(attrgetter(field.name), field.encode_name, shape, part)
        for field in fields(kind)
        for shape, part in _parts_in(field.type)
    )
    return names, members


def _parts_in(hint: Any) -> Iterator[tuple[Literal["one", "list", "dict"], type[Part]]]:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        for arm in arguments:
            yield from _parts_in(arm)
    elif isinstance(hint, type) and issubclass(hint, Part):
        yield "one", hint
    elif origin is list and isinstance(arguments[0], type) and issubclass(arguments[0], Part):
        yield "list", arguments[0]
    elif origin is dict and isinstance(arguments[1], type) and issubclass(arguments[1], Part):
        yield "dict", arguments[1]

"""Reading what a market sent, whatever it sent: keep every row and every member that can be understood.

Typed decoding is tried first everywhere; only what it refuses is walked member by member.
"""

import types
from typing import Any, Union, get_args, get_origin

import msgspec
from msgspec.structs import fields

from openclore.api.base import Part, Reply

from ._extra import remember, remember_itself


class Mismatch(Exception):
    """This value can't become that type, not even with members left out."""


def lenient(wanted: Any, value: Any) -> Any:
    """`value` (as JSON gives it) as the type `wanted`.

    A member that can't be understood becomes its default, an element of a list or a mapping is left out.

    Raises:
        Mismatch: not the right kind of thing, or without a member that must be there (a row's id).
    """
    try:
        found = msgspec.convert(value, wanted, strict=False)
    except (msgspec.ValidationError, ValueError, OverflowError):
        return _walked(wanted, value)
    remember(found, lambda: value)
    return found


def _walked(wanted: Any, value: Any) -> Any:
    origin, arguments = get_origin(wanted), get_args(wanted)
    if isinstance(wanted, type) and issubclass(wanted, msgspec.Struct):
        return _struct(wanted, value)
    if origin in (Union, types.UnionType):
        return _first_fitting(arguments, value)
    if origin is list:
        return _elements(arguments[0], value)
    if origin is dict and isinstance(value, dict):
        return _entries(arguments[1], value)
    if wanted is str and isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise Mismatch(f"{type(value).__name__} is no {wanted}")


def _struct(wanted: type[msgspec.Struct], value: Any) -> msgspec.Struct:
    if not isinstance(value, dict):
        raise Mismatch(f"{type(value).__name__} is no {wanted.__name__}")
    members: dict[str, Any] = {}
    for field in fields(wanted):
        if field.encode_name not in value:
            continue
        try:
            members[field.name] = lenient(field.type, value[field.encode_name])
        except Mismatch:
            if field.required:
                raise
    try:
        made = wanted(**members)
    except TypeError as problem:
        raise Mismatch(str(problem)) from problem
    if isinstance(made, Part | Reply):
        remember_itself(made, value)
    return made


def _first_fitting(arms: tuple[Any, ...], value: Any) -> Any:
    for arm in arms:
        try:
            return lenient(arm, value)
        except Mismatch:
            continue
    raise Mismatch(f"{type(value).__name__} is none of {arms}")


def _elements(wanted: Any, value: Any) -> list[Any]:
    """A single value stands for a list of one: older markets sent `pub_cluster` so."""
    if isinstance(value, dict | None):
        raise Mismatch("no list")
    kept = []
    for element in value if isinstance(value, list) else [value]:
        try:
            kept.append(lenient(wanted, element))
        except Mismatch:
            continue
    return kept


def _entries(wanted: Any, value: dict[str, Any]) -> dict[str, Any]:
    kept = {}
    for name, element in value.items():
        try:
            kept[name] = lenient(wanted, element)
        except Mismatch:
            continue
    return kept

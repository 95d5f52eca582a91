"""The contract put into words: what docs/api.md, the OpenAPI documents and the reference page say of it."""

import inspect
import re
import types
import typing
from dataclasses import dataclass
from enum import Enum
from typing import Any

import msgspec
from msgspec import NODEFAULT

from .base import NO_NUL
from .endpoints import Endpoint

_LARGEST = 2**63 - 1
_WORDS = {int: "integer", float: "number", str: "string", bool: "boolean", Any: "any"}


@dataclass(frozen=True)
class Member:
    """A member of a struct. `type` is words and structs in turn; `bounds` is empty where there are none.

    `default` is what counts where the member is left out; None where nothing does.
    """

    name: str
    type: tuple[str | type[msgspec.Struct], ...]
    required: bool
    default: Any
    bounds: str


def prose(struct: type[msgspec.Struct]) -> str:
    """What its docstring says, a line per paragraph; nothing if it has none of its own."""
    return paragraphs(struct.__doc__ or "")


def paragraphs(docstring: str) -> str:
    """A docstring with a line per paragraph."""
    return re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.cleandoc(docstring)).replace("\n\n", "\n")


def about(struct: type[msgspec.Struct], member: str) -> str:
    """The sentences of its prose that name a member."""
    sentences = re.split(r"(?<=[.;])\s+", prose(struct))
    return " ".join(sentence for sentence in sentences if f"`{member}`" in sentence)


def members(struct: type[msgspec.Struct]) -> list[Member]:
    hints = typing.get_type_hints(struct, include_extras=True)
    return [_member(field, hints[field.name]) for field in msgspec.structs.fields(struct)]


def _member(field: msgspec.structs.FieldInfo, hint: Any) -> Member:
    default = None if field.default in (NODEFAULT, msgspec.UNSET) else field.default
    return Member(field.encode_name, _type(hint), field.required, default, _bounds(hint))


def request_struct(endpoint: Endpoint[Any, Any]) -> tuple[type[msgspec.Struct], bool]:
    """What a request is made of, and whether it is an array of such."""
    found = structs(endpoint.request)[0]
    return found, found is not endpoint.request


def structs(hint: Any) -> list[type[msgspec.Struct]]:
    """The structs a type is made of, not looking inside them."""
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return [hint]
    return [struct for argument in typing.get_args(hint) for struct in structs(argument)]


def objects(endpoints: typing.Iterable[Endpoint[Any, Any]]) -> list[type[msgspec.Struct]]:
    """Every struct that is part of a request or a reply, each once, in the order they appear."""
    seen: dict[type[msgspec.Struct], None] = {}
    waiting = [s for e in endpoints for s in (request_struct(e)[0], e.reply)]
    while waiting:
        struct = waiting.pop(0)
        for hint in typing.get_type_hints(struct).values():
            for inner in structs(hint):
                if inner not in seen:
                    seen[inner] = None
                    waiting.append(inner)
    return list(seen)


# Types ----------------------------------------------------------------------------------------------


def _type(hint: Any) -> tuple[str | type[msgspec.Struct], ...]:
    hint = _bare(hint)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        kinds = dict.fromkeys(_type(a) for a in arguments if a not in (type(None), msgspec.UnsetType))
        return _joined(list(kinds))
    if origin is typing.Literal:
        return (_choice(arguments),)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return (_choice([each.value for each in hint]),)
    if origin is list:
        return ("list of ", *_type(arguments[0]))
    if origin is dict:
        return ("object of ", *_type(arguments[1]))
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return (hint,)
    return (_WORDS.get(hint, str(hint)),)


def _joined(kinds: list[tuple[str | type[msgspec.Struct], ...]]) -> tuple[str | type[msgspec.Struct], ...]:
    words = list(kinds[0])
    for kind in kinds[1:]:
        words += [" or ", *kind]
    return tuple(words)


def _choice(values: typing.Iterable[Any]) -> str:
    return " or ".join(f"`{value}`" for value in values)


def _bare(hint: Any) -> Any:
    return typing.get_args(hint)[0] if typing.get_origin(hint) is typing.Annotated else hint


# Bounds ---------------------------------------------------------------------------------------------


def _bounds(hint: Any) -> str:
    """Of the type itself or of the one arm of a union that has some."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return next(filter(None, map(_bounds, typing.get_args(hint))), "")
    metas = [m for m in getattr(hint, "__metadata__", ()) if isinstance(m, msgspec.Meta)]
    return ", ".join(
        text for meta in metas for text in (_span(meta), _length(hint, meta), _pattern(meta)) if text
    )


def _span(meta: msgspec.Meta) -> str:
    high = None if meta.le == _LARGEST else meta.le
    if meta.gt is not None:
        return f"above {meta.gt:g}" + ("" if high is None else f", at most {high:,g}")
    if meta.ge is not None and high is not None:
        return f"{_figure(meta.ge)} to {_figure(high)}"
    return "" if meta.ge is None else f"{_figure(meta.ge)} or more"


def _figure(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:,.10g}"


def _length(hint: Any, meta: msgspec.Meta) -> str:
    unit = "characters" if _bare(hint) is str else "entries"
    if meta.max_length is None:
        return ""
    return f"{meta.min_length or ''}{' to ' if meta.min_length else 'at most '}{meta.max_length:,} {unit}"


def _pattern(meta: msgspec.Meta) -> str:
    if meta.pattern in (None, NO_NUL):
        return ""
    return f"`{portable(meta.pattern)}`"


def portable(pattern: str) -> str:
    r"""A pattern as JSON Schema and most other languages write it: `$` where Python has `\Z`."""
    return re.sub(r"\\Z$", "$", pattern)

"""From a TOML text to a `File`, or to everything that is wrong with it, each with its line and field.

Text in braces after a dollar sign, as in "json://host/${TOKEN}", is taken from the environment, so that a
file can be shown to others. With two dollar signs it stays text: "echo $${HOME}" is `echo ${HOME}`.
"""

import difflib
import math
import os
import re
import time
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_args

import msgspec

from openclore.api.complaints import complaint
from openclore.api.currencies import wire_name
from openclore.api.durations import seconds_of
from openclore.client.errors import SetupError

from .file import Alert, Coin, File, Fleet, Hours, Pricing, Settings, Span

T = TypeVar("T")

NAMED: dict[str, Any] = {"alerts": Alert, "pricing": Pricing, "settings": Settings, "fleets": Fleet}
"""The tables whose members have names of the writer's choice."""
REQUIRED = "is required"
SETTLED_SECONDS = 2.0
SPAN_SECONDS_MAX = 366 * 86_400
_VARIABLE = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_ -]{0,63}", re.ASCII)


class Problem(NamedTuple):
    """`line` counts from 1, None for the file as a whole; `field` is the path ("fleets.a.image")."""

    line: int | None
    field: str
    text: str

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line else ""
        return f"{where}{self.field}: {self.text}" if self.field else f"{where}{self.text}"


class FileError(SetupError):
    """The file can't be followed.

    Attributes:
        problems: everything that is wrong, in the order of lines.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(problems, key=lambda problem: problem.line or 0)
        super().__init__("\n".join(map(str, self.problems)))


def load(path: Path, environ: Mapping[str, str] = os.environ) -> File:
    """
    Raises:
        FileError: it can't be read, or not be followed.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as problem:
        raise FileError([Problem(None, "", f"{path} can't be read: {problem.strerror}")]) from None
    except UnicodeDecodeError:
        raise FileError([Problem(None, "", f"{path} is not UTF-8 text")]) from None
    return read(text, environ)


def read(text: str, environ: Mapping[str, str] = os.environ) -> File:
    """The file that a text describes.

    Raises:
        FileError: with all that is wrong.
    """
    try:
        raw = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # numbers too long, tables too deep
        what, _, where = str(error).partition(" (at ")
        line = re.search(r"line (\d+)", where)
        what = "too deep" if isinstance(error, RecursionError) else what
        end = text.count("\n") + 1
        raise FileError([Problem(int(line[1]) if line else end, "", f"{what}, which is not TOML")]) from None
    reader = _Reader(environ)
    file = reader.file(raw)
    found = [*reader.problems]
    if file is not None and not found:
        from .checks import contradictions

        found += contradictions(file)
    if file is None or found:
        lines = _Lines(text)
        raise FileError(Problem(lines.of(path), _dotted(path), said) for path, said in found)
    return file


class Source:
    """A file that may be edited at any time; an edit that can't be followed leaves the last good one.

    Raises:
        FileError: it can't be followed at first.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp = self._stamped()
        self.file = load(path)
        self.problem: FileError | None = None

    def reload(self) -> bool:
        """Look whether it was edited, and follow it if so; whether anything is new.

        What was written a moment ago may not be written to its end: it waits for the next look.
        """
        stamp = self._stamped()
        if stamp == self._stamp or (stamp and 0 <= time.time() - stamp[0] / 1e9 < SETTLED_SECONDS):
            return False
        self._stamp = stamp
        try:
            if stamp and not self.path.read_bytes().strip():
                raise FileError([Problem(None, "", f"{self.path} is empty; remove its tables one by one")])
            self.file, self.problem = load(self.path), None
        except (FileError, OSError) as problem:
            self.problem = (
                problem if isinstance(problem, FileError) else FileError([Problem(None, "", str(problem))])
            )
        return True

    def _stamped(self) -> tuple[int, int, int] | None:
        try:
            status = self.path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino


class Given:
    """A file that is made up in the program and stays as it is."""

    problem = None

    def __init__(self, file: File) -> None:
        self.file = file

    def reload(self) -> bool:
        return False


class _Reader:
    """Turns tables into types, and notes what does not fit."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.problems: list[tuple[tuple[str, ...], str]] = []

    def file(self, raw: dict[str, Any]) -> File | None:
        filled = {name: self._filled(value, (name,)) for name, value in raw.items()}
        tables = {name: self._named(name, filled.pop(name)) for name in NAMED if name in filled}
        whole: File | None = self._converted(filled, File, ())
        if whole is None:
            return None
        if "stale_after" not in filled:
            whole.stale_after = max(whole.stale_after, Span(2 * whole.every))
        return msgspec.structs.replace(whole, **tables)

    def _named(self, section: str, tables: object) -> dict[str, Any]:
        if not isinstance(tables, dict):
            self.problems.append(((section,), f"must be tables with names, such as [{section}.example]"))
            return {}
        found = {}
        for name, table in tables.items():
            if not isinstance(table, dict):
                text = f"is not a table; write [{section}.{name}] above its members"
                near = _suggestion(name, _members(NAMED[section]))
                self.problems.append(((section, name), f"[{section}] needs a name: {text}" if near else text))
            elif not _NAME.fullmatch(name):
                self.problems.append(
                    ((section, name), "a name is 1 to 64 letters, digits, spaces, - and _, a letter first")
                )
            else:
                found[name] = self._converted(table, NAMED[section], (section, name))
        return found

    def _converted(self, table: dict[str, Any], kind: Any, path: tuple[str, ...]) -> Any:
        """The table as a type, None if it does not fit."""
        known = _members(kind, table)
        unknown = [name for name in table if known and name not in known]
        for name in unknown:
            self.problems.append(((*path, name), _unknown(name, known)))
        rest = {name: _coins(name, value) for name, value in table.items() if name not in unknown}
        try:
            return msgspec.convert(rest, kind, dec_hook=_special)
        except msgspec.ValidationError as error:
            problem = _explained(error, kind, path, rest)
            # A member that seems to be missing may be the one that was misspelt.
            if not (unknown and problem[1] == REQUIRED):
                self.problems.append(problem)
            return None

    def _filled(self, value: Any, path: tuple[str, ...]) -> Any:
        """The value with variables of the environment put in, without numbers that are none."""
        match value:
            case str():
                for name in dict.fromkeys(_VARIABLE.findall(value)):
                    if name and name not in self._environ:
                        self.problems.append((path, f"the environment has no variable {name}"))
                return _VARIABLE.sub(
                    lambda found: self._environ.get(found[1], "") if found[1] else "${", value
                )
            case float() if not math.isfinite(value):
                self.problems.append((path, "must be a finite number"))
                return 1.0
            case list():
                return [self._filled(item, path) for item in value]
            case dict():
                return {name: self._filled(item, (*path, name)) for name, item in value.items()}
            case _:
                return value


def _special(kind: type, value: Any) -> Any:
    """The types that are texts of their own form."""
    if kind is Span:
        if (
            isinstance(value, bool)
            or not isinstance(value, str | int)
            or (isinstance(value, int) and value < 0)
        ):
            raise ValueError('must be a length of time, such as "90s", "5m", "1d12h"')
        seconds = value if isinstance(value, int) else seconds_of(value)
        if seconds > SPAN_SECONDS_MAX:
            raise ValueError("must not be longer than a year")
        return Span(seconds)
    if not isinstance(value, str) or not value:
        raise ValueError("must be text")
    if kind is Coin:
        return Coin(wire_name(value))
    if kind is Hours:
        return Hours(value)
    raise NotImplementedError


def _coins(name: str, value: Any) -> Any:
    """Prices by currency, whichever way the currencies are written."""
    if name in ("on_demand", "spot", "dollars") and isinstance(value, dict):
        return {wire_name(coin): price for coin, price in value.items()}
    return value


# What is wrong, in words ----------------------------------------------------------------------------


def _explained(
    error: msgspec.ValidationError, kind: Any, path: tuple[str, ...], table: dict[str, Any]
) -> tuple[tuple[str, ...], str]:
    what, _, where = str(error).partition(" - at ")
    below = tuple(re.findall(r"\w+", re.sub(r"\[[^\]]*\]", "", where.strip("`$"))))
    extra = re.search(r"unknown field `([^`]+)`", what)
    if extra:
        return (*path, *below, extra[1]), _unknown(extra[1], _members_within(kind))
    missing = re.search(r"missing required field `([^`]+)`", what)
    if missing:
        tags = ", ".join(sorted(_tags(kind)))
        named = f"{REQUIRED}: one of {tags}" if missing[1] == _tag_field(kind) else REQUIRED
        return (*path, *below, missing[1]), named
    wrong_tag = re.match(r"Invalid value '(.*)'$", what)
    if wrong_tag and below:
        tags_here = _tags(kind) if below[-1] == _tag_field(kind) else _tags_within(kind)
        near = _suggestion(wrong_tag[1], tags_here)
        hint = f"; did you mean {near}?" if near else ""
        return (*path, *below), f"must be one of {', '.join(sorted(tags_here))}{hint}"
    if what.startswith("Invalid enum value") and below:
        allowed = _allowed(kind, below[-1])
        near = _suggestion(what.split("'")[1] if "'" in what else "", allowed)
        hint = f"; did you mean {near}?" if near else ""
        return (*path, *below), f"must be one of {', '.join(allowed)}{hint}"
    said = complaint(error)
    return (*path, *(below or ((said.member,) if said.member else ()))), said.text


def _unknown(name: str, known: Iterable[str]) -> str:
    near = _suggestion(name, known)
    return (
        f"there is no such member; did you mean {near}?"
        if near
        else (f"there is no such member; there is {', '.join(sorted(known))}")
    )


def _suggestion(name: str, known: Iterable[str]) -> str | None:
    return next(iter(difflib.get_close_matches(name.lower().replace("-", "_"), list(known), n=1)), None)


# Types, looked into ---------------------------------------------------------------------------------


def _structs(kind: Any) -> list[type[msgspec.Struct]]:
    return [
        one for one in get_args(kind) or (kind,) if isinstance(one, type) and issubclass(one, msgspec.Struct)
    ]


def _members(kind: Any, table: Mapping[str, Any] | None = None) -> set[str]:
    """The members of a table: of the one that its tag names, where there are several."""
    structs = _structs(kind)
    field = _tag_field(kind)
    if table is not None and field:
        structs = [struct for struct in structs if struct.__struct_config__.tag == table.get(field)]
    found = {one.encode_name for struct in structs for one in msgspec.structs.fields(struct)}
    return found | ({field} if field and found else set())


def _allowed(kind: Any, member: str) -> list[str]:
    """The texts that a member of a table, or of one inside it, may be."""
    tables = [kind, *_inner(kind)]
    fields = [field for table in tables for one in _structs(table) for field in msgspec.structs.fields(one)]
    return sorted({text for field in fields if field.encode_name == member for text in _texts(field.type)})


def _texts(kind: Any) -> Iterator[str]:
    for part in get_args(kind):
        if isinstance(part, str):
            yield part
        else:
            yield from _texts(part)


def _members_within(kind: Any) -> set[str]:
    """The members of all tables inside a table."""
    return {name for inner in _inner(kind) for name in _members(inner)}


def _tags_within(kind: Any) -> set[str]:
    return {tag for inner in _inner(kind) for tag in _tags(inner)}


def _inner(kind: Any) -> Iterator[Any]:
    for struct in _structs(kind):
        for field in msgspec.structs.fields(struct):
            yield from _tables_of(field.type)


def _tables_of(kind: Any) -> Iterator[Any]:
    if _structs(kind):
        yield kind
    for part in get_args(kind):
        yield from _tables_of(part)


def _tag_field(kind: Any) -> str | None:
    return next((struct.__struct_config__.tag_field for struct in _structs(kind)), None)


def _tags(kind: Any) -> set[str]:
    return {str(tag) for struct in _structs(kind) if (tag := struct.__struct_config__.tag) is not None}


# Lines ----------------------------------------------------------------------------------------------


def _dotted(path: Iterable[str]) -> str:
    return ".".join(path)


class _Lines:
    """Where in a TOML text each table and member stands."""

    _HEADER = re.compile(r"\s*\[\[?(.+?)\]\]?\s*(?:#.*)?$")
    _MEMBER = re.compile(
        r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"))*)\s*="""
    )

    def __init__(self, text: str) -> None:
        self._found: dict[tuple[str, ...], int] = {}
        table: tuple[str, ...] = ()
        quotes = ""
        for number, line in enumerate(text.split("\n"), 1):
            if quotes:
                quotes = "" if quotes in line else quotes
                continue
            header, member = self._HEADER.match(line), self._MEMBER.match(line)
            if header:
                table = self._keys(header[1])
                self._found.setdefault(table, number)
            elif member:
                path = (*table, *self._keys(member[1]))
                self._found.setdefault(path, number)
            quotes = next((mark for mark in ('"""', "'''") if line.count(mark) % 2), "")

    def of(self, path: tuple[str, ...]) -> int | None:
        """The line of the member, or of what it would be in."""
        for length in range(len(path), 0, -1):
            if path[:length] in self._found:
                return self._found[path[:length]]
        return min((at for found, at in self._found.items() if path and found[:1] == path[:1]), default=None)

    @staticmethod
    def _keys(text: str) -> tuple[str, ...]:
        try:
            nested: Any = tomllib.loads(f"{text} = 0")
        except tomllib.TOMLDecodeError:
            return (text,)
        keys = []
        while isinstance(nested, dict):
            key, nested = next(iter(nested.items()))
            keys.append(key)
        return tuple(keys)

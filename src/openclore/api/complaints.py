"""A decoder's complaint as a sentence for whoever wrote the request.

It never repeats a value: one may be secret.
"""

import re
from typing import NamedTuple

from .base import NO_NUL
from .currencies import Currency

FORBIDDEN_CHARACTERS = "may hold only letters, digits, white space (not in names) and - _ : = . @ + /"
"""What is said of a character in `env` that the live service fails on."""

_EXPLAINED = {
    "image": "must be at most 128 letters, digits and : @ / . _ -, with at most one colon and two slashes",
    "[].image": "must be the 24-digit hexadecimal id of an image",
    "env": FORBIDDEN_CHARACTERS,
    "ports": 'container ports are numbers from 1 to 65535, each "tcp" or "http"',
    "type": "must be on-demand or spot",
    "id": "must be a positive whole number",
    "name": "must be 1 to 64 letters, digits, spaces, _ or -",
    "country": "must be the two letters of a country, such as DE",
    "currency": f"must be one of {', '.join(Currency)}",
    "order_type": "must be on-demand or spot",
    "sort": "must be price, reliability, vram or gpu_count, with - in front for the largest first, or id",
}
_WORDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "text",
    "array": "a list",
    "object": "an object",
}


class Complaint(NamedTuple):
    """The member that is wrong (None: the request as a whole), and what must hold.

    In a request that is a list, the member begins with the item, counted from 0: "[3].price".
    """

    member: str | None
    text: str

    def __str__(self) -> str:
        return f"{self.member}: {self.text}" if self.member else self.text


def complaint(error: Exception) -> Complaint:
    """What `msgspec` found wrong with a request.

    >>> str(complaint(ValueError("Expected `int`, got `str` - at `$.mrl`")))
    'mrl: must be a whole number, got text'
    """
    if isinstance(error, RecursionError):
        return Complaint(None, "the JSON is nested too deeply")
    if isinstance(error, UnicodeError):
        return Complaint(None, "the JSON must be UTF-8 text")
    what, _, where = str(error).partition(" - at ")
    path = re.search(r"\$(\[\d+\])?(?:\.([A-Za-z0-9_-]+))?([^`]*)", where)
    item, member, below = path.groups() if path else (None, None, "")
    # Of a list all is told, since its items are alike: "[3].oc[0].pl".
    named = f"{item}.{member}{below}".replace("[...]", "") if item else member
    missing = re.search(r"missing required field `([^`]+)`", what)
    if missing:
        inside = named if member else item
        return Complaint(f"{inside}.{missing.group(1)}" if item else missing.group(1), "is required")
    if member:
        if repr(NO_NUL) in what:
            return Complaint(named, "must be text without NUL")
        inexact = "regex" in what or "enum" in what or "[...]" in where or "`key`" in where
        known = _EXPLAINED.get(f"[].{member}" if item else "", _EXPLAINED.get(member, _plain(what)))
        return Complaint(named, known if inexact else _plain(what))
    own = re.match(r"([a-z_]+): (.*)", what)
    if own:
        return Complaint(f"{item}.{own.group(1)}" if item else own.group(1), own.group(2))
    return Complaint(item, _plain(what))


def _plain(what: str) -> str:
    what = re.sub(r"^Invalid enum value .*", "is none of the allowed values", what, flags=re.DOTALL)
    what = re.sub(r"^Expected ", "must be ", what.replace(" | null", ""))
    return re.sub(r"`(\w+)`", lambda kind: _WORDS.get(kind.group(1), kind.group(1)), what).replace("`", "")

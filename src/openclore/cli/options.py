"""Options that many commands share, and what they mean."""

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from openclore.api.durations import seconds_of

from .output import interactive, say

if TYPE_CHECKING:
    from openclore.client import Clore

Profile = Annotated[
    str | None,
    typer.Option("--profile", "-p", metavar="NAME", help="Address and key by name. (env: OPENCLORE_PROFILE)"),
]
BaseUrl = Annotated[
    str | None,
    typer.Option("--base-url", metavar="URL", help="Address of the market. (env: CLORE_BASE_URL)"),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
JsonLines = Annotated[bool, typer.Option("--json", help="Print what happens as JSON lines.")]
Env = Annotated[
    list[str] | None,
    typer.Option(
        "--env",
        metavar="NAME[=VALUE]",
        help="Container variable; without =VALUE it is taken from this environment.",
    ),
]

ATTEMPTS = 3
"""Fewer than a program's: somebody may be waiting, and a wrong address never answers."""

CURRENCY_HELP = "bitcoin, CLORE-Blockchain or USD-Blockchain (btc, clore, usd for short)"


def client(profile: str | None, base_url: str | None, attempts: int = ATTEMPTS) -> "Clore":
    """The client for these options; the key comes from CLORE_API_KEY or the profile, never from argv."""
    from openclore.client import Clore, CloreError

    def tell(error: CloreError, seconds: float) -> None:
        if interactive():
            say(f"{error} Trying again in {seconds:.0f} s.")

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        clore = Clore(profile=profile, base_url=base_url, attempts=attempts, on_retry=tell)
    for warning in said:
        say(f"Warning: {warning.message}")
    return clore


def whence(profile: str | None, base_url: str | None) -> str:
    """The market that `client` calls, and where its address and the key were found."""
    from openclore.client.profiles import access

    found = access(None, base_url, profile)
    place = {"argument": "--base-url", "default": "nowhere: this is the default"}
    address = place.get(found.base_url_from, found.base_url_from)
    key = f"key from {found.key_from}" if found.key else "no key"
    return f"{found.base_url} (address from {address}; {key})"


def currency(text: str) -> str:
    """The wire name; a name this version does not know is passed on."""
    from openclore.api.currencies import wire_name

    return wire_name(text)


def duration(text: str) -> int:
    """The seconds in 1h, 90m or 3600, for `typer`'s `parser`.

    Raises:
        BadParameter: it is no duration.
    """
    try:
        return seconds_of(text)
    except ValueError as problem:
        raise typer.BadParameter(str(problem)) from None


def folder(text: str) -> Path:
    """For `typer`'s `parser`.

    Raises:
        BadParameter: it is empty, as an unset variable is: the current directory is not meant.
    """
    return Path(filled(text))


def filled(text: str) -> str:
    """For `typer`'s `parser`.

    Raises:
        BadParameter: it is empty, as an unset variable is.
    """
    if not text:
        raise typer.BadParameter("must not be empty")
    return text


def variables(given: list[str] | None) -> dict[str, str] | None:
    """What `--env` says; None where it is not given.

    Raises:
        BadParameter: one has no value, and there is none here either.
    """
    return dict(map(_variable, given or ())) or None


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if equals:
        return name, value
    if name not in os.environ:
        raise typer.BadParameter(f"{name} is not set here; write {name}=VALUE", param_hint="--env")
    return name, os.environ[name]


def pair(text: str, option: str, form: str) -> tuple[str, str]:
    """NAME=VALUE in two parts.

    Raises:
        BadParameter: there is no `=`, or nothing before it.
    """
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise typer.BadParameter(f"{text!r} must look like {form}", param_hint=option)
    return name, value


def amounts(pairs: list[str], option: str) -> dict[str, float]:
    """CURRENCY=AMOUNT pairs by wire name.

    Raises:
        BadParameter: one of them is none.
    """
    found = {}
    for text in pairs:
        name, value = pair(text, option, "CURRENCY=AMOUNT")
        try:
            found[currency(name)] = float(value)
        except ValueError:
            raise typer.BadParameter(f"{value!r} is not an amount", param_hint=option) from None
    return found

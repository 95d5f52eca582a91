"""How a command ends: exit codes by what the caller can do, and errors in one or two lines."""

import functools
import json
import math
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

import typer

from .options import whence
from .output import say

P = ParamSpec("P")
T = TypeVar("T")

EXIT_CODES: dict[str, tuple[int, str]] = {
    "CloreError": (1, "anything else went wrong"),
    "SetupError": (2, "usage: option, profile or address can't be used"),
    "InputError": (2, "the request is wrong as it stands"),
    "PriceError": (8, ""),
    "SignInError": (3, "the API key is missing or unknown"),
    "NotFoundError": (4, "no such order or server, not yours, or already over"),
    "WaitError": (5, "too many requests or orders: try again later"),
    "RefusedError": (6, "the market refused for another reason"),
    "BalanceError": (7, "the wallet does not hold enough"),
    "UnavailableError": (8, "the server can't be rented, or not at this price"),
    "ServiceError": (9, "the market failed, or what answers is no market"),
    "ReplyError": (9, ""),
    "NetworkError": (10, "the market can't be reached"),
    "OutcomeUnknownError": (11, "an order may have been made: look before trying again"),
    "DeployError": (12, "the order ended or is not ready in time"),
}
"""Class of the error, or of the nearest above it, to exit code and its meaning."""

INTERRUPTED = 130
BROKEN_PIPE = 141


class DeployError(Exception):
    """An order was made, but there is nothing to connect to."""

    def __init__(self, message: str, order_id: int | None = None) -> None:
        super().__init__(message)
        self.order_id = order_id


def exit_code(error: BaseException) -> int:
    """The exit code of the error's class."""
    names = (kind.__name__ for kind in type(error).__mro__)
    return next((EXIT_CODES[name][0] for name in names if name in EXIT_CODES), 1)


def exit_codes_help() -> str:
    """The table for `--help`."""
    meanings: dict[int, str] = {}
    for code, meaning in EXIT_CODES.values():
        meanings[code] = meanings.get(code) or meaning
    meanings[2] = "usage: an option or the request is wrong"
    meanings[INTERRUPTED] = "interrupted"
    listed = "\n".join(f"{code:3}  {meaning}" for code, meaning in sorted({0: "done", **meanings}.items()))
    return f"\b\nExit codes:\n{listed}"  # \b: these lines stay lines


def guarded(command: Callable[P, T]) -> Callable[P, T]:
    """Let a command end with a message and its exit code instead of a traceback."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        from openclore.client.errors import CloreError, NetworkError, SignInError

        try:
            _refuse_unreal_numbers(kwargs)
            result = command(*args, **kwargs)
            sys.stdout.flush()
            return result
        except (KeyboardInterrupt, typer.Abort):
            say("Interrupted.")
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            _drop_stdout()
            raise typer.Exit(BROKEN_PIPE) from None
        except (CloreError, DeployError) as error:
            report(error, as_json=bool(kwargs.get("json")))
            if isinstance(error, NetworkError | SignInError):
                _tell_whence(kwargs)
            raise typer.Exit(exit_code(error)) from error

    return run


def _tell_whence(options: Mapping[str, Any]) -> None:
    """To a person: which market was asked, and where its address and the key were found."""
    if "profile" in options and not options.get("json"):
        say(f"Asked: {whence(options['profile'], options.get('base_url'))}.")


def _refuse_unreal_numbers(options: Mapping[str, object]) -> None:
    """No option means anything with nan or infinity, and both pass comparisons."""
    for name, value in options.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise typer.BadParameter("must be a finite number", param_hint=f"--{name.replace('_', '-')}")


def report(error: BaseException, *, as_json: bool, **about: Any) -> None:
    """Say what went wrong on stderr, for a person or as a line of JSON; `about` is what the error lacks."""
    if not as_json:
        say("Error: " + str(error).removeprefix(f"{getattr(error, 'endpoint', None)}: "))
        return
    facts: dict[str, Any] = {
        "class": type(error).__name__,
        "message": str(error),
        "exit_code": exit_code(error),
        **{
            name: value
            for name in ("order_id", "endpoint", "status", "code", "error", "field", "extra")
            if (value := getattr(error, name, None)) not in (None, {})
        },
        **about,
    }
    sys.stderr.write(json.dumps({"error": facts}, default=str) + "\n")


def _drop_stdout() -> None:
    """Nobody reads on: keep the interpreter from complaining when it flushes at the end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)

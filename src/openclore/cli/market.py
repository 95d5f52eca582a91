"""openclore market: what a market looks like over time."""

import math
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from openclore.api.durations import words_of

from . import options
from .autopilot import ended_by_signals
from .errors import guarded
from .output import log_json, log_text

if TYPE_CHECKING:
    from openclore.autopilot.history import Recorder
    from openclore.client import Clore

EVERY_SECONDS = 600

market = typer.Typer(no_args_is_help=True, help="What a market looks like over time.")


@market.callback()
def group() -> None:
    """Keeps `record` a command of its own though it is the only one."""


@market.command()
@guarded
def record(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to append; made if there is none.")],
    every: Annotated[
        int | None,
        typer.Option(
            parser=options.duration, metavar="DURATION", help="Time between two observations. (default: 10m)"
        ),
    ] = None,
    during: Annotated[
        int | None,
        typer.Option("--for", parser=options.duration, metavar="DURATION", help="End after so long."),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="One observation; for cron.")] = False,
    profile: options.Profile = None,
    base_url: options.BaseUrl = None,
    json: options.JsonLines = False,
) -> None:
    """Append what the market looks like to a file, again and again, until Ctrl-C or SIGTERM.

    It keeps the offers and, with an API key, your own servers and wallets: a history for openclore autopilot
    backtest. Only what changed is written, compressed: some megabytes a week for thousands of servers. An
    observation that fails is left out; after a crash, start it again with the same file.
    """
    from openclore.autopilot.history import Header, Recorder
    from openclore.client.errors import CloreError, InputError, SetupError, SignInError

    seconds = EVERY_SECONDS if every is None else every
    if seconds < 1:
        raise InputError("--every must be at least 1s")
    log = log_json if json else log_text
    with (
        options.client(profile, base_url) as clore,
        Recorder(file, Header(market=clore.base_url)) as recorder,
    ):
        if recorder.torn_bytes:
            log(f"{recorder.torn_bytes} bytes at the end of {file} were not wholly written, and are dropped.")
        if once:
            log(_append(recorder, clore, file))
            return
        log(f"Recording {clore.base_url} to {file} every {words_of(seconds)}; Ctrl-C ends it.")
        stopped = threading.Event()
        next_at = time.monotonic()
        ends_at = math.inf if during is None else next_at + during
        with ended_by_signals(stopped.set):
            while not stopped.is_set():
                next_at = max(next_at + seconds, time.monotonic())
                try:
                    log(_append(recorder, clore, file))
                except (SetupError, SignInError):
                    raise
                except CloreError as error:
                    log(f"Nothing is recorded this time: {error}")
                if next_at > ends_at:
                    break
                stopped.wait(max(0.0, next_at - time.monotonic()))
        log(f"Ended; {file} has {_observations(recorder.scenes)}.")


def _append(recorder: "Recorder", clore: "Clore", file: Path) -> str:
    """Look, write it down, and say what was written."""
    from openclore.autopilot.history import document

    offers = clore.marketplace()
    at = int(clore.market_date or time.time())
    own = clore.my_servers() if clore.key_digest else []
    wallets = {w.wire_name: w.available for w in clore.wallets()} if clore.key_digest else {}
    found = document(offers, own, {name: held for name, held in wallets.items() if name and held is not None})
    size = recorder.append(at, found)
    rented = sum(bool(offer.rented) for offer in offers)
    mine = f", {len(own)} of them yours" if own else ""
    written = f"{size} bytes, {_observations(recorder.scenes)} in {file}"
    servers = "1 server" if len(offers) == 1 else f"{len(offers)} servers"
    return f"{servers}{mine}, {rented} rented: {written}."


def _observations(count: int) -> str:
    return "1 observation" if count == 1 else f"{count} observations"

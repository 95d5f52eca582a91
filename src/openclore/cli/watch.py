"""openclore watch: hear when a wallet runs low."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from . import options
from .errors import guarded
from .output import log_json, log_text

SIGTERM_EXIT = 0


class _Terminated(BaseException):
    """SIGTERM came. Not an Exception, so that nothing on the way takes it for a failure."""


@guarded
def watch(
    wallet: Annotated[
        str,
        typer.Option(metavar="NAME", help=f"Wallet: {options.CURRENCY_HELP}."),
    ],
    below: Annotated[float, typer.Option(metavar="AMOUNT", help="Alert when the balance is below.")],
    every: Annotated[
        float, typer.Option(min=1, max=86_400, metavar="SECONDS", help="Time between readings.")
    ] = 300,
    notify: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL", help="Apprise address to tell. (env: OPENCLORE_NOTIFY, separated by spaces)"
        ),
    ] = None,
    back_above: Annotated[
        float | None,
        typer.Option(metavar="AMOUNT", help="Balance is back from here on. (default: 5 % over --below)"),
    ] = None,
    state_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Where to remember what was said. (default: $XDG_STATE_HOME/openclore/watch)"
        ),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Read once and end; for cron.")] = False,
    profile: options.Profile = None,
    base_url: options.BaseUrl = None,
    json: options.JsonLines = False,
) -> None:
    """Tell somebody when a balance falls below an amount, and when it is back.

    One message per crossing: the balance is back only from --back-above on, so that small moves say nothing.
    Failing to read it three times in a row, or for 15 minutes, is told once, too, and that it works again. A
    message that can't be delivered is tried again until it is. Restarts repeat nothing.

    Apprise addresses hold passwords: prefer OPENCLORE_NOTIFY to --notify, which other users can see.
    """
    from openclore.autopilot.remember import Keeper
    from openclore.autopilot.watch import Watch, file_for, memory_path

    name = options.currency(wallet)
    log = log_json if json else log_text
    urls = notify or os.environ.get("OPENCLORE_NOTIFY", "").split()
    file = file_for(name, below, back_above, tuple(urls), every)
    with _terminable(), options.client(profile, base_url) as clore:
        market = (clore.base_url, clore.key_digest)
        with Keeper(memory_path(state_dir, name, below, *market), market) as keeper:
            watching = Watch(clore, file, keeper, tell=log)
            if not once:
                log(f"Watching {name} at {clore.base_url} every {every:g} s; Ctrl-C ends it.")
                watching.run()
            elif not watching.once():
                raise typer.Exit(1)


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end the watch at once; its memory is on disk at any moment."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise _Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except _Terminated:
        log_text("Ended by SIGTERM.")
        raise typer.Exit(SIGTERM_EXIT) from None
    finally:
        signal.signal(signal.SIGTERM, before)

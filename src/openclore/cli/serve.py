"""`openclore serve`: run a market."""

import os
from pathlib import Path
from typing import Annotated

import typer

from .errors import guarded
from .options import filled, folder


@guarded
def serve(
    data_dir: Annotated[
        Path | None,
        typer.Option(
            parser=folder,
            metavar="DIR",
            help="Where the market's SQLite file lives, made if it is not there; counts before a database"
            " that variables or the file name.",
        ),
    ] = None,
    database_url: Annotated[
        str | None,
        typer.Option(
            parser=filled, metavar="URL", help="A database instead, postgresql+psycopg://user@host/name."
        ),
    ] = None,
    valkey_url: Annotated[
        str | None,
        typer.Option(help="Where processes on one database share limits and wake-ups, redis://host:6379/0."),
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.  [default: 127.0.0.1]")] = None,
    port: Annotated[
        int | None, typer.Option(help="Port to listen on, 0 for a free one.  [default: 8080]")
    ] = None,
    log_requests: Annotated[
        bool | None, typer.Option("--log-requests", help="Log a line for every request.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="A TOML file with these and the market's policy.")
    ] = None,
) -> None:
    """Run a market until SIGTERM or Ctrl-C. Settings: TOML file, OPENCLORE_* variables, these options."""
    from ..server import settings as server_settings
    from ..server.run import serve as run
    from .admin import said_in_a_line
    from .logs import configure_logs

    flags = {
        "data_dir": str(data_dir) if data_dir else None,
        "database_url": database_url,
        "valkey_url": valkey_url,
        "host": host,
        "port": port,
        "log_requests": log_requests,
    }
    with said_in_a_line():
        settings = server_settings.load(config, os.environ, flags)
        configure_logs(settings.log_format)
        run(settings, ready=_say_ready)


def _say_ready(address: str) -> None:
    typer.echo(f"OpenClore market ready at {address}/v1", err=True)

"""openclore db: a market's database as a whole."""

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from .admin import DatabaseUrl, DataDir, check_is_there, said_in_a_line, settings_of
from .errors import guarded
from .options import Json
from .output import show_json

db = typer.Typer(no_args_is_help=True, help="Move a market to another database, or bring its tables up.")

ADDRESS = (
    "a data directory, sqlite:////path/openclore.db or postgresql+psycopg://user@host/db"
    " (its password in PGPASSWORD or ~/.pgpass)"
)


@db.command("copy")
@guarded
def copy(
    source: Annotated[str, typer.Argument(metavar="SRC", help=f"The market's database: {ADDRESS}.")],
    target: Annotated[str, typer.Argument(metavar="DST", help="An empty one, written the same way.")],
    json: Json = False,
) -> None:
    """Copy a whole market into an empty database: from SQLite to PostgreSQL, or back.

    It copies one moment: stop the market first, or what happens afterwards would be missing. Then start it
    with --database-url DST.
    """
    from ..client.errors import SetupError
    from ..store.copies import copy_market
    from ..store.serving import Served, unserved
    from ..store.store import check_revision, open_database

    from_url, to_url = _url(source, "SRC"), _url(target, "DST")
    with said_in_a_line():
        check_is_there(from_url)
        if _are_one(from_url, to_url):
            raise typer.BadParameter("must be another database than SRC", param_hint="DST")
    with said_in_a_line(), closing(open_database(from_url)) as read:
        check_revision(read)
        try:
            with unserved(read), closing(open_database(to_url)) as write:
                copied = copy_market(read, write)
        except Served as error:
            raise SetupError(f"{error}; only openclore admin backup copies a market that runs") from None
    if json:
        show_json({"rows": copied})
    else:
        typer.echo(f"Copied {sum(copied.values())} rows.")


@db.command("upgrade")
@guarded
def upgrade(data_dir: DataDir = None, database_url: DatabaseUrl = None, json: Json = False) -> None:
    """Bring a market's tables up to this release, as openclore serve does when it starts."""
    from ..store.store import migrate, open_database, revision
    from ..store.tables import REVISION

    with (
        said_in_a_line(),
        closing(open_database(settings_of(data_dir, database_url).database)) as store,
    ):
        before = revision(store)
        migrate(store)
    if json:
        show_json({"before": before, "now": REVISION})
    elif before == REVISION:
        typer.echo("The tables are up to date.")
    else:
        typer.echo(f"Brought the tables from {before or 'nothing'} to {REVISION}.")


def _are_one(source: str, target: str) -> bool:
    """Whether two addresses are spellings of one, as far as one can tell by looking at them."""
    from ..store.store import database_file

    file, other = database_file(source), database_file(target)
    if file is None or other is None:
        return source == target
    return other.exists() and file.samefile(other)


def _url(address: str, name: str) -> str:
    """
    Raises:
        BadParameter: it is empty, as an unset variable is.
    """
    from ..store.store import database_url

    if not address:
        raise typer.BadParameter("must not be empty", param_hint=name)
    if "://" in address:
        return address
    path = Path(address).absolute()
    return f"sqlite:///{path}" if path.is_file() else database_url(path)

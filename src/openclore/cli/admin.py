"""`openclore admin`: what an operator does, on the market's database; works while the server runs."""

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..api.currencies import Currency
from ..api.dialects import Dialect
from .errors import guarded
from .host import agent_command
from .options import CURRENCY_HELP, Json, currency, filled, folder
from .output import show_json
from .statements import Csv, Since, Until, check_span
from .statements import show as show_statement

if TYPE_CHECKING:
    from ..rules.policy import Policy
    from ..server.settings import Settings
    from ..store.store import Store
    from ..usecases.market import Market

admin = typer.Typer(no_args_is_help=True, help="Operate a market: accounts, keys, money, servers, rates.")
account_app = typer.Typer(no_args_is_help=True, help="Accounts.")
key_app = typer.Typer(no_args_is_help=True, help="API keys.")
server_app = typer.Typer(no_args_is_help=True, help="Servers.")
rates_app = typer.Typer(no_args_is_help=True, help="What currencies are worth in dollars.")
admin.add_typer(account_app, name="account")
admin.add_typer(key_app, name="key")
admin.add_typer(server_app, name="server")
admin.add_typer(rates_app, name="rates")


def _currency(text: str) -> Currency:
    try:
        return Currency(currency(text))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is none of: {CURRENCY_HELP}") from None


DataDir = Annotated[
    Path | None,
    typer.Option(
        parser=folder,
        metavar="DIR",
        help="The data directory of the market, whatever the environment names. (env: OPENCLORE_DATA_DIR)",
    ),
]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        parser=filled,
        metavar="URL",
        help="The market's database, instead. (env: OPENCLORE_DATABASE_URL, which counts before the other)",
    ),
]
Email = Annotated[str, typer.Argument(help="The account's e-mail address.")]


@account_app.command("create")
@guarded
def create_account(
    email: Email, data_dir: DataDir = None, database_url: DatabaseUrl = None, json: Json = False
) -> None:
    """Open an account; it may rent and host."""
    from ..usecases import accounts

    with _market(data_dir, database_url, may_be_new=True) as market:
        account = accounts.create_account(market, email, _now())
    _say({"id": account.id, "email": account.email}, f"account {account.id}: {account.email}", json)


@account_app.command("set")
@guarded
def set_account(
    email: Email,
    poh_stake: Annotated[
        str | None, typer.Option(metavar="CLORE", help="Proof of Holding: lowers the fees of new orders.")
    ] = None,
    orders_max: Annotated[int | None, typer.Option(help="Simultaneous orders.")] = None,
    servers_max: Annotated[int | None, typer.Option(help="Servers it may register.")] = None,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    json: Json = False,
) -> None:
    """Give an account a stake, or other limits than the market's. What is not given stays."""
    from ..rules import money
    from ..usecases import accounts

    with _market(data_dir, database_url) as market:
        account = accounts.set_account(
            market,
            email,
            _now(),
            poh_stake=None if poh_stake is None else money.from_text(poh_stake),
            orders_max=orders_max,
            servers_max=servers_max,
        )
        policy = market.policy
    shown = {
        "email": account.email,
        "poh_stake": money.to_wire(account.poh_stake),
        "orders_max": policy.orders_max if account.orders_max is None else account.orders_max,
        "servers_max": policy.servers_max if account.servers_max is None else account.servers_max,
    }
    stake = money.to_text(account.poh_stake)
    text = (
        f"{account.email} has a stake of {stake} CLORE, may have {shown['orders_max']} orders at once "
        f"and {shown['servers_max']} servers"
    )
    _say(shown, text, json)


@key_app.command("create")
@guarded
def create_key(
    email: Email,
    name: Annotated[str, typer.Option(help="What the key is for.")] = "default",
    dialect: Annotated[
        Dialect | None, typer.Option(help="Speak to this key so, whatever the server's own dialect is.")
    ] = None,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    json: Json = False,
) -> None:
    """Make an API key. It is shown this once and never again."""
    from ..usecases import accounts

    with _market(data_dir, database_url) as market:
        key, secret = accounts.create_key(market, email, name, _now(), dialect)
    typer.echo("Keep this key: it is not shown again.", err=True)
    shown = {"id": key.id, "account_id": key.account_id, "name": key.name, "dialect": key.dialect}
    _say({**shown, "key": secret}, secret, json)


@key_app.command("list")
@guarded
def list_keys(
    email: Email, data_dir: DataDir = None, database_url: DatabaseUrl = None, json: Json = False
) -> None:
    """Show an account's keys, without their secrets."""
    from ..usecases import accounts

    with _market(data_dir, database_url) as market:
        keys = accounts.list_keys(market, email)
    rows = [
        {
            "id": key.id,
            "name": key.name,
            "dialect": key.dialect,
            "created_at": key.created_at,
            "revoked_at": key.revoked_at,
        }
        for key in keys
    ]
    text = "\n".join(f"{key.name}  {'revoked' if key.revoked_at else 'active'}" for key in keys)
    _say(rows, text or "no keys", json)


@key_app.command("revoke")
@guarded
def revoke_key(
    email: Email,
    name: Annotated[str, typer.Argument(help="The key's name.")],
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    json: Json = False,
) -> None:
    """Make a key worthless, at once."""
    from ..usecases import accounts

    with _market(data_dir, database_url) as market:
        accounts.revoke_key(market, email, name, _now())
    _say({"name": name, "revoked": True}, f"revoked {name}", json)


@admin.command("credit")
@guarded
def credit(
    email: Email,
    currency: Annotated[Currency, typer.Argument(help=CURRENCY_HELP, parser=_currency, metavar="CURRENCY")],
    amount: Annotated[str, typer.Argument(help="How much, in the currency: 12.5")],
    idempotency_key: Annotated[
        str | None, typer.Option(help="The same key again credits nothing more.")
    ] = None,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    json: Json = False,
) -> None:
    """Put money into a wallet."""
    from ..rules import money
    from ..usecases import accounts

    with _market(data_dir, database_url) as market:
        balance = accounts.credit(
            market, email, currency, money.from_text(amount), _now(), idempotency_key or uuid.uuid4().hex
        )
    text = money.to_text(balance)
    _say(
        {"email": email, "currency": currency, "balance": float(text)}, f"{email} has {text} {currency}", json
    )


@server_app.command("create")
@guarded
def create_server(
    email: Email,
    name: Annotated[str, typer.Argument(help="The server's name: letters, digits, spaces, _ and -.")],
    market_url: Annotated[
        str, typer.Option("--market", help="The market's address as the machine reaches it.")
    ] = "http://127.0.0.1:8080",
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    json: Json = False,
) -> None:
    """Register a server: prints its init token and what to run on the machine."""
    from ..usecases import servers

    with _market(data_dir, database_url) as market:
        server = servers.create_server(market, email, name, _now())
    command = agent_command(market_url, server.name, server.init_token or "")
    text = f"init token: {server.init_token}\nOn the machine, run:\n  {command}"
    _say(
        {"id": server.id, "name": server.name, "init_token": server.init_token, "command": command},
        text,
        json,
    )


@rates_app.command("set")
@guarded
def set_rate(
    currency: Annotated[Currency, typer.Argument(help=CURRENCY_HELP, parser=_currency, metavar="CURRENCY")],
    usd: Annotated[str, typer.Argument(help="Dollars for one unit of it: 65000")],
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    json: Json = False,
) -> None:
    """Say what one unit of a currency is worth in dollars."""
    from ..rules import money
    from ..usecases import rates

    with _market(data_dir, database_url) as market:
        rates.set_rate(market, currency, money.from_text(usd), _now())
    _say({"currency": currency, "usd": float(usd)}, f"1 {currency} is {usd} dollars", json)


@rates_app.command("list")
@guarded
def list_rates(data_dir: DataDir = None, database_url: DatabaseUrl = None, json: Json = False) -> None:
    """Show the rates."""
    from ..rules import money
    from ..usecases import rates

    with _market(data_dir, database_url) as market:
        known = rates.list_rates(market)
    text = "\n".join(f"1 {currency} is {money.to_text(usd)} dollars" for currency, usd in known.items())
    _say({currency: money.to_wire(usd) for currency, usd in known.items()}, text, json)


@admin.command("verify")
@guarded
def verify(data_dir: DataDir = None, database_url: DatabaseUrl = None, json: Json = False) -> None:
    """Recompute all money while the market runs; ends with status 1 at the first difference.

    Every order's charges from its prices, minutes and fees; every transfer, balance and hash; and for each
    currency, that what came in is what is held.
    """
    from ..usecases.verify import verify as recompute

    with _market(data_dir, database_url) as market:
        verdict = recompute(market)
    if json:
        show_json(verdict)
    elif verdict.difference is not None:
        typer.echo(str(verdict.difference))
    else:
        typer.echo(
            f"Everything adds up (ledger accounts: {verdict.accounts}, orders: {verdict.orders}, "
            f"transfers: {verdict.transfers})."
        )
        for currency, held in verdict.held.items():
            typer.echo(
                f"{currency}: {held.came_in} came in; wallets hold {held.wallets}, the market {held.market}"
            )
    if verdict.difference is not None:
        raise typer.Exit(1)


@admin.command("statement")
@guarded
def statement(
    email: Email,
    since: Since = None,
    until: Until = None,
    only: Annotated[
        Currency | None,
        typer.Option("--currency", help=CURRENCY_HELP, parser=_currency, metavar="CURRENCY"),
    ] = None,
    as_csv: Csv = False,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    json: Json = False,
) -> None:
    """Show what an account's wallets received and paid, and how each line was computed."""
    from ..api.open.statements import ReadStatement
    from ..usecases.statements import statement_pages

    check_span(since, until)
    request = ReadStatement(currency=only, since=since, until=until)
    with _market(data_dir, database_url) as market:
        show_statement(statement_pages(market, email, request), as_csv=as_csv, as_json=json)


@admin.command("backup")
@guarded
def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file; its owner alone may read it.")],
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    json: Json = False,
) -> None:
    """Write the whole market to one file while it runs: all that was done before is in it.

    The file is SQLite, whatever database the market runs on. It holds all wallets, and what signs webhooks:
    keep it as you keep the market.
    """
    from ..store.copies import back_up

    with _database(data_dir, database_url) as (store, _):
        back_up(store, file)
    size = file.stat().st_size
    _say({"file": str(file), "bytes": size}, f"Backed up to {file} ({size:,} bytes).", json)


@admin.command("restore")
@guarded
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="From openclore admin backup.")],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the market that is there: it is gone then.")
    ] = False,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    json: Json = False,
) -> None:
    """Make a market from a backup and verify it; ends with status 1 if it does not add up.

    Stop the market first: one that is served is not replaced, since it would go on with keys and offers that
    are gone.
    """
    from ..client.errors import SetupError
    from ..store.copies import NotEmpty, copy_market, opened_backup
    from ..usecases.market import Market
    from ..usecases.verify import verify as recompute

    with (
        said_in_a_line(),
        opened_backup(file) as backup,
        _database(data_dir, database_url, may_be_new=True) as (store, policy),
    ):
        try:
            rows = copy_market(backup, store, overwrite=overwrite)
        except NotEmpty as error:
            raise SetupError(f"{error}; --overwrite replaces it") from None
        difference = recompute(Market(store, policy)).difference
    _say(
        {"rows": rows, "difference": difference},
        f"Restored {sum(rows.values())} rows. {difference or 'Everything adds up.'}",
        json,
    )
    if difference is not None:
        raise typer.Exit(1)


@contextmanager
def _market(
    data_dir: Path | None, database_url: str | None, *, may_be_new: bool = False
) -> "Iterator[Market]":
    """The market these options name, which has the tables of this release; one that is new gets them.

    Nothing here brings older ones up: a process of their release may run on them.
    """
    from ..store.store import check_revision, migrate, revision
    from ..usecases.market import Market

    with _database(data_dir, database_url, may_be_new=may_be_new) as (store, policy):
        if may_be_new and revision(store) is None:
            migrate(store)
        check_revision(store)
        yield Market(store, policy)


@contextmanager
def _database(
    data_dir: Path | None, database_url: str | None, *, may_be_new: bool = False
) -> "Iterator[tuple[Store, Policy]]":
    """The database these options name, as it is; its refusals end the command with one readable line.

    One that is not there yet is a mistyped name, unless it `may_be_new`.
    """
    from ..store.store import open_database

    with said_in_a_line():
        settings = settings_of(data_dir, database_url, may_be_new=may_be_new)
        with closing(open_database(settings.database)) as store:
            yield store, settings.policy


def settings_of(data_dir: Path | None, database_url: str | None, *, may_be_new: bool = False) -> "Settings":
    """The settings of the market that these options name.

    Raises:
        SetupError: it is not there yet, and may not be new.
    """
    from ..server.settings import load

    flags = {"data_dir": str(data_dir) if data_dir else None, "database_url": database_url}
    settings = load(None, os.environ, flags)
    if not may_be_new:
        check_is_there(settings.database)
    return settings


def check_is_there(url: str) -> None:
    """
    Raises:
        SetupError: it names a file that is not there.
        StoreError: it is none.
    """
    from ..client.errors import SetupError
    from ..store.store import database_file

    file = database_file(url)
    if file is not None and not file.exists():
        raise SetupError(f"There is no market in {file}; start one with: openclore serve")


@contextmanager
def said_in_a_line() -> "Iterator[None]":
    """What a market or its database refuses ends the command with one readable line.

    The status is 2 where the database is not the one, and 1 where it failed at work.
    """
    from sqlalchemy.exc import SQLAlchemyError

    from ..client.errors import CloreError, SetupError
    from ..rules.money import AmountError
    from ..rules.refused import InvalidInput
    from ..server.settings import SettingsError
    from ..store.copies import NotEmpty
    from ..store.failures import for_the_operator
    from ..store.store import StoreBusy, StoreError

    try:
        yield
    except (InvalidInput, AmountError, SettingsError, StoreError, NotEmpty) as error:
        raise SetupError(str(error)) from None
    except StoreBusy:
        raise SetupError("the database is busy: nothing was done, try again") from None
    except SQLAlchemyError as error:
        raise CloreError(for_the_operator(error)) from None


def _now() -> int:
    return int(time.time())


def _say(data: Any, text: str, as_json: bool) -> None:
    if as_json:
        show_json(data)
    else:
        typer.echo(text)

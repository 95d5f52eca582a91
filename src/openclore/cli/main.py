"""openclore: the commands, put together.

Command modules import what they need inside their functions, so that `--help` is quick.
"""

import signal
from typing import Annotated

import typer

from openclore import __version__

from . import (
    admin,
    autopilot,
    conformance,
    db,
    demo,
    events,
    fees,
    gigaspot,
    host,
    limits,
    market,
    marketplace,
    orders,
    profile,
    sandbox,
    search,
    serve,
    servers,
    spot,
    statements,
    statistics,
    wallets,
    watch,
    webhooks,
)
from .errors import Commands, exit_codes_help

app = typer.Typer(
    name="openclore",
    cls=Commands,
    epilog=exit_codes_help(),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # joins the lines of a paragraph
    context_settings={"help_option_names": ["-h", "--help"]},
)

RENTERS, HOSTS, SETUP, OPERATORS = "Renting", "Hosting", "Set-up", "Running a market"
WATCHING = "Keeping watch"


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"openclore {__version__}")
        raise typer.Exit


@app.callback()
def openclore(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Rent, host and run GPU servers on a Clore-compatible market.

    The API key comes from CLORE_API_KEY or a profile (openclore profile set NAME). Data goes to stdout,
    messages to stderr; --json prints what a program can read.
    """


app.command("marketplace", rich_help_panel=RENTERS)(marketplace.marketplace)
app.command("search", rich_help_panel=RENTERS)(search.search)
app.command("statistics", rich_help_panel=RENTERS)(statistics.statistics)
app.command("rent", rich_help_panel=RENTERS)(orders.rent)
app.command("orders", rich_help_panel=RENTERS)(orders.orders)
app.command("order", rich_help_panel=RENTERS)(orders.order)
app.command("lease", rich_help_panel=RENTERS)(orders.lease)
app.command("cancel", rich_help_panel=RENTERS)(orders.cancel)
app.command("wallets", rich_help_panel=RENTERS)(wallets.wallets)
app.command("statement", rich_help_panel=RENTERS)(statements.statement)
app.command("fees", rich_help_panel=RENTERS)(fees.fees)
app.add_typer(spot.spot, name="spot", rich_help_panel=RENTERS)
app.add_typer(gigaspot.gigaspot, name="gigaspot", rich_help_panel=RENTERS)
app.add_typer(autopilot.autopilot, name="autopilot", rich_help_panel=WATCHING)
app.add_typer(market.market, name="market", rich_help_panel=WATCHING)
app.command("watch", rich_help_panel=WATCHING)(watch.watch)
app.command("events", rich_help_panel=WATCHING)(events.events)
app.add_typer(webhooks.webhook, name="webhook", rich_help_panel=WATCHING)
app.add_typer(limits.limit, name="limit", rich_help_panel=WATCHING)
app.command("servers", rich_help_panel=HOSTS)(servers.servers)
app.command("server-config", rich_help_panel=HOSTS)(servers.server_config)
app.command("set-server", rich_help_panel=HOSTS)(servers.set_server)
app.add_typer(servers.server, name="server", rich_help_panel=HOSTS)
app.command("host", rich_help_panel=HOSTS)(host.host)
app.command("serve", rich_help_panel=OPERATORS)(serve.serve)
app.command("demo", rich_help_panel=OPERATORS)(demo.demo)
app.add_typer(sandbox.sandbox, name="sandbox", rich_help_panel=OPERATORS)
app.command("conformance", rich_help_panel=OPERATORS)(conformance.conformance)
app.add_typer(admin.app, name="admin", rich_help_panel=OPERATORS)
app.add_typer(db.app, name="db", rich_help_panel=OPERATORS)
app.add_typer(profile.profile, name="profile", rich_help_panel=SETUP)


def run() -> None:
    """The `openclore` program."""
    try:
        app()
    finally:
        # Whoever presses Ctrl-C again while the interpreter leaves gets no traceback of its threads.
        signal.signal(signal.SIGINT, signal.SIG_DFL)

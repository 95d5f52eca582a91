"""openclore: the commands, put together.

Each is listed here and loaded when it is chosen; what it needs, it imports inside its functions. So `--help`
and every command start quickly. Help is plain text: importing Rich would take longer than all the rest.
"""

import re
import signal
from importlib import import_module
from typing import Annotated, Any

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup

from openclore import __version__

from .errors import exit_codes_help

COMMANDS = {
    "Renting": {
        "marketplace.marketplace": "Show what can be rented.",
        "search.search": "Have the market search its offers. Only OpenClore's markets can.",
        "statistics.statistics": (
            "Show what each GPU model costs and how much of it is rented. Only OpenClore's markets tell."
        ),
        "orders.rent": "Rent a server, wait until it answers, and say how to connect.",
        "orders.orders": "Show your orders.",
        "orders.order": "Show one order with all that happened to it. Only OpenClore's markets can.",
        "orders.lease": (
            "Renew an order's lease: unless it is renewed again in time, the order ends by itself."
        ),
        "orders.cancel": "End orders.",
        "wallets.wallets": "Show balances by currency.",
        "statements.statement": "Show what your wallets received and paid, and how each line was computed.",
        "fees.fees": "Show what renting costs beyond the price: percent of it, and an amount per order.",
        "spot.spot": "Look at and change bids.",
        "gigaspot.gigaspot": "Bid on GigaSPOT machines, in CLORE.",
    },
    "Keeping watch": {
        "autopilot.autopilot": (
            "Alerts, prices, settings and fleets that keep themselves, as a TOML file says."
        ),
        "market.market": "What a market looks like over time.",
        "watch.watch": "Tell somebody when a balance falls below an amount, and when it is back.",
        "events.events": (
            "Show what happened to your account, orders and servers. Only OpenClore's markets can."
        ),
        "webhooks.webhook": (
            "Have events sent to an address, signed (Standard Webhooks). Only OpenClore's markets can."
        ),
        "limits.limit": "Limit what your account or one of its keys may spend. Only OpenClore's markets can.",
    },
    "Hosting": {
        "servers.servers": "Show the servers you rent out.",
        "servers.server_config": "Show one server's settings and state.",
        "servers.set_server": "Change some settings of a server and keep the others.",
        "servers.server": "Change which servers you have. Only OpenClore's markets can.",
        "host.host": (
            "Rent out this machine: report what it is, and run the containers that the market wants."
        ),
    },
    "Running a market": {
        "serve.serve": (
            "Run a market until SIGTERM or Ctrl-C. Settings: TOML file, OPENCLORE_* variables, these options."
        ),
        "demo.demo": "Start a market here, attach this machine, take the tour, rent a container from it.",
        "sandbox.sandbox": (
            "Run a market to rehearse on until Ctrl-C: the real one, with a clock to turn, rivals and faults."
        ),
        "conformance.conformance": (
            "Check a market against the protocol of the API: what holds, and what differs."
        ),
        "admin.admin": "Operate a market: accounts, keys, money, servers, rates.",
        "db.db": "Move a market to another database, or bring its tables up.",
    },
    "Set-up": {
        "profile.profile": "Keep addresses and keys by name.",
    },
}
"""By panel: where a command is, MODULE.FUNCTION of this package, and the line that its own help begins with.

Its name is the function's, with - for _.
"""


PLAIN_WORDS = (
    (r"^Value error, (.*?)\.?$", r"\1"),
    (r"^Input should be a valid integer.*", "must be a whole number"),
    (r"^Input should be a valid number.*", "must be a number"),
    (r"^Input should be greater than or equal to (\S+)$", r"must be at least \1"),
    (r"^Input should be less than or equal to (\S+)$", r"must be at most \1"),
)
"""What Typer's validator says of a value, and how people say it."""


class Group(TyperGroup):
    """Commands under one name, listed with whole lines."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, (command.help or "").partition("\n\n")[0]) for name, command in self.commands.items()]
            )


class Commands(TyperGroup):
    """All commands, loaded when chosen; a negative number is no unknown option to them."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.places: dict[str, str] = {}
        for lines in COMMANDS.values():
            for place, line in lines.items():
                name = _name(place)
                self.places[name] = place
                self.add_command(TyperCommand(name, help=line))

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        for panel, lines in COMMANDS.items():
            with formatter.section(panel):
                formatter.write_dl([(_name(place), line) for place, line in lines.items()])

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, _, rest = super().resolve_command(ctx, args)
        return name, name and load(self.places[name]), rest

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            for theirs, ours in PLAIN_WORDS:
                error.message = re.sub(theirs, ours, error.message)
            raise
        except typer.TyperException as error:
            if not re.match(r"-[\d.]", getattr(error, "option_name", "")):
                raise
            raise typer.BadParameter("no number may be negative here", getattr(error, "ctx", None)) from None


def load(place: str) -> Any:
    """The command, or group of commands, that is at a place of `COMMANDS`."""
    module, _, function = place.partition(".")
    found = getattr(import_module(f".{module}", __package__), function)
    holder = typer.Typer(rich_markup_mode=None)
    if isinstance(found, typer.Typer):
        holder.add_typer(_listed(found), name=_name(place), cls=Group)
    else:
        holder.command(_name(place))(found)
    return typer.main.get_group(holder).commands[_name(place)]


def _listed(group: typer.Typer) -> typer.Typer:
    """The same with `Group` for the groups in it."""
    for inner in group.registered_groups:
        inner.cls = Group
    return group


def _name(place: str) -> str:
    return place.partition(".")[2].replace("_", "-")


app = typer.Typer(
    name="openclore",
    cls=Commands,
    epilog=exit_codes_help(),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


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


def run() -> None:
    """The `openclore` program."""
    try:
        app()
    finally:
        # Whoever presses Ctrl-C again while the interpreter leaves gets no traceback of its threads.
        signal.signal(signal.SIGINT, signal.SIG_DFL)

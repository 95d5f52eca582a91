"""openclore limit: the most an account, or one of its keys, may spend."""

from typing import Annotated

import typer

from openclore.api.open.limits import SpendLimit

from . import options
from .errors import guarded
from .output import Column, local_time, price, say, show_json, show_table

limit = typer.Typer(
    no_args_is_help=True,
    help="Limit what your account or one of its keys may spend. Only OpenClore's markets can.",
)

COLUMNS = [
    Column("ID", justify="right"),
    Column("OF"),
    Column("LIMIT", justify="right"),
    Column("SPENT", justify="right"),
    Column("CURRENCY"),
    Column("PER"),
    Column("SINCE", rank=1),
]


@limit.command("list")
@guarded
def list_limits(
    profile: options.Profile = None, base_url: options.BaseUrl = None, json: options.Json = False
) -> None:
    """Show the limits and what counts against them."""
    with options.client(profile, base_url) as clore:
        found = clore.spend_limits()
    if json:
        show_json(found)
        return
    show_table(COLUMNS, map(_row, found), empty="Nothing limits what this account spends but its wallets.")


@limit.command("set")
@guarded
def set_limit(
    amount: Annotated[float, typer.Argument(help="The most that may be spent, fees included.")],
    currency: Annotated[str, typer.Option(metavar="NAME", help=f"Of {options.CURRENCY_HELP}.")],
    per_day: Annotated[bool, typer.Option("--per-day", help="Per UTC day instead of in all.")] = False,
    key: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of this API key instead of the whole account.")
    ] = None,
    profile: options.Profile = None,
    base_url: options.BaseUrl = None,
    json: options.Json = False,
) -> None:
    """Limit spending from now on.

    Orders that would exceed the limit are refused; running ones end before they do, the newest first.
    """
    with options.client(profile, base_url) as clore:
        made = clore.set_spend_limit(
            options.currency(currency), amount, period="day" if per_day else "total", key=key
        )
    if json:
        show_json(made)
    else:
        show_table(COLUMNS, [_row(made)], empty="")


@limit.command("remove")
@guarded
def remove(
    limit_id: Annotated[int, typer.Argument(min=1, metavar="ID", help="From openclore limit list.")],
    profile: options.Profile = None,
    base_url: options.BaseUrl = None,
    json: options.Json = False,
) -> None:
    """Lift a limit."""
    with options.client(profile, base_url) as clore:
        clore.remove_spend_limit(limit_id)
    say(f"Limit {limit_id} is lifted.")
    if json:
        show_json({"removed": limit_id})


def _row(found: SpendLimit) -> list[object]:
    return [
        found.id,
        f"key {found.key}" if found.key else "account",
        price(found.amount, found.currency),
        price(found.spent, found.currency),
        found.currency,
        "day" if found.period == "day" else "total",
        local_time(found.since),
    ]

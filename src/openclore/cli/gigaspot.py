"""openclore gigaspot: the auction of machines apart from the market."""

import json as json_text
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from openclore.api.codes import explained
from openclore.api.gigaspot import SnapshotServer

from . import options
from .errors import guarded
from .output import Column, percent, price, say, show_json, show_table

gigaspot = typer.Typer(no_args_is_help=True, help="Bid on GigaSPOT machines, in CLORE.")

CLORE = "CLORE-Blockchain"
COLUMNS = [
    Column("SERVER", justify="right"),
    Column("GPU", rank=1, flexible=True),
    Column("LOWEST BID", justify="right"),
    Column("HIGHEST BID", justify="right"),
    Column("BIDS", rank=3, justify="right"),
    Column("YOURS", rank=1, justify="right"),
    Column("STATE", rank=2),
    Column("CC", rank=4),
    Column("RELIABLE", rank=5, justify="right"),
]


@gigaspot.command("list")
@guarded
def list_machines(
    profile: options.Profile = None, base_url: options.BaseUrl = None, json: options.Json = False
) -> None:
    """Show the machines and their bids, CLORE per day."""
    with options.client(profile, base_url) as clore:
        found = clore.gigaspot()
    if json:
        show_json({str(server_id): server for server_id, server in found.servers.items()})
        return
    rows = [_row(server_id, server, found.my_user_id) for server_id, server in found.servers.items()]
    show_table(COLUMNS, rows, empty="No machine is on GigaSPOT now.")
    if found.clore_price:
        say(f"1 CLORE is {price(found.clore_price, 'usd')} dollars.")


def _row(server_id: int, server: SnapshotServer, me: int | None) -> list[object]:
    bids = server.bids or []
    models = [gpu.model or "?" for gpu in server.gpus or ()]
    mine = next((bid for bid in bids if bid.owner == me), None)
    held = "rented" if server.on_demand_rented else "online" if server.online else "offline"
    return [
        server_id,
        ", ".join(f"{models.count(model)}x {model}" for model in dict.fromkeys(models)) or "-",
        price(server.min_bid, CLORE),
        price(max((bid.price or 0 for bid in bids), default=None), CLORE),
        len(bids),
        f"{price(mine.price, CLORE)} ({'runs' if mine.active else 'waits'})" if mine else "-",
        held,
        server.cc or "-",
        percent(server.reliability),
    ]


@gigaspot.command("bid")
@guarded
def bid(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="JSON list of bids; - reads stdin."),
    ],
    profile: options.Profile = None,
    base_url: options.BaseUrl = None,
    json: options.Json = False,
) -> None:
    """Place bids from a file.

    Each is an object like {"renting_server": 17, "image": "a3f9c4d7e5b088d8a0bff880", "price": 12.5,
    "oc": [{"pl": 250}]}: price in CLORE per day, one object of power limit and clocks per GPU.
    """
    wanted = _read(file)
    with options.client(profile, base_url) as clore:
        result = clore.create_gigaspot_orders(wanted)
    if json:
        show_json(result)
        return
    failed = {*result.failed_to_rent_servers, *result.failed_to_oc_servers, *result.too_low_bids_servers}
    say(f"Bid on {len(wanted) - len(failed)} of {len(wanted)} machines.")
    for what, ids in (
        ("The bid is too low on", result.too_low_bids_servers),
        ("The clocks do not fit", result.failed_to_oc_servers),
        ("Not rented:", result.failed_to_rent_servers),
    ):
        if ids:
            say(f"{what} {', '.join(map(str, ids))}")
    for server_id, reason in (result.reasons or {}).items():
        say(f"Server {server_id}: {explained(reason)}")
    if failed:
        raise typer.Exit(8)


def _read(file: Path) -> list[dict[str, Any]]:
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(errors="replace")
    except OSError as problem:
        raise typer.BadParameter(f"{file} can't be read: {problem.strerror}") from None
    try:
        wanted = json_text.loads(text)
    except (ValueError, RecursionError) as problem:
        raise typer.BadParameter(f"{file} is not JSON: {problem}") from None
    if not isinstance(wanted, list) or not all(isinstance(item, dict) for item in wanted):
        raise typer.BadParameter(f"{file} must hold a list of objects")
    return wanted


@gigaspot.command("edit")
@guarded
def edit(
    order_id: Annotated[int, typer.Argument(min=1, help="Your bid, from openclore orders.")],
    amount_per_day: Annotated[float, typer.Argument(metavar="AMOUNT", help="New bid, CLORE per day.")],
    profile: options.Profile = None,
    base_url: options.BaseUrl = None,
    json: options.Json = False,
) -> None:
    """Change a bid."""
    with options.client(profile, base_url) as clore:
        result = clore.edit_gigaspot_orders([{"order_id": order_id, "price": amount_per_day}])
    if json:
        show_json(result)
    elif order_id in result.success_to_update_ids:
        say(f"Order {order_id} now bids {price(amount_per_day, CLORE)} CLORE a day.")
    else:
        low = order_id in result.too_low_bid_ids
        guess = "The bid is too low." if low else "It is no bid of yours."
        reason = (result.reasons or {}).get(order_id)
        say(f"Order {order_id} is unchanged. {explained(reason) if reason else guess}")
    if order_id not in result.success_to_update_ids:
        raise typer.Exit(8)

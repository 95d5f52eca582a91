"""openclore spot: the bids on a server, and changing one's own."""

from typing import Annotated

import typer

from . import options
from .errors import guarded
from .output import Column, price, say, show_json, show_table

spot = typer.Typer(no_args_is_help=True, help="Look at and change bids.")

COLUMNS = [
    Column("ORDER", justify="right"),
    Column("BID/DAY", justify="right"),
    Column("CURRENCY"),
    Column("$/DAY", rank=1, justify="right"),
    Column("RUNS"),
    Column("YOURS"),
]


@spot.command("market")
@guarded
def spot_market(
    server_id: Annotated[int, typer.Argument(min=1, help="Server id.")],
    profile: options.Profile = None,
    base_url: options.BaseUrl = None,
    json: options.Json = False,
) -> None:
    """Show the bids on a server and the lowest it takes.

    Bids in different currencies are compared in dollars.
    """
    with options.client(profile, base_url) as clore:
        market = clore.spot_marketplace(server_id)
    if json:
        show_json(market)
        return
    rates = market.currency_rates_in_usd or {}
    rows = []
    for offer in market.offers or ():
        coin = offer.currency or ""
        rate = rates.get(coin)
        dollars = offer.bid * rate if offer.bid is not None and rate else None
        rows.append(
            (
                offer.offer_id if offer.offer_id is not None else "-",
                price(offer.bid, coin),
                coin or "-",
                price(dollars, "usd"),
                "yes" if offer.active else "-",
                "yes" if offer.my else "-",
            )
        )
    show_table(COLUMNS, rows, empty="Nobody bids on this server.")
    floor = (market.server and market.server.min_pricing) or {}
    listed = ", ".join(f"{price(value, coin)} {coin}" for coin, value in floor.items() if value is not None)
    if listed:
        say(f"Lowest bid per day: {listed}")


@spot.command("price")
@guarded
def spot_price(
    order_id: Annotated[int, typer.Argument(min=1, help="Your spot order.")],
    amount: Annotated[float, typer.Argument(help="New bid per day, in the order's currency.")],
    profile: options.Profile = None,
    base_url: options.BaseUrl = None,
    json: options.Json = False,
) -> None:
    """Change a bid.

    Raising is free; lowering is limited in time and size.
    """
    with options.client(profile, base_url) as clore:
        clore.set_spot_price(order_id, amount)
    say(f"Order {order_id} now bids {price(amount, '')} a day.")
    if json:
        show_json({"order_id": order_id, "bid": amount})

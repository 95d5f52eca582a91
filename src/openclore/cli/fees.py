"""openclore fees: what renting costs beyond the price."""

from . import options
from .errors import guarded
from .output import Column, amount, percent, price, say, show_json, show_table

COLUMNS = [
    Column("CURRENCY"),
    Column("ON DEMAND", justify="right"),
    Column("SPOT", justify="right"),
    Column("PER ORDER", justify="right"),
    Column("PER SPOT ORDER", rank=1, justify="right"),
]


@guarded
def fees(
    profile: options.Profile = None, base_url: options.BaseUrl = None, json: options.Json = False
) -> None:
    """Show what renting costs beyond the price: percent of it, and an amount per order."""
    with options.client(profile, base_url) as clore:
        found = clore.renter_fees()
    if json:
        show_json(found)
        return
    tables = found.renter_fees
    on_demand = (tables and tables.on_demand and tables.on_demand.base) or {}
    spot = (tables and tables.spot and tables.spot.base) or {}
    per_order = (found.creation_fees and found.creation_fees.on_demand) or {}
    per_bid = (found.creation_fees and found.creation_fees.spot) or {}
    rows = [
        (
            coin,
            _percent(on_demand.get(coin)),
            _percent(spot.get(coin)),
            price(per_order.get(coin, 0), coin),
            price(per_bid.get(coin, 0), coin),
        )
        for coin in dict.fromkeys([*on_demand, *spot, *per_order, *per_bid])
    ]
    show_table(COLUMNS, rows, empty="This market names no fees.")
    if found.poh_balance:
        say(f"Your Proof of Holding stake of {amount(found.poh_balance)} CLORE lowers the percentages.")


def _percent(value: float | None) -> str:
    return "-" if value is None else percent(value / 100, 2)

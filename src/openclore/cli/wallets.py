"""openclore wallets."""

from . import options
from .errors import guarded
from .output import Column, price, show_json, show_table

COLUMNS = [
    Column("CURRENCY"),
    Column("BALANCE", justify="right"),
    Column("WITHDRAWAL FEE", rank=1, justify="right"),
    Column("DEPOSIT ADDRESS", rank=2),
]


@guarded
def wallets(
    profile: options.Profile = None, base_url: options.BaseUrl = None, json: options.Json = False
) -> None:
    """Show balances by currency."""
    with options.client(profile, base_url) as clore:
        found = clore.wallets()
    if json:
        show_json(found)
        return
    rows = [
        (w.wire_name, price(w.available, w.wire_name), price(w.withdrawal_fee, w.wire_name), w.deposit or "-")
        for w in found
    ]
    show_table(COLUMNS, rows, empty="This account has no wallets.")

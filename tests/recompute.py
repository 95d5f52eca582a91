"""Computing a statement anew from nothing but itself, as docs/money.md says, in plain integers."""

import json
from hashlib import sha256
from typing import Any

import msgspec
from sqlalchemy import select

from openclore.api.open.statements import ReadStatement
from openclore.store.tables import accounts
from openclore.usecases.market import Market
from openclore.usecases.statements import statement_pages


def check_statements(market: Market) -> int:
    """Compute all statements of a market anew; how many lines there were."""
    with market.store.reading() as tx:
        emails = list(tx.execute(select(accounts.c.email)).scalars())
    count = 0
    for email in emails:
        pages = list(statement_pages(market, email, ReadStatement()))
        lines = json.loads(msgspec.json.encode([line for page in pages for line in page.lines]))
        wallets = {w.currency: (units(w.balance), w.hash) for w in pages[-1].wallets if w.hash}
        assert check(lines) == wallets
        count += len(lines)
    return count


def units(decimal: str) -> int:
    """A decimal text as a count of 10⁻⁸."""
    whole, _, decimals = decimal.lstrip("-").partition(".")
    count = int(whole) * 10**8 + int(decimals.ljust(8, "0"))
    return -count if decimal.startswith("-") else count


def recomputed(line: dict[str, Any]) -> int:
    """The amount of a line, without its sign, from what it says of how it was computed."""
    how = dict(word.split("=") for word in line["how"].split())
    first, last = map(int, how["minutes"].split(".."))
    spend = units(how["spend_before"]) + units(how["price"]) * (last - first) // 1440
    to_host = spend - spend * units(how["host_fee"].rstrip("%")) // 10**10
    if line["kind"] == "rental":
        return to_host - units(how["paid_before"])
    renter_part = spend * units(how["renter_fee"].rstrip("%")) // 10**10
    charge = spend + renter_part + units(how["creation_fee"])
    return charge - to_host - units(how["paid_before"])


def check(lines: list[dict[str, Any]]) -> dict[str, tuple[int, str]]:
    """Compute a whole statement anew, to the last unit and hash; the balance and hash of each wallet."""
    wallets: dict[str, tuple[int, str]] = {}
    paid: dict[tuple[str, str], int] = {}
    for line in lines:
        if line["how"]:
            assert abs(units(line["amount"])) == recomputed(line)
            of = (line["reference"], line["kind"])
            assert f"paid_before={line['how'].rpartition('=')[2]}" in line["how"]
            assert units(line["how"].rpartition("=")[2]) == paid.get(of, 0)
            paid[of] = paid.get(of, 0) + recomputed(line)
        balance, previous = wallets.get(line["currency"], (0, ""))
        assert (units(line["balance"]), line["previous"]) == (balance + units(line["amount"]), previous)
        content = ("previous", "currency", "at", "kind", "reference", "amount", "balance", "how")
        assert line["hash"] == sha256("|".join(str(line[name]) for name in content).encode()).hexdigest()
        wallets[line["currency"]] = (units(line["balance"]), line["hash"])
    return wallets

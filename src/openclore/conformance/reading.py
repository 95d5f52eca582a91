"""Checks of what the endpoints that only read answer: members, types, units."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from openclore.api import endpoints
from openclore.api.codes import Code, Refusal
from openclore.api.endpoints import Endpoint
from openclore.api.gigaspot import SnapshotServer
from openclore.api.servers import MRL_HOURS_MAX, MRL_HOURS_MIN
from openclore.client.errors import CloreError

from .findings import Finding, Mark, judged, not_checked
from .market import Market, Seen
from .shapes import Misfit, misfits, missing

NOBODYS_ID = 2_147_483_647
"""No market has so many servers or orders."""
NOBODYS_NAME = "no such server 7f3a9c"
SHOWN_MAX = 3


@dataclass
class Known:
    """What was read on the way and later checks build upon. Rows are as they came."""

    balances: dict[str, float] = field(default_factory=dict)
    offers: list[dict[str, Any]] = field(default_factory=list)
    mine: list[dict[str, Any]] = field(default_factory=list)
    active: list[dict[str, Any]] = field(default_factory=list)
    finished: list[dict[str, Any]] = field(default_factory=list)
    fees: dict[str, Any] = field(default_factory=dict)

    @property
    def my_server_ids(self) -> list[Any]:
        return [server.get("id") for server in self.mine]


def wallets(market: Market, known: Known) -> Iterator[Finding]:
    seen = market.get("wallets")
    rows = _rows(seen, "wallets")
    yield _members(endpoints.WALLETS, seen, Mark.DOC, rows, ("name", "balance"), "wallets")
    yield _types(endpoints.WALLETS, seen, nullable=("wallets[].balance",))
    known.balances = {
        row["name"]: row["balance"]
        for row in rows
        if isinstance(row.get("name"), str) and isinstance(row.get("balance"), int | float)
    }


def marketplace(market: Market, known: Known) -> Iterator[Finding]:
    about = endpoints.MARKETPLACE
    seen = market.ask("GET", "marketplace", headers={})
    holds = seen.is_(200, Code.OK)
    yield judged(about.name, "answers without a key", Mark.SEEN, holds, seen, "HTTP 200, code 0")
    seen = market.get("marketplace")
    rows = known.offers = _rows(seen, "servers")
    documented = ("id", "owner", "mrl", "rented", "specs", "price.on_demand", "price.spot", "allowed_coins")
    yield _members(about, seen, Mark.DOC, rows, documented, "servers")
    yield _types(about, seen)
    yield _hours(about.name, [row.get("mrl") for row in rows])
    shares = [row["reliability"] for row in rows if isinstance(row.get("reliability"), int | float)]
    wrong = [share for share in shares if not 0 <= share <= 1]
    yield _all("marketplace", "reliability is 0 to 1", Mark.SEEN, shares, wrong, "0 to 1")
    gpus = [
        row["specs"]["gpu"] for row in rows if isinstance(row.get("specs"), dict) and row["specs"].get("gpu")
    ]
    wrong = [gpu for gpu in gpus if not re.match(r"\d+x \S", str(gpu))]
    yield _all("marketplace", "specs.gpu begins with a count", Mark.SEEN, gpus, wrong, "like 2x NVIDIA ...")
    yield _prices_of_refused_currencies(rows)


def _prices_of_refused_currencies(rows: list[dict[str, Any]]) -> Finding:
    """Acceptance is told by `allowed_coins` alone, so some servers have a price that they refuse."""
    check = "prices are no acceptance"
    choosy = [row for row in rows if _refused_prices(row)]
    if not choosy:
        return not_checked("marketplace", check, Mark.SEEN, "no server prices a currency it refuses")
    return judged("marketplace", check, Mark.SEEN, True, f"{len(choosy)} servers price what they refuse", "")


def _refused_prices(row: dict[str, Any]) -> set[str]:
    priced = {currency for currency, price in _prices(row, "on_demand").items() if price}
    accepted = row.get("allowed_coins")
    return {currency for currency in priced if isinstance(accepted, list) and currency not in accepted}


def _prices(row: dict[str, Any], which: str) -> dict[str, Any]:
    price = row.get("price")
    found = price.get(which) if isinstance(price, dict) else None
    return found if isinstance(found, dict) else {}


def my_orders(market: Market, known: Known) -> Iterator[Finding]:
    about = endpoints.MY_ORDERS
    seen = market.get("my_orders")
    active = known.active = _rows(seen, "orders")
    everything = market.get("my_orders", return_completed="true")
    known.finished = [row for row in _rows(everything, "orders") if row.get("expired")]
    documented = ("id", "si", "ct", "mrl", "price", "currency", "image", "online", "spend", "creation_fee")
    yield _members(about, seen, Mark.DOC, active, documented, "orders", "limit")
    yield _members(
        about, everything, Mark.DOC, known.finished, ("id", "si", "expired"), "orders", what="ended orders"
    )
    yield _types(about, everything, nullable=("orders[].status",))
    ended = [row.get("id") for row in active if row.get("expired")]
    yield _all("my_orders", "ended orders only if asked for", Mark.DOC, active, ended, "none expired")
    every_id = [row.get("id") for row in _rows(everything, "orders")]
    lacking = [row.get("id") for row in active if row.get("id") not in every_id]
    yield _all(
        "my_orders", "return_completed=true lists all", Mark.DOC, active, lacking, "the active ones too"
    )
    yield lengths_in_seconds([*active, *known.finished])
    texts = [f"{row.get('id')}: {pair}" for row in active for pair in row.get("tcp_ports") or ()]
    wrong = [text for text in texts if not re.search(r": \d+:\d+$", text)]
    yield _all("my_orders", "tcp_ports are inner:outer", Mark.DOC, texts, wrong, "like 22:31022")


def lengths_in_seconds(rows: Sequence[dict[str, Any]]) -> Finding:
    lengths = [row["mrl"] for row in rows if isinstance(row.get("mrl"), int)]
    wrong = [mrl for mrl in lengths if not MRL_HOURS_MIN * 3_600 <= mrl <= MRL_HOURS_MAX * 3_600]
    return _all("my_orders", "mrl is in seconds", Mark.SEEN, lengths, wrong, "6 to 3,000 hours, in seconds")


def spot_marketplace(market: Market, known: Known) -> Iterator[Finding]:
    about = endpoints.SPOT_MARKETPLACE
    if known.offers:
        seen = market.get("spot_marketplace", market=known.offers[0].get("id"))
        content = seen.content.get("market")
        inside = content if isinstance(content, dict) else {}
        bids = inside.get("offers") if isinstance(inside.get("offers"), list) else []
        yield _members(
            about, seen, Mark.DOC, bids or [], ("offer_id", "bid", "active", "my"), "market", what="bids"
        )
        lacking = missing([inside], ("offers", "currency_rates_in_usd", "server.min_pricing", "server.mrl"))
        expected = "offers, server and currency_rates_in_usd"
        yield judged(
            about.name,
            "floor and rates are there",
            Mark.DOC,
            not lacking,
            _list(lacking) or "they are",
            expected,
        )
        yield _types(about, seen)
        server = inside.get("server")
        yield _hours(about.name, [server.get("mrl")] if isinstance(server, dict) else [])
        exists = seen.content.get("exists")
        yield judged(about.name, "exists, for a listed server", Mark.SEEN, exists is True, exists, "true")
    else:
        yield not_checked(about.name, "a listed server", Mark.DOC, "no server is listed")
    seen = market.get("spot_marketplace", market=NOBODYS_ID)
    holds = seen.is_(200, Code.OK) and seen.content.get("exists") is False
    yield judged(about.name, "exists, for no server", Mark.INFERRED, holds, seen, "code 0, exists false")


def my_servers(market: Market, known: Known) -> Iterator[Finding]:
    seen = market.get("my_servers")
    known.mine = _rows(seen, "servers")
    documented = ("name", "connected", "online", "visibility", "pricing", "min_spot_pricing")
    yield _members(endpoints.MY_SERVERS, seen, Mark.DOC, known.mine, documented, "servers", "limit")
    yield _types(endpoints.MY_SERVERS, seen)


def server_config(market: Market, known: Known) -> Iterator[Finding]:
    """A server of the caller's if there is one; else the refusal shows that the name arrived."""
    about = endpoints.SERVER_CONFIG
    name = known.mine[0].get("name") if known.mine else NOBODYS_NAME
    asked = {"server_name": name}
    variants = (
        ("the name in a GET body", Mark.DOC, market.ask("GET", about.name, body=asked)),
        ("the name in the query", Mark.INFERRED, market.ask("GET", about.name, query=asked)),
        ("the name in a POST body", Mark.INFERRED, market.ask("POST", about.name, body=asked)),
    )
    for check, mark, seen in variants:
        if known.mine:
            config = seen.content.get("config")
            holds = seen.is_(200, Code.OK) and isinstance(config, dict) and config.get("name") == name
            told = "the server" if holds else str(seen)
            yield judged(about.name, check, mark, holds, told, "the server with this name")
        else:
            holds = seen.is_(None, Code.BUSINESS) and seen.error == Refusal.SERVER_DONT_EXIST_BY_NAME
            yield judged(about.name, check, mark, holds, seen, "code 6, server_dont_exist")
    seen = variants[0][2]
    if known.mine:
        documented = tuple(
            f"config.{member}" for member in ("name", "pricing", "spot_pricing", "mrl", "online")
        )
        lacking = missing([seen.content], documented)
        told = _list(lacking) or "all there"
        yield judged(about.name, "documented members", Mark.DOC, not lacking, told, _list(documented))
        yield _types(about, seen)
        config = seen.content.get("config")
        yield _hours(about.name, [config.get("mrl")] if isinstance(config, dict) else [])
    else:
        yield not_checked(about.name, "members and types", Mark.DOC, "the key has no server")


def account(market: Market, known: Known) -> Iterator[Finding]:
    seen = market.get("renter_fees")
    known.fees = seen.content
    documented = (
        "renter_fees.on_demand.base",
        "renter_fees.spot.base",
        "creation_fees",
        "poh_config",
        "poh_balance",
    )
    yield _members(endpoints.RENTER_FEES, seen, Mark.SEEN, [seen.content], documented)
    yield _types(endpoints.RENTER_FEES, seen)
    seen = market.get("poh_balance")
    yield _members(
        endpoints.POH_BALANCE, seen, Mark.SEEN, [seen.content], ("items", "balance.total", "count")
    )
    yield _types(endpoints.POH_BALANCE, seen)


def gigaspot(market: Market, known: Known) -> Iterator[Finding]:
    about = endpoints.GET_GIGASPOT
    seen = market.get("get_gigaspot")
    documented = ("my_user_id", "v1_snapshot_url", "clore_price")
    yield _members(about, seen, Mark.DOC, [seen.content], documented)
    yield _types(about, seen)
    url = seen.content.get("v1_snapshot_url")
    if not isinstance(url, str):
        yield not_checked(about.name, "the snapshot", Mark.SEEN, "its address is missing")
        return
    holds = bool(re.search(r"_\d+\.json$", url))
    yield judged(about.name, "the snapshot's address", Mark.DOC, holds, url, "ends in _<unix seconds>.json")
    try:
        snapshot = market.fetch(url)
    except CloreError as error:
        yield judged(about.name, "the snapshot", Mark.SEEN, False, error, "it can be fetched")
        return
    found = list(misfits(dict[str, SnapshotServer], snapshot.content))
    wrong = [each for each in found if each.kind == "wrong"]
    holds = snapshot.status == 200 and not wrong
    told = f"{len(snapshot.content)} machines" if holds else _told(wrong) or str(snapshot)
    yield judged(
        about.name, "the snapshot", Mark.SEEN, holds, told, "machines with bids by server id", _notes(found)
    )


# What the checks share ------------------------------------------------------------------------------


def _rows(seen: Seen, member: str) -> list[dict[str, Any]]:
    rows = seen.content.get(member)
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _members(
    endpoint: Endpoint[Any, Any],
    seen: Seen,
    mark: Mark,
    rows: Sequence[Any],
    documented: Sequence[str],
    *top: str,
    what: str = "",
) -> Finding:
    """The documented members are there, at the top and in every row."""
    check = f"members of {what}" if what else "documented members"
    if not seen.is_(200, Code.OK):
        return judged(endpoint.name, check, mark, False, seen, "HTTP 200, code 0")
    lacking = missing([seen.content], top) + missing(rows, documented)
    if not lacking and not rows:
        return not_checked(endpoint.name, check, mark, f"there are no {what or 'rows'}")
    told = f"not {_list(lacking)}" if lacking else f"all there in {len(rows)}"
    return judged(endpoint.name, check, mark, not lacking, told, _list((*top, *documented), limit=20))


def _types(endpoint: Endpoint[Any, Any], seen: Seen, nullable: Sequence[str] = ()) -> Finding:
    """What is there has its type. Unknown members and nulls are worth a note."""
    check = "types"
    if not seen.is_(200, Code.OK):
        return not_checked(endpoint.name, check, Mark.SEEN, "no success to look at")
    found = [
        each
        for each in misfits(endpoint.reply, seen.content)
        if each.kind != "null" or each.path not in nullable
    ]
    wrong = [each for each in found if each.kind == "wrong"]
    told = _told(wrong) or "as the protocol says"
    return judged(endpoint.name, check, Mark.SEEN, not wrong, told, "the protocol's types", _notes(found))


def _told(wrong: list[Misfit]) -> str:
    counts = Counter(each.text for each in wrong)
    return _list([f"{text} (in {count})" for text, count in counts.most_common()])


def _notes(found: list[Misfit]) -> tuple[str, ...]:
    unknown = dict.fromkeys(each.path for each in found if each.kind == "unknown")
    null = dict.fromkeys(each.path for each in found if each.kind == "null")
    notes = [f"not in the protocol: {_list(list(unknown), limit=10)}"] if unknown else []
    return (*notes, *([f"null: {_list(list(null), limit=10)}"] if null else []))


def _hours(about: str, lengths: Sequence[Any]) -> Finding:
    numbers = [mrl for mrl in lengths if isinstance(mrl, int)]
    wrong = [mrl for mrl in numbers if not 0 < mrl <= MRL_HOURS_MAX]
    return _all(about, "mrl is in hours", Mark.SEEN, numbers, wrong, f"at most {MRL_HOURS_MAX:,} hours")


def _all(
    about: str, check: str, mark: Mark, looked_at: Sequence[Any], wrong: Sequence[Any], expected: str
) -> Finding:
    if not looked_at:
        return not_checked(about, check, mark, "there is none to look at")
    told = f"not {_list(wrong)}" if wrong else f"so in {len(looked_at)}"
    return judged(about, check, mark, not wrong, told, expected)


def _list(items: Sequence[Any], limit: int = SHOWN_MAX) -> str:
    more = f" and {len(items) - limit} more" if len(items) > limit else ""
    return ", ".join(map(str, items[:limit])) + more

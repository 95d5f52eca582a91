"""Checks of refusals that can be had without spending: everything asked for does not exist."""

from collections.abc import Iterator
from typing import Any

from openclore.api.codes import Code, Refusal
from openclore.api.orders import ISSUE_LENGTH_MAX

from .findings import Finding, Mark, judged, not_checked
from .market import Market, Seen
from .reading import NOBODYS_ID, NOBODYS_NAME, Known

LIVE_STATUS = {Refusal.SERVER_ALREADY_RENTED: 200, Refusal.CURRENCY_NOT_ALLOWED: 500}
"""HTTP statuses of code 6 that were recorded; those of the others are not known."""
ORDER = {
    "renting_server": NOBODYS_ID,
    "type": "on-demand",
    "currency": "CLORE-Blockchain",
    "image": "cloreai/jupyter:ubuntu24.04-v2",
    "ports": {"22": "tcp"},
}
BASE_IMAGE = "a3f9c4d7e5b088d8a0bff880"
OLDER_SETTINGS = {
    "name": NOBODYS_NAME,
    "availability": False,
    "mrl": 24,
    "on_demand": 0.0001,
    "spot": 0.00005,
}
NEWER_SETTINGS = {
    "name": NOBODYS_NAME,
    "availability": False,
    "mrl": 24,
    "bitcoin_on_demand": 0.0001,
    "bitcoin_spot": 0.00005,
    "CLORE-Blockchain_on_demand": 400,
    "CLORE-Blockchain_spot": 250,
    "enabled-bitcoin": True,
    "enabled-CLORE-Blockchain": True,
    "enabled-USD-Blockchain": False,
    "autoprice": {"CLORE-Blockchain": False, "bitcoin": False},
    "a member that nobody knows": 1,
}


def refused(
    market: Market, about: str, check: str, mark: Mark, seen: Seen, *reasons: Refusal, also: str = ""
) -> Finding:
    """It is refused for one of these reasons, with the HTTP status that goes with the dialect.

    `also` names reasons that are right too, but say nothing about this check: the market looks at something
    else first.
    """
    status = 200 if market.says_open else LIVE_STATUS.get(reasons[0])
    expected = f"{f'HTTP {status}, ' if status else ''}code 6, {' or '.join(reasons)}"
    if seen.code == Code.BUSINESS and seen.error in also.split():
        return not_checked(about, check, mark, f"it says {seen.error} first")
    holds = seen.is_(status, Code.BUSINESS) and seen.error in list(reasons)
    return judged(about, check, mark, holds, seen, expected)


def create_order(market: Market, known: Known) -> Iterator[Finding]:
    seen = market.post("create_order", ORDER)
    yield refused(market, "create_order", "no such server", Mark.DOC, seen, Refusal.SERVER_DONT_EXIST)
    seen = market.post("create_order", {**ORDER, "env": {"NAME": "a&b"}})
    check = "a forbidden character in env"
    if seen.error == Refusal.SERVER_DONT_EXIST:
        yield not_checked("create_order", check, Mark.SEEN, "it looks for the server first")
    elif market.says_open:
        holds = seen.is_(400, Code.INVALID_INPUT)
        yield judged("create_order", check, Mark.OPEN, holds, seen, "HTTP 400, code 2, with the reason")
    else:
        holds = seen.is_(500, Code.DATABASE_ERROR) and seen.error is None
        yield judged("create_order", check, Mark.SEEN, holds, seen, "HTTP 500, code 1 without a reason")


def cancel_order(market: Market, known: Known) -> Iterator[Finding]:
    about = "cancel_order"
    by_number = market.post(about, {"id": NOBODYS_ID})
    holds = by_number.code == Code.INVALID_ENDPOINT or by_number.error == Refusal.YOU_DONT_OWN_THIS_ORDER
    expected = "code 6, you_dont_own_this_order, or code 4"
    yield judged(about, "no such order", Mark.INFERRED, holds, by_number, expected)
    by_text = market.post(about, {"id": str(NOBODYS_ID)})
    same = (by_text.code, by_text.error) == (by_number.code, by_number.error)
    yield judged(about, "an id as text", Mark.SEEN, same, by_text, "the same answer as to the number")
    order_id = known.finished[-1].get("id") if known.finished else NOBODYS_ID
    seen = market.post(about, {"id": order_id, "issue": "x" * (ISSUE_LENGTH_MAX + 1)})
    yield refused(
        market,
        about,
        "an issue that is too long",
        Mark.DOC,
        seen,
        Refusal.ISSUE_DESCRIPTION_TOO_LONG,
        also=f"{Refusal.YOU_DONT_OWN_THIS_ORDER} {Refusal.ORDER_NOT_ACTIVE}",
    )
    check = "an order that ended"
    if known.finished:
        seen = market.post(about, {"id": order_id})
        yield refused(market, about, check, Mark.DOC, seen, Refusal.ORDER_NOT_ACTIVE)
    else:
        yield not_checked(about, check, Mark.DOC, "the key has none")


def set_spot_price(market: Market, known: Known) -> Iterator[Finding]:
    seen = market.post("set_spot_price", {"order_id": NOBODYS_ID, "desired_price": 1})
    yield refused(market, "set_spot_price", "no such order", Mark.DOC, seen, Refusal.ORDER_DONT_EXIST)


def set_server_settings(market: Market, known: Known) -> Iterator[Finding]:
    about = "set_server_settings"
    bodies: list[tuple[str, Mark, dict[str, Any], Refusal]] = [
        ("no such server, older body", Mark.DOC, OLDER_SETTINGS, Refusal.SERVER_DONT_EXIST_BY_NAME),
        ("no such server, newer body", Mark.SEEN, NEWER_SETTINGS, Refusal.SERVER_DONT_EXIST_BY_NAME),
        ("members are missing", Mark.DOC, {"availability": False}, Refusal.NOT_ALL_PARAMETERS_PRESENT),
    ]
    for check, mark, body, reason in bodies:
        yield refused(market, about, check, mark, market.post(about, body), reason)


def gigaspot(market: Market, known: Known) -> Iterator[Finding]:
    bid = {"renting_server": NOBODYS_ID, "image": BASE_IMAGE, "price": 0.0001, "oc": [{"pl": 100}]}
    for about, body, member in (
        ("create_gigaspot_orders", [bid | {"currency": "CLORE-Blockchain"}], "failed_to_rent_servers"),
        ("edit_gigaspot_orders", [{"order_id": NOBODYS_ID, "price": 0.0001}], "failed_to_update_ids"),
        ("cancel_orders", {"order_ids": [NOBODYS_ID]}, "failed_to_cancel"),
    ):
        seen = market.post(about, body)
        holds = seen.is_(200, Code.OK) and seen.content.get(member) == [NOBODYS_ID]
        yield judged(about, "one that is not there", Mark.DOC, holds, seen, f"code 0, {member} has it")

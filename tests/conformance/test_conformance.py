"""Our market holds in both dialects; one that is spoiled in one place is found out in that place."""

from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openclore.api.codes import Refusal
from openclore.api.dialects import Dialect
from openclore.api.endpoints import ENDPOINTS
from openclore.client.errors import NetworkError
from openclore.conformance.findings import Finding, Result
from openclore.conformance.run import run
from openclore.rules.refused import Refused
from openclore.usecases import orders

from .conftest import Answer, Rehearsal, Spoil

New = Callable[[Dialect], Rehearsal]


def differing(findings: list[Finding]) -> list[str]:
    return [f"{f.about}: {f.check}" for f in findings if f.result is Result.DIFFERS]


def told(findings: list[Finding]) -> str:
    return "\n".join(f"{f.about}: {f.check}: {f.seen}, not {f.expected}" for f in findings)


# Ours -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", list(Dialect))
def test_our_market_holds_for_a_renter(new_rehearsal: New, dialect: Dialect) -> None:
    rehearsal = new_rehearsal(dialect)
    findings = rehearsal.findings(spend=True)
    assert differing(findings) == [], told(findings)
    assert sum(finding.result is Result.HOLDS for finding in findings) > 80
    assert rehearsal.world.difference() is None


def test_our_market_holds_where_bids_are_so_small_that_any_step_is(new_rehearsal: New) -> None:
    rehearsal = new_rehearsal(Dialect.LIVE)
    rehearsal.world.set_server("rack-1", usd_on_demand=0.3, usd_spot=0.2)
    rehearsal.service.catch_up()
    findings = rehearsal.findings(spend=True)
    assert differing(findings) == [], told(findings)
    assert "lowering again at once" in [f.check for f in findings if f.result is Result.HOLDS]


@pytest.mark.parametrize("dialect", list(Dialect))
def test_our_market_holds_for_a_host(new_rehearsal: New, dialect: Dialect) -> None:
    rehearsal = new_rehearsal(dialect)
    findings = rehearsal.findings(key=rehearsal.host_key)
    assert differing(findings) == [], told(findings)


def test_reading_changes_nothing(new_rehearsal: New) -> None:
    rehearsal = new_rehearsal(Dialect.OPEN)
    rehearsal.world.rent()
    rehearsal.findings()
    rehearsal.findings(key=rehearsal.host_key)
    assert [order.expired for order in rehearsal.world.orders().values()] == [None]


def test_spending_leaves_no_order_behind_and_costs_cents(new_rehearsal: New) -> None:
    rehearsal = new_rehearsal(Dialect.LIVE)
    rehearsal.findings(spend=True)
    orders = rehearsal.world.orders().values()
    assert len(orders) == 2
    assert all(order.expired for order in orders)
    assert rehearsal.world.balance() > 9_90000000


def test_nothing_dearer_than_allowed_is_rented(new_rehearsal: New) -> None:
    rehearsal = new_rehearsal(Dialect.OPEN)
    with rehearsal.market() as market:
        findings = list(run(market, spend=True, max_price_per_day=1.5, tell=rehearsal.said.append))
    assert "not checked" in [f.result for f in findings if f.check == "renting"]
    assert rehearsal.world.orders() == {}


# Spoiled --------------------------------------------------------------------------------------------


def rows(answer: Answer, member: str) -> list[dict[str, Any]]:
    found = answer.content.get(member, [])
    assert isinstance(found, list)
    return found


def status(name: str, code: int, instead: int) -> Spoil:
    def spoil(answer: Answer) -> None:
        if answer.name == name and answer.content.get("code") == code:
            answer.status = instead

    return spoil


def members(name: str, change: Callable[[dict[str, Any]], Any], inside: str = "") -> Spoil:
    """Changes a success of an endpoint, or each row in it."""

    def spoil(answer: Answer) -> None:
        if answer.name == name and answer.content.get("code") == 0:
            for each in rows(answer, inside) if inside else [answer.content]:
                change(each)

    return spoil


def error(old: str, new: str | None) -> Spoil:
    def spoil(answer: Answer) -> None:
        if answer.content.get("error") == old:
            answer.content["error"] = new

    return spoil


def page_instead(name: str) -> Spoil:
    def spoil(answer: Answer) -> None:
        if answer.name == name:
            answer.status, answer.content = 502, b"<html>Bad gateway</html>"

    return spoil


def no_limit(answer: Answer) -> None:
    if answer.status == 429:
        answer.status, answer.content = 200, {"orders": [], "limit": 32, "code": 0}


def extra_member(answer: Answer) -> None:
    if answer.status == 429:
        answer.content["error"] = "slow down"


SPOILED_READING: dict[str, tuple[Spoil, str]] = {
    "a bad key with 403": (status("wallets", 3, 403), "every endpoint: an unknown key"),
    "unknown endpoints with 200": (status("no_such_endpoint", 4, 200), "every endpoint: an unknown endpoint"),
    "bad input with 422": (status("cancel_order", 2, 422), "every endpoint: a member that is missing"),
    "no pace": (no_limit, "every endpoint: two calls at once"),
    "words about the pace": (extra_member, "every endpoint: too fast says code 5 alone"),
    "no code": (
        members("my_servers", lambda reply: reply.pop("code")),
        "every endpoint: every answer has a code",
    ),
    "a page instead of wallets": (page_instead("wallets"), "wallets: documented members"),
    "balances as text": (
        members("wallets", lambda row: row.update(balance="1.5"), "wallets"),
        "wallets: types",
    ),
    "a wallet without a name": (
        members("wallets", lambda row: row.pop("name"), "wallets"),
        "wallets: documented members",
    ),
    "a data wrapper": (
        members("marketplace", lambda reply: reply.update(data={"servers": reply.pop("servers")})),
        "marketplace: documented members",
    ),
    "mrl of offers in seconds": (
        members("marketplace", lambda row: row.update(mrl=row["mrl"] * 3_600), "servers"),
        "marketplace: mrl is in hours",
    ),
    "reliability in percent": (
        members("marketplace", lambda row: row.update(reliability=99.7), "servers"),
        "marketplace: reliability is 0 to 1",
    ),
    "the GPU without a count": (
        members("marketplace", lambda row: row["specs"].update(gpu="RTX 4090"), "servers"),
        "marketplace: specs.gpu begins with a count",
    ),
    "mrl of orders in hours": (
        members("my_orders", lambda row: row.update(mrl=row["mrl"] // 3_600), "orders"),
        "my_orders: mrl is in seconds",
    ),
    "si by another name": (
        members("my_orders", lambda row: row.update(renting_server=row.pop("si")), "orders"),
        "my_orders: documented members",
    ),
    "ports as an object": (
        members("my_orders", lambda row: row.update(tcp_ports={"80": 30_000}), "orders"),
        "my_orders: types",
    ),
    "the HTTP port as a number": (
        members("my_orders", lambda row: row.update(http_port=8888), "orders"),
        "my_orders: types",
    ),
    "everything exists": (
        members("spot_marketplace", lambda reply: reply.update(exists=True)),
        "spot_marketplace: exists, for no server",
    ),
    "no floor": (
        members("spot_marketplace", lambda reply: reply["market"].get("server", {}).pop("min_pricing", None)),
        "spot_marketplace: floor and rates are there",
    ),
    "no limit of servers": (
        members("my_servers", lambda reply: reply.pop("limit")),
        "my_servers: documented members",
    ),
    "an underscore in server-dont-exist": (
        error("server-dont-exist", "server_dont_exist"),
        "create_order: no such server",
    ),
    "order_dont_exist without a name": (error("order_dont_exist", None), "set_spot_price: no such order"),
    "missing members unnoticed": (
        error("not_all_parameters_present", "invalid_input"),
        "set_server_settings: members are missing",
    ),
    "no fees": (
        members("renter_fees", lambda reply: reply.pop("renter_fees")),
        "renter_fees: documented members",
    ),
    "another snapshot": (
        members("get_gigaspot", lambda reply: reply.update(v1_snapshot_url="http://market.test/v1/wallets")),
        "get_gigaspot: the snapshot's address",
    ),
    "all bids succeed": (
        members("create_gigaspot_orders", lambda reply: reply.update(failed_to_rent_servers=[])),
        "create_gigaspot_orders: one that is not there",
    ),
}


@pytest.mark.parametrize("name", SPOILED_READING)
def test_what_is_spoiled_is_found(new_rehearsal: New, name: str) -> None:
    rehearsal = new_rehearsal(Dialect.LIVE)
    rehearsal.world.rent(ports={"80": "tcp", "8888": "http"})
    rehearsal.sleep(5)
    spoil, check = SPOILED_READING[name]
    assert check in differing(rehearsal.findings(spoil))


def test_who_shares_the_key_with_another_program_is_told_so(new_rehearsal: New) -> None:
    rehearsal = new_rehearsal(Dialect.LIVE)
    interrupted = iter((True, False))

    def another_calls(answer: Answer) -> None:
        if answer.name == "my_servers" and next(interrupted, False):
            answer.status, answer.content = 429, {"code": 5}

    findings = rehearsal.findings(another_calls)
    assert differing(findings) == ["every endpoint: who keeps the pace is let in"]
    assert "a key of its own" in findings[-1].notes[0]


def chatty(answer: Answer) -> None:
    if answer.name == "create_order" and answer.content == {"code": 0}:
        answer.content["order_id"] = 1


SPOILED_RENTING: dict[str, tuple[Spoil, str]] = {
    "an id in a live reply": (chatty, "create_order: answers code 0 and no more"),
    "already rented with 409": (
        error("server-already-rented", "already-rented"),
        "create_order: a second order",
    ),
    "the refused currency with 200": (
        status("create_order", 6, 200),
        "create_order: a currency the host refuses",
    ),
    "no min_price": (
        lambda answer: isinstance(answer.content, dict) and answer.content.pop("min_price", None),
        "create_order: ... names min_price",
    ),
    "ids that fall": (
        members("my_orders", lambda row: row.update(id=row["id"] - 1_000), "orders"),
        "my_orders: order ids rise",
    ),
    "a price per hour": (
        members("my_orders", lambda row: row.update(price=row["price"] / 24), "orders"),
        "my_orders: price as ordered",
    ),
    "nothing charged": (
        members("my_orders", lambda row: row.update(spend=0), "orders"),
        "my_orders: a minute is charged at once",
    ),
    "never rented": (
        members("marketplace", lambda row: row.update(rented=False), "servers"),
        "marketplace: shows the server as rented",
    ),
    "ended orders that are not expired": (
        members("my_orders", lambda row: row.pop("expired", None), "orders"),
        "my_orders: ... and is expired from then on",
    ),
    "nobody's bid": (
        members("spot_marketplace", lambda reply: [o.update(my=False) for o in reply["market"]["offers"]]),
        "spot_marketplace: shows the bid as mine",
    ),
}


@pytest.mark.parametrize("name", SPOILED_RENTING)
def test_what_is_spoiled_about_renting_is_found(new_rehearsal: New, name: str) -> None:
    rehearsal = new_rehearsal(Dialect.LIVE)
    spoil, check = SPOILED_RENTING[name]
    assert check in differing(rehearsal.findings(spoil, spend=True))


def test_a_member_that_nobody_knows_is_a_note_and_no_difference(new_rehearsal: New) -> None:
    rehearsal = new_rehearsal(Dialect.OPEN)
    spoil = members("marketplace", lambda row: row["specs"].update(quantum_cores=7), "servers")
    findings = rehearsal.findings(spoil)
    assert differing(findings) == []
    assert ("not in the protocol: servers[].specs.quantum_cores",) in [f.notes for f in findings]


def test_a_market_that_hides_a_new_order_is_found_out_and_the_order_cancelled(new_rehearsal: New) -> None:
    rehearsal = new_rehearsal(Dialect.LIVE)
    until = 60.0

    def hide(answer: Answer) -> None:
        if answer.name == "my_orders" and "orders" in answer.content and rehearsal.seconds < until:
            answer.content["orders"] = []

    def late(answer: Answer) -> None:
        nonlocal until
        if answer.name == "create_order" and answer.content.get("code") == 0:
            until = rehearsal.seconds + 45
        hide(answer)

    findings = rehearsal.findings(late, spend=True)
    assert "my_orders: a new order appears" in differing(findings)
    assert all(order.expired for order in rehearsal.world.orders().values())


def test_an_order_that_ought_to_be_refused_is_cancelled_at_once(
    new_rehearsal: New, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The market forgets `required_price`."""
    rehearsal = new_rehearsal(Dialect.OPEN)

    def careless(market: Any, account: int, request: Any, *more: Any, **named: Any) -> Any:
        request.required_price = None
        return true_create(market, account, request, *more, **named)

    true_create = orders.create_order
    monkeypatch.setattr(orders, "create_order", careless)
    findings = rehearsal.findings(spend=True)
    assert differing(findings) == ["create_order: another price than required"], told(findings)
    assert "Cancelling order 1 ..." in rehearsal.said
    assert all(order.expired for order in rehearsal.world.orders().values())


# Trouble --------------------------------------------------------------------------------------------


def test_an_interrupted_run_gives_back_what_it_rented(new_rehearsal: New) -> None:
    rehearsal = new_rehearsal(Dialect.LIVE)

    def interrupted(answer: Answer) -> None:
        if answer.name == "create_order" and answer.content.get("code") == 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rehearsal.findings(interrupted, spend=True)
    [order] = rehearsal.world.orders().values()
    assert order.expired


def test_an_order_that_can_not_be_cancelled_is_named(
    new_rehearsal: New, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise Refused(Refusal.WAIT)

    monkeypatch.setattr(orders, "cancel_order", refuse)
    rehearsal = new_rehearsal(Dialect.OPEN)
    rehearsal.findings(spend=True)
    assert any("openclore cancel 1" in line for line in rehearsal.said)


def test_one_endpoint_that_is_out_is_one_difference_of_many_checks(new_rehearsal: New) -> None:
    rehearsal = new_rehearsal(Dialect.OPEN)

    def out(answer: Answer) -> None:
        if answer.name == "spot_marketplace":
            raise httpx2.ReadTimeout("too slow")

    findings = rehearsal.findings(out)
    assert differing(findings) == ["spot_marketplace: answers"]
    assert len(findings) > 40


def test_a_market_that_is_not_there_is_no_finding(new_rehearsal: New) -> None:
    rehearsal = new_rehearsal(Dialect.OPEN)

    def gone(answer: Answer) -> None:
        raise httpx2.ConnectError("refused")

    with pytest.raises(NetworkError):
        rehearsal.findings(gone)


def test_the_key_is_not_repeated_by_whoever_echoes_it(new_rehearsal: New) -> None:
    rehearsal = new_rehearsal(Dialect.OPEN)

    def echo(answer: Answer) -> None:
        if answer.content.get("code") in (0, 4):
            answer.content["you_sent"] = rehearsal.key

    assert rehearsal.key not in told(rehearsal.findings(echo))


def test_calls_keep_the_pace_and_are_few(new_rehearsal: New) -> None:
    rehearsal = new_rehearsal(Dialect.OPEN)
    rehearsal.findings()
    assert rehearsal.seconds < 60


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    endpoint=st.sampled_from([e.name for e in ENDPOINTS if e.method == "GET"]),
    content=st.dictionaries(
        st.sampled_from(
            ["code", "servers", "orders", "wallets", "market", "config", "items", "creation_fees"]
        ),
        st.recursive(
            st.none() | st.integers() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=2)
                | st.dictionaries(st.sampled_from(["id", "name", "si", "price", "mrl", "specs"]), inner)
            ),
            max_leaves=6,
        ),
    ),
)
def test_no_answer_at_all_breaks_the_checks(
    new_rehearsal: New, endpoint: str, content: dict[str, Any]
) -> None:
    def spoil(answer: Answer) -> None:
        if answer.name == endpoint and answer.content.get("code") == 0:
            answer.content = {"code": 0} | content

    rehearsal = new_rehearsal(Dialect.LIVE)
    assert (
        rehearsal.findings(spoil, spend=endpoint != "my_orders")[-1].check == "who keeps the pace is let in"
    )
    assert all(order.expired for order in rehearsal.world.orders().values())

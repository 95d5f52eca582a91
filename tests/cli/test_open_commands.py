"""The commands for what only OpenClore's markets can."""

import json
from pathlib import Path

import pytest

from .renter_fakes import OFFER, Market

STEPS = [
    {"event_id": 4, "at": 1_800_000_000, "kind": "order_created", "data": {"price": "2"}},
    {"event_id": 9, "at": 1_800_000_900, "kind": "order_ended", "data": {"reason": "lease_expired"}},
]
DETAIL = {
    "order": {
        "id": 17,
        "si": 3,
        "currency": "USD-Blockchain",
        "price": 2,
        "expired": True,
        "end_reason": "lease_expired",
        "image": "busybox",
    },
    "charged": 0.0219,
    "history": STEPS,
    "lease_until": 1_800_000_900,
    "spend_max": 5,
    "key": "laptop",
}
LIMIT = {
    "id": 2,
    "currency": "USD-Blockchain",
    "amount": 5,
    "period": "day",
    "spent": 1.25,
    "since": 1_800_000_000,
    "key": "laptop",
}
DELIVERY = {"id": "msg_1", "event_id": 9, "kind": "order_ended", "state": "failed", "attempts": 8, "at": 1}


@pytest.fixture(autouse=True)
def utc(monkeypatch):
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def lines(text):
    return [" ".join(line.split()) for line in text.splitlines()]


def test_an_order_is_shown_with_all_that_happened_to_it(openclore):
    shown = lines(openclore(Market(**{"17": {"order": DETAIL}}), "order", "17").stdout)
    assert "State ended (lease_expired)" in shown
    assert "Charged 0.0219 USD-Blockchain, fees included" in shown
    assert "Lease until 2027-01-15 08:15:00" in shown
    assert shown[-2:] == [
        "2027-01-15 08:00:00 order_created price 2",
        "2027-01-15 08:15:00 order_ended reason lease_expired",
    ]


def test_what_happened_to_an_order_is_told_in_full_in_a_narrow_terminal_too(openclore):
    said = " ".join(["word"] * 40)
    row = {**DETAIL["order"], "expired": False, "mon_container": 2, "specs": {"runtime": "simulated"}}
    detail = {**DETAIL, "order": row, "history": [{**STEPS[0], "data": {"detail": said}}]}
    shown = openclore(Market(**{"17": {"order": detail}}), "order", "17", width=80).stdout
    assert "State running (simulated)" in lines(shown)
    assert max(map(len, shown.splitlines())) <= 80
    assert shown.count("word") == 40


def test_a_lease_is_renewed_or_given_up(openclore):
    market = Market(lease={"order": DETAIL})
    result = openclore(market, "lease", "17", "15m")
    assert "ends at 2027-01-15 08:15:00" in result.stderr
    market.replies["lease"] = {"order": {**DETAIL, "lease_until": None}}
    assert "no lease any more" in openclore(market, "lease", "17", "--off").stderr
    assert market.sent("lease") == [{"lease_seconds": 900}, {"lease_seconds": None}]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "such as 1h, or --off"),
        (("1h", "--off"), "such as 1h, or --off"),
        (("soon",), "'soon' is no duration"),
        (("5",), "60"),
    ],
)
def test_a_lease_is_not_given_up_by_mistake(openclore, words, said):
    market = Market(lease={"order": DETAIL})
    result = openclore(market, "lease", "17", *words)
    assert (result.exit_code, market.requests) == (2, [])
    assert said in result.stderr


def test_rent_with_catches_goes_to_the_open_api(openclore):
    row = {"id": 17, "si": 70123, "ct": 1}
    market = Market(marketplace={"servers": [OFFER]}, orders={"order": {**DETAIL, "order": row}})
    words = ("rent", "70123", "--image", "a/b:1", "--currency", "usd", "--no-wait")
    result = openclore(market, *words, "--spend-max", "5", "--lease", "15m")
    assert result.exit_code == 0, result.stderr
    [sent] = market.sent("orders")
    assert (sent["spend_max"], sent["lease_seconds"], sent["renting_server"]) == (5, 900, 70123)


def test_events_are_read_to_the_last_page(openclore):
    pages = [
        {
            "events": [{"id": 1, "at": 1_800_000_000, "kind": "order_created", "order_id": 17}],
            "after": 1,
            "more": True,
        },
        {"events": [{"id": 2, "at": 1_800_000_060, "kind": "server_online", "server_id": 3}], "after": 2},
    ]
    market = Market(events=pages)
    result = openclore(market, "events", "--kind", "order_created", "--kind", "server_online")
    assert lines(result.stdout)[1:] == [
        "1 2027-01-15 08:00:00 order_created 17 - -",
        "2 2027-01-15 08:01:00 server_online - 3 -",
    ]
    assert [sent.get("after") for sent in market.sent("events")] == [None, "1"]
    assert market.sent("events")[0]["kinds"] == "order_created,server_online"


def test_limits_are_set_listed_and_lifted(openclore):
    market = Market(spend_limits={"limit": LIMIT, "limits": [LIMIT]}, **{"2": {}})
    row = "2 key laptop 5.00 1.25 USD-Blockchain day 2027-01-15 08:00:00"
    made = openclore(market, "limit", "set", "5", "--currency", "usd", "--per-day", "--key", "laptop")
    assert lines(made.stdout)[1:] == [row]
    assert lines(openclore(market, "limit", "list").stdout)[1:] == [row]
    assert openclore(market, "limit", "remove", "2").exit_code == 0
    assert market.sent("spend_limits")[0] == {
        "currency": "USD-Blockchain",
        "amount": 5,
        "period": "day",
        "key": "laptop",
    }


def test_a_webhook_shows_its_secret_once_and_what_became_of_its_messages(openclore):
    hook = {"id": 1, "url": "https://bot.example/hook", "kinds": [], "created_at": 1}
    market = Market(
        webhooks={"webhook": {**hook, "secret": "whsec_x"}, "webhooks": [hook]},
        **{"1": {"webhook": {**hook, "deliveries": [DELIVERY]}}},
        test={"delivery": DELIVERY | {"problem": "the receiver did not answer in 10 s"}},
    )
    assert "whsec_x" in openclore(market, "webhook", "add", "https://bot.example/hook").stdout
    assert "whsec" not in openclore(market, "webhook", "list").stdout
    assert "order_ended failed 8" in lines(openclore(market, "webhook", "show", "1").stdout)[-1]
    result = openclore(market, "webhook", "test", "1")
    assert (result.exit_code, "did not answer" in result.stderr) == (1, True)


def test_fees_are_percents_and_amounts(openclore):
    market = Market(
        renter_fees={
            "renter_fees": {
                "on_demand": {"base": {"bitcoin": 5, "USD-Blockchain": 5}},
                "spot": {"base": {"bitcoin": 1.25, "USD-Blockchain": 1.25}},
            },
            "creation_fees": {"on_demand": {"USD-Blockchain": 0.1}},
            "poh_balance": 1_000_000,
        }
    )
    result = openclore(market, "fees")
    assert lines(result.stdout)[1:] == [
        "bitcoin 5.00% 1.25% 0 0",
        "USD-Blockchain 5.00% 1.25% 0.10 0.00",
    ]
    assert "1000000 CLORE" in result.stderr


def test_a_file_of_gigaspot_bids_is_placed(openclore, tmp_path: Path):
    market = Market(create_gigaspot_orders={"too_low_bids_servers": [2], "failed_to_rent_servers": [2]})
    bids = [
        {"renting_server": server, "image": "a3f9c4d7e5b088d8a0bff880", "price": 12.5, "oc": [{"pl": 250}]}
        for server in (1, 2)
    ]
    file = tmp_path / "bids.json"
    file.write_text(json.dumps(bids))
    result = openclore(market, "gigaspot", "bid", str(file))
    assert result.exit_code == 8
    assert "Bid on 1 of 2 machines." in result.stderr
    assert "too low on 2" in result.stderr
    assert openclore(market, "gigaspot", "bid", "-", stdin=json.dumps(bids)).exit_code == 8
    assert openclore(market, "gigaspot", "bid", str(tmp_path / "none.json")).exit_code == 2
    file.write_text("{}")
    assert openclore(market, "gigaspot", "bid", str(file)).exit_code == 2


def test_why_a_gigaspot_bid_is_refused_is_said_where_the_market_tells(openclore, tmp_path: Path):
    clocks = "GPU 1 (RTX 3090): a power limit of 5 W is outside 100 to 350 W"
    market = Market(
        create_gigaspot_orders={
            "failed_to_oc_servers": [1],
            "failed_to_rent_servers": [2, 3],
            "reasons": {"1": clocks, "2": "server-offline", "3": "brand-new"},
        },
        edit_gigaspot_orders={"failed_to_update_ids": [7], "reasons": {"7": "order_not_active"}},
    )
    file = tmp_path / "bids.json"
    file.write_text(
        '[{"renting_server": 1, "image": "a3f9c4d7e5b088d8a0bff880", "price": 1, "oc": [{"pl": 5}]}]'
    )
    said = openclore(market, "gigaspot", "bid", str(file)).stderr.splitlines()
    assert said[-3:] == [
        f"Server 1: {clocks}",
        "Server 2: The server is not connected. Choose another server.",
        "Server 3: brand-new",
    ]
    edited = openclore(market, "gigaspot", "edit", "7", "12")
    assert "Order 7 is unchanged. The order is over." in edited.stderr
    market.replies["edit_gigaspot_orders"] = {"failed_to_update_ids": [7]}
    assert "It is no bid of yours." in openclore(market, "gigaspot", "edit", "7", "12").stderr


def test_the_gigaspot_list_marks_ones_own_bid(openclore):
    machine = {
        "bids": [{"owner": 7, "id": 5, "active": True, "price": 12.5}, {"owner": 8, "price": 9}],
        "online": True,
        "gpus": [{"model": "RTX 4090"}] * 2,
        "min_bid": 5,
        "reliability": 0.99,
    }

    def answer(_):
        return {
            "my_user_id": 7,
            "v1_snapshot_url": "http://market.test/snap_1800000000.json",
            "clore_price": 0.005,
        }

    market = Market(get_gigaspot=answer, **{"snap_1800000000.json": {"17": machine}})
    result = openclore(market, "gigaspot", "list")
    assert lines(result.stdout)[1:] == ["17 2x RTX 4090 5 12.5 2 12.5 (runs) online - 99.0%"], result.stderr


def test_a_server_goes_on_gigaspot_by_name(openclore):
    market = Market(server_config={"config": {"id": 3, "name": "rack"}}, gigaspot={})
    assert openclore(market, "server", "gigaspot", "rack", "--min-bid", "5").exit_code == 0
    assert openclore(market, "server", "gigaspot", "rack", "--off").exit_code == 0
    assert [sent["min_bid"] for sent in market.sent("gigaspot")] == [5, None]
    assert openclore(market, "server", "gigaspot", "rack").exit_code == 2


def test_a_server_gets_work_for_its_free_time_by_name(openclore):
    market = Market(server_config={"config": {"id": 3, "name": "rack"}}, background_job={})
    words = ("server", "background", "rack")
    given = ("--image", "a/miner:2", "--command", "mine", "--env", "WORKER=7")
    assert "rack runs a/miner:2 while nobody rents it." in openclore(market, *words, *given).stderr
    assert "rack runs nothing while nobody rents it." in openclore(market, *words, "--off").stderr
    sent = [{"image": "a/miner:2", "command": "mine", "env": {"WORKER": "7"}}, {"image": None}]
    assert market.sent("background_job") == sent
    for wrong in ((), ("--image", "a", "--off"), ("--off", "--command", "mine")):
        assert openclore(market, *words, *wrong).exit_code == 2
    assert len(market.sent("background_job")) == 2


def test_the_work_for_its_free_time_is_shown_without_its_secrets(openclore):
    job = {"image": "a/miner:2", "command": "mine", "env": {"TOKEN": "hunter2"}, "times_updated": 4}
    market = Market(server_config={"config": {"id": 3, "name": "rack", "background_job": job}})
    shown = openclore(market, "server-config", "rack").stdout
    assert "While it is free a/miner:2" in lines(shown)
    assert "hunter2" not in shown


LINE = {
    "id": 7,
    "at": 1_800_000_000,
    "currency": "USD-Blockchain",
    "kind": "rental",
    "amount": "-0.08",
    "balance": "9.92",
    "reference": "order:17",
    "how": "price=2.4 minutes=0..60 spend_before=0 host_fee=20% paid_before=0",
    "previous": "",
    "hash": "aa",
    "order_id": 17,
}
WALLET = {"currency": "USD-Blockchain", "balance": "9.9", "hash": "bb"}
PAGES = [
    {"lines": [LINE], "wallets": [WALLET], "after": 7, "more": True},
    {"lines": [{**LINE, "id": 8, "previous": "aa", "hash": "bb"}], "wallets": [WALLET], "after": 8},
]


def test_a_statement_is_shown_with_how_its_lines_were_computed(openclore):
    done = openclore(Market(statement=list(PAGES)), "statement", "--currency", "usd", "--from", "2027-01-01")
    assert lines(done.stdout)[1] == (
        "2027-01-15 08:00:00 rental 17 -0.08 9.92 USD"
        " price=2.4 minutes=0..60 spend_before=0 host_fee=20% paid_before=0"
    )
    assert "9.9 posted; the wallet's last hash is bb" in done.stderr


def test_how_a_line_was_computed_stands_under_it_where_the_terminal_is_narrow(openclore):
    shown = openclore(Market(statement=list(PAGES)), "statement", width=80)
    assert lines(shown.stdout)[1:3] == ["2027-01-15 08:00:00 rental 17 -0.08 9.92 USD", LINE["how"]]
    assert max(map(len, shown.stdout.splitlines())) <= 80
    assert "No room" not in shown.stderr


def test_a_statement_is_printed_for_programs(openclore):
    market = Market(statement=list(PAGES))
    assert [line["id"] for line in json.loads(openclore(market, "statement", "--json").stdout)["lines"]] == [
        7,
        8,
    ]
    assert [sent.get("after") for sent in market.sent("statement")] == [None, "7"]
    rows = openclore(Market(statement=list(PAGES)), "statement", "--csv").stdout.splitlines()
    assert rows[0] == "id,at,currency,kind,order_id,reference,amount,balance,how,previous,hash"
    assert rows[2].startswith("8,1800000000,USD-Blockchain,rental,17,order:17,-0.08,9.92,price=2.4 ")


def test_a_time_that_is_none_is_refused(openclore):
    for text, sentence in (
        ("yesterday", "'yesterday' is no time"),
        ("²", "'²' is no time"),
        ("9" * 23, "too far away"),
        ("9" * 5_000, "is no time"),
        ("1969-12-31", "is before 1970"),
    ):
        done = openclore(Market(), "statement", "--to", text)
        assert (done.exit_code, sentence in " ".join(done.stderr.split())) == (2, True)
    done = openclore(Market(), "statement", "--from", "2026-11-02", "--to", "2026-11-01")
    assert (done.exit_code, "must not be before --from" in done.stderr) == (2, True)
    assert openclore(Market(), "statement", "--csv", "--json").exit_code == 2

"""What the renter's and the host's commands print, send and exit with."""

import json
import re
import socket
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openclore.api.offers import Offer
from openclore.api.orders import Order
from openclore.api.servers import MyServer
from openclore.api.wallets import Wallet
from openclore.cli.errors import EXIT_CODES, exit_code, exit_codes_help
from openclore.client import errors

from .renter_fakes import OFFER, Market, offer

ORDER = {
    "id": 5551234,
    "si": 70123,
    "currency": "USD-Blockchain",
    "price": 2,
    "spend": 0.001388888888888889,
    "image": "exampleorg/trainer:1.4",
    "mon_container": 2,
    "online": True,
    "pub_cluster": ["n1.example"],
    "tcp_ports": ["22:31022"],
    "http_port": "8080",
    "http_pub": "web.example",
    "specs": {"gpu": "1x NVIDIA GeForce RTX 3090", "runtime": "simulated"},
}
RENT = ("rent", "70123", "--image", "a/b:1", "--currency", "usd")


def lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


@pytest.mark.parametrize(
    "words", [("spot", "price", "7", "-1.5"), ("limit", "set", "-.5", "--currency", "usd"), ("order", "-3")]
)
def test_a_negative_number_is_no_unknown_option(openclore, words):
    market = Market()
    result = openclore(market, *words)
    assert (result.exit_code, market.requests) == (2, [])
    assert "no number may be negative here" in result.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("order", "x"), "must be a whole number"),
        (("order", "0"), "must be at least 1"),
        (("rent", "1", "--image", "a", "--currency", "usd", "--bid", "x"), "must be a number"),
        (("host", "--runtime", "x"), "'x' is not one of 'docker', 'simulated', 'auto'\n"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_in_plain_words(openclore, words, said):
    result = openclore(Market(), *words)
    assert result.exit_code == 2
    assert f": {said}" in result.stderr
    assert "rror: Value" not in result.stderr
    assert "Input" not in result.stderr


# Listing --------------------------------------------------------------------------------------------


def test_wallets_show_amounts_without_exponents(openclore):
    market = Market(
        wallets={"wallets": [{"name": "bitcoin", "balance": 3.12e-05}, {"name": "usd", "balance": None}]}
    )
    result = openclore(market, "wallets")
    assert lines(result.stdout)[1:] == ["bitcoin 0.0000312 - -", "usd - - -"]
    result = openclore(market, "wallets", "--json")
    assert json.loads(result.stdout) == [{"name": "bitcoin", "balance": 3.12e-05}, {"name": "usd"}]
    assert '"balance": 0.0000312' in result.stdout


def test_the_marketplace_prices_per_hour_and_day_in_dollars_or_in_a_coin(openclore):
    market = Market(marketplace={"servers": [OFFER]})
    result = openclore(market, "marketplace")
    title, line = lines(result.stdout)
    assert title.startswith("ID GPU VRAM $/HOUR $/DAY")
    assert line.startswith(
        "70123 2x RTX 4090 23 GB 0.1079 2.59 DE 99.7% 63 GB 16/32 911 Mbit 4.8 (12) 168 h 12.8"
    )
    title, line = lines(openclore(market, "marketplace", "--currency", "btc").stdout)
    assert title.startswith("ID GPU VRAM BTC/HOUR BTC/DAY")
    assert line.startswith("70123 2x RTX 4090 23 GB 0.0000013 0.0000312")


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("", [2, 1, 3]),
        ("--all", [4, 2, 1, 3]),
        ("--gpu 3090", [2]),
        ("--gpu rtx", [2, 1, 3]),
        ("--gpus 2", [1, 3]),
        ("--max-gpus 1", [2]),
        ("--vram 24", [2, 1, 3]),
        ("--vram 25", []),
        ("--max-price-per-hour 0.1", [2]),
        ("--currency clore", [3]),
        ("--currency USD-Blockchain", [2, 1]),
        ("--country us", [3]),
        ("--sort gpus", [3, 1, 2]),
        ("--sort id", [1, 2, 3]),
        ("--limit 1", [2]),
        ("--limit 0", [2, 1, 3]),
    ],
)
def test_the_marketplace_is_filtered_and_sorted(openclore, words, shown):
    usd = {"usd": {"on_demand_usd": 1.0}}
    servers = [
        offer(1),
        offer(
            2,
            specs={"gpu": "1x NVIDIA GeForce RTX 3090", "gpuram": 24},
            price={**usd, "on_demand": {"USD-Blockchain": 1.0}},
        ),
        offer(3, specs={"gpu": "4x RTX 4090", "net": {"cc": "US"}}, allowed_coins=["CLORE-Blockchain"]),
        offer(4, rented=True, price={"on_demand": {"USD-Blockchain": 0.5}}),
    ]
    result = openclore(Market(marketplace={"servers": servers}), "marketplace", "--json", *words.split())
    assert [o["id"] for o in json.loads(result.stdout)] == shown


def anything(kind: type[msgspec.Struct]) -> st.SearchStrategy[dict[str, Any]]:
    """Rows with the right names and anything in them."""
    leaf = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6)
    odd = st.sampled_from(["22:²", "22:31022", "1/2", "x", "simulated", "²x GPU", {"gpu": 3}, {"cc": None}])
    value = (
        leaf | odd | st.lists(leaf | odd, max_size=3) | st.dictionaries(st.text(max_size=4), leaf, max_size=3)
    )
    names = [field.encode_name for field in msgspec.structs.fields(kind)]
    return st.dictionaries(st.sampled_from(names), value, max_size=8).map(lambda row: {**row, "id": 1})


@pytest.mark.parametrize(
    ("command", "endpoint", "member", "kind"),
    [
        ("marketplace", "marketplace", "servers", Offer),
        ("orders", "my_orders", "orders", Order),
        ("servers", "my_servers", "servers", MyServer),
        ("wallets", "wallets", "wallets", Wallet),
    ],
)
def test_whatever_a_market_sends_is_shown_without_a_traceback(openclore, command, endpoint, member, kind):
    @settings(max_examples=40, deadline=None)
    @given(st.lists(anything(kind), max_size=3), st.sampled_from([["--json"], []]))
    def show(rows: list[dict[str, Any]], words: list[str]) -> None:
        result = openclore(Market(**{endpoint: {member: rows}}), command, *words)
        assert result.exit_code == 0, result.exception

    show()


def test_nothing_found_says_what_to_do(openclore):
    result = openclore(Market(marketplace={"servers": [OFFER]}), "marketplace", "--gpu", "H100")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "Loosen a filter" in result.stderr


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_tables_fit_the_terminal_and_keep_what_matters(openclore, width):
    market = Market(
        marketplace={"servers": [offer(1, specs={"gpu": "8x " + "x" * 90, "runtime": "simulated"})]},
        my_orders={"orders": [ORDER]},
        my_servers={"servers": [{"name": "rack", "online": True, "specs": ORDER["specs"]}]},
    )
    for command in ("marketplace", "orders", "servers"):
        result = openclore(market, command, width=width)
        assert max(map(len, result.stdout.splitlines())) <= width, result.stdout
        assert "simulated" in result.output


def test_orders_in_a_narrow_terminal_still_say_on_which_server_and_at_what_price(openclore):
    shown = openclore(Market(my_orders={"orders": [ORDER]}), "orders", width=60).stdout
    assert lines(shown)[0].split()[:4] == ["ORDER", "SERVER", "STATE", "PRICE/DAY"]


def test_servers_at_80_columns_show_what_they_cost_and_elsewhere_all(openclore):
    rack = {
        "name": "rack-123",
        "id": 70096,
        "online": True,
        "visibility": "public",
        "specs": {"gpu": "2x NVIDIA GeForce RTX 4090"},
        "pricing": {"bitcoin": 0.00021624, "CLORE-Blockchain": 702.78, "USD-Blockchain": 14.06},
        "min_spot_pricing": {"bitcoin": 0.0001, "CLORE-Blockchain": 357.5, "USD-Blockchain": 7},
    }
    market = Market(my_servers={"servers": [rack, {**rack, "pricing": {"USD-Blockchain": 2}}]})
    narrow = openclore(market, "servers", width=80).stdout
    assert lines(narrow) == [
        "NAME ID STATE VISIBILITY GPU USD/DAY CLORE/DAY BTC/DAY",
        "rack-123 70096 online public 2x RTX 4090 14.06 702.78 0.00021624",
        "rack-123 70096 online public 2x RTX 4090 2.00 - -",
    ]
    wide = openclore(market, "servers", width=200).stdout
    assert lines(wide)[1].endswith("14.06 702.78 0.00021624 7.00 357.5 0.0001")


def test_decimal_points_stand_below_each_other(openclore):
    rows = [{"name": name, "balance": held} for name, held in (("a", 0.5), ("b", 120), ("c", 1.0625))]
    shown = openclore(Market(wallets={"wallets": rows}), "wallets").stdout
    half, whole, more = shown.splitlines()[1:]
    assert half.index(".") == more.index(".") == whole.index("120") + len("120")


def test_orders_show_state_money_and_where_to_connect(openclore):
    waiting = {"id": 7, "si": 1, "state": "waiting", "spot": True, "currency": "bitcoin", "price": 3.12e-05}
    ended = {"id": 6, "expired": True, "end_reason": "exhausted", "tcp_ports": ["22:1"], "pub_cluster": ["x"]}
    market = Market(my_orders={"orders": [ended, waiting, ORDER]})
    table = lines(openclore(market, "orders", "--all").stdout)
    assert table[1].startswith("5551234 70123 running (simulated) 2.00 0.0014 USD n1.example:31022")
    assert table[2].startswith("7 1 outbid 0.0000312 - BTC - -")
    assert table[3].startswith("6 - ended (exhausted) - - - - -")
    assert market.sent("my_orders") == [{"return_completed": "true"}]
    row = json.loads(openclore(market, "orders", "--json").stdout)[2]
    assert row["connect"] == {
        "22": {"host": "n1.example", "port": 31022},
        "8080": {"host": "web.example", "port": 443},
    }


def test_text_of_others_cannot_steer_the_terminal(openclore):
    nasty = offer(1, specs={"gpu": "1x \x1b[2J[red]evil\r\n\x9b1A"})
    result = openclore(Market(marketplace={"servers": [nasty]}), "marketplace")
    assert len(result.stdout.splitlines()) == 2
    assert not {"\x1b", "\r", "\x9b"} & set(result.stdout)
    assert "[red]evil" in result.stdout


# Renting --------------------------------------------------------------------------------------------


def renting(**changes: object) -> Market:
    return Market(
        marketplace={"servers": [OFFER]}, create_order={"order": {**ORDER, "mon_container": 0}}, **changes
    )


def test_rent_orders_at_the_listed_price_waits_and_says_how_to_connect(
    openclore, tmp_path: Path, monkeypatch
):
    (tmp_path / "id.pub").write_text("ssh-ed25519 AAAA me\n")
    (tmp_path / "start.sh").write_text("#!/bin/sh\ntouch /root/started\n")
    monkeypatch.setenv("TOKEN", "from-here")
    monkeypatch.setenv("OPENCLORE_JUPYTER_TOKEN", "jt")
    deploying = {"orders": [{**ORDER, "mon_container": 0}]}
    market = renting(my_orders=[{"orders": []}, deploying, {"orders": [ORDER]}])
    more = ["--port", "22:tcp", "--port", "8080:http", "--env", "MODE=train", "--env", "TOKEN"]
    files = ["--ssh-key-file", str(tmp_path / "id.pub"), "--command-file", str(tmp_path / "start.sh")]
    result = openclore(market, *RENT, "--ssh-password-stdin", *more, *files, stdin="Ex4mple\n")
    assert result.exit_code == 0, result.stderr
    assert market.sent("create_order") == [
        {
            "renting_server": 70123,
            "type": "on-demand",
            "currency": "USD-Blockchain",
            "image": "a/b:1",
            "required_price": 2.6,
            "ports": {"22": "tcp", "8080": "http"},
            "env": {"MODE": "train", "TOKEN": "from-here"},
            "command": "#!/bin/sh\ntouch /root/started\n",
            "ssh_key": "ssh-ed25519 AAAA me",
            "ssh_password": "Ex4mple",
            "jupyter_token": "jt",
        }
    ]
    assert lines(result.stdout) == [
        "Order 5551234",
        "Server 70123",
        "Port 22 n1.example:31022",
        "Port 8080 https://web.example/",
        "SSH ssh -p 31022 root@n1.example",
        "End it openclore cancel 5551234",
    ]
    assert "simulated" in result.stderr


def test_deployed_is_not_enough_its_ports_must_answer(openclore):
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        here = {"pub_cluster": ["127.0.0.1"], "tcp_ports": [f"22:{port}"]}
        row = {"id": 5551234, "si": 70123, "mon_container": 2, **here}
        market = renting(my_orders={"orders": [row]})
        result = openclore(market, *RENT, "--json")
    assert json.loads(result.stdout)["connect"] == {"22": {"host": "127.0.0.1", "port": port}}
    closed = openclore(renting(my_orders={"orders": [row]}), *RENT, "--timeout", "0")
    assert closed.exit_code == 12
    assert "costs money; end it with: openclore cancel" in closed.stderr


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (
            [{"id": 5551234, "mon_container": 1, "end_detail": "no such image"}],
            "failed to deploy: no such image",
        ),
        ([{"id": 5551234, "expired": True}], "Order 5551234 ended"),
        (
            [{"id": 5551234, "state": "ended", "end_reason": "failed", "end_detail": "no such image"}],
            "ended: failed (no such image)",
        ),
    ],
)
def test_an_order_that_ends_before_it_runs_is_an_error_with_the_reason(openclore, rows, words):
    result = openclore(renting(my_orders={"orders": rows}), *RENT)
    assert result.exit_code == 12
    assert words in result.stderr
    assert result.stdout == ""


def test_a_spot_order_sends_its_bid_and_no_required_price(openclore):
    market = renting()
    openclore(market, *RENT, "--bid", "1.5", "--no-wait")
    (sent,) = market.sent("create_order")
    assert (sent["type"], sent["spotprice"], "required_price" in sent) == ("spot", 1.5, False)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (
            ("rent", "70123", "--image", "a", "--currency", "clore"),
            2,
            "its host accepts: bitcoin, USD-Blockchain",
        ),
        (("rent", "5", "--image", "a", "--currency", "usd"), 8, "not on the marketplace"),
        ((*RENT, "--max-price-per-hour", "0.1"), 8, "costs 0.1083 USD-Blockchain an hour, more than 0.10"),
        (("rent", "70123", "--image", "a b", "--currency", "usd"), 2, "image: must be at most 128"),
        ((*RENT, "--max-price-per-hour", "nan"), 2, "must be a finite number"),
        ((*RENT, "--timeout", "inf"), 2, "must be a finite number"),
        ((*RENT, "--port", "22"), 2, "must look like 22:tcp"),
        ((*RENT, "--port", "22:udp"), 2, "ports"),
        ((*RENT, "--env", "NOT_SET_ANYWHERE"), 2, "is not set here"),
    ],
)
def test_what_cannot_be_rented_is_refused_before_anything_is_ordered(openclore, words, code, said):
    market = renting()
    result = openclore(market, *words)
    assert result.exit_code == code
    assert said in " ".join(result.stderr.replace("│", " ").split())
    assert market.sent("create_order") == []


def test_a_private_key_is_not_sent(openclore, tmp_path: Path):
    (tmp_path / "id").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nx\n")
    market = renting()
    result = openclore(market, *RENT, "--ssh-key-file", str(tmp_path / "id"))
    assert result.exit_code == 2
    assert market.requests == []


# Ending ---------------------------------------------------------------------------------------------


def test_cancel_goes_on_after_a_failure_and_exits_with_its_code(openclore):
    def answer(content: dict[str, int]) -> dict[str, object]:
        return {"code": 6, "error": "order_not_active"} if content["id"] == 2 else {}

    market = Market(cancel_order=answer)
    result = openclore(market, "cancel", "1", "2", "3", "--issue", "too slow", "--json")
    assert result.exit_code == 4
    assert json.loads(result.stdout) == {"cancelled": [1, 3]}
    assert market.sent("cancel_order") == [{"id": n, "issue": "too slow"} for n in (1, 2, 3)]
    assert '"error": "order_not_active"' in result.stderr


# Hosts ----------------------------------------------------------------------------------------------

CONFIG = {
    "name": "rack-a2",
    "visibility": "public",
    "mrl": 168,
    "pricing": {"bitcoin": 0.00003, "CLORE-Blockchain": 400, "USD-Blockchain": 2},
    "spot_pricing": {"bitcoin": 0.00002, "CLORE-Blockchain": 250, "USD-Blockchain": 1.2},
    "allowed_coins": ["CLORE-Blockchain", "USD-Blockchain"],
    "autoprice": {"CLORE-Blockchain": "usd", "bitcoin": False},
    "usd_pricing": {"CLORE-Blockchain": {"on_demand": 2, "spot": 1.2}},
}


def test_set_server_changes_what_is_named_and_keeps_the_rest(openclore):
    market = Market(server_config={"config": CONFIG}, set_server_settings={})
    result = openclore(market, "set-server", "rack-a2", "--mrl", "24")
    assert result.exit_code == 0
    (kept,) = market.sent("set_server_settings")
    assert kept == {
        "name": "rack-a2",
        "availability": True,
        "mrl": 24,
        "bitcoin_on_demand": 0.00003,
        "bitcoin_spot": 0.00002,
        "CLORE-Blockchain_on_demand": 400,
        "CLORE-Blockchain_spot": 250,
        "USD-Blockchain_on_demand": 2,
        "USD-Blockchain_spot": 1.2,
        "enabled-bitcoin": False,
        "enabled-CLORE-Blockchain": True,
        "enabled-USD-Blockchain": True,
        "autoprice": CONFIG["autoprice"],
        "usd_pricing": CONFIG["usd_pricing"],
    }
    openclore(
        market,
        "set-server",
        "rack-a2",
        *("--hidden", "--price", "clore=300", "--spot", "usd=1", "--accept", "btc", "--refuse", "usd"),
    )
    changed = market.sent("set_server_settings")[1]
    assert {name: value for name, value in changed.items() if kept.get(name) != value} == {
        "availability": False,
        "mrl": 168,
        "CLORE-Blockchain_on_demand": 300,
        "USD-Blockchain_spot": 1,
        "enabled-bitcoin": True,
        "enabled-USD-Blockchain": False,
        "autoprice": {"CLORE-Blockchain": False, "bitcoin": False},
        "usd_pricing": {},
    }


def test_set_server_pegs_a_price_to_the_dollar_and_ends_it_again(openclore):
    market = Market(server_config={"config": CONFIG}, set_server_settings={})
    words = (
        "set-server",
        "rack-a2",
        "--usd-price",
        "clore=2",
        "--usd-spot",
        "clore=1.2",
        "--accept",
        "clore",
    )
    assert openclore(market, *words).exit_code == 0
    [sent] = market.sent("set_server_settings")
    assert sent["autoprice"]["CLORE-Blockchain"] == "usd"
    assert sent["usd_pricing"]["CLORE-Blockchain"] == {"on_demand": 2, "spot": 1.2}
    pegged = CONFIG | {"autoprice": sent["autoprice"], "usd_pricing": sent["usd_pricing"]}
    market = Market(server_config={"config": pegged}, set_server_settings={})
    openclore(market, "set-server", "rack-a2", "--usd-price", "clore=3")
    openclore(market, "set-server", "rack-a2", "--price", "clore=300")
    raised, by_hand = market.sent("set_server_settings")
    assert raised["usd_pricing"]["CLORE-Blockchain"] == {"on_demand": 3, "spot": 1.2}
    assert by_hand["autoprice"]["CLORE-Blockchain"] is False
    assert (
        openclore(market, "set-server", "rack-a2", "--usd-price", "clore=3", "--price", "clore=1").exit_code
        == 2
    )


def test_set_server_refuses_what_it_does_not_understand_before_it_asks(openclore):
    for words in (("--price", "clore"), ("--price", "clore=x"), ("--accept", "doge"), ("--spot", "=1")):
        market = Market()
        result = openclore(market, "set-server", "rack-a2", *words)
        assert (result.exit_code, market.requests) == (2, [])


def test_the_spot_market_is_shown_in_its_currency_and_in_dollars(openclore):
    bids = {
        "offers": [{"offer_id": 5, "bid": 300, "active": True, "currency": "CLORE-Blockchain"}],
        "server": {"min_pricing": {"CLORE-Blockchain": 250}},
        "currency_rates_in_usd": {"CLORE-Blockchain": 0.005},
    }
    market = Market(spot_marketplace={"market": bids, "exists": True}, set_spot_price={})
    result = openclore(market, "spot", "market", "70123")
    assert lines(result.stdout)[1] == "5 300 CLORE-Blockchain 1.50 yes -"
    assert "250 CLORE-Blockchain" in result.stderr
    assert openclore(market, "spot", "price", "5", "310").exit_code == 0
    assert market.sent("set_spot_price") == [{"order_id": 5, "desired_price": 310.0}]


# Errors ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ({"code": 1}, 9),
        ({"code": 2}, 2),
        ({"code": 3}, 3),
        ({"code": 4}, 4),
        ({"code": 5}, 5),
        ({"code": 6, "error": "brand-new"}, 6),
        ({"code": 6, "error": "not_enough_balance"}, 7),
        ({"code": 6, "error": "server-offline"}, 8),
        (httpx2.ConnectError("refused"), 10),
    ],
)
def test_the_exit_code_tells_what_can_be_done(openclore, answer, code):
    result = openclore(Market(wallets=answer), "wallets")
    assert result.exit_code == code
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) <= 2
    as_json = openclore(Market(wallets=answer), "wallets", "--json")
    told = json.loads(as_json.stderr)["error"]
    assert (as_json.exit_code, told["exit_code"], told["endpoint"]) == (code, code, "wallets")
    assert as_json.stdout == ""


def test_each_failure_as_json_is_a_line_of_what_the_manual_names(openclore):
    refused = Market(cancel_order={"code": 6, "error": "you_dont_own_this_order"})
    result = openclore(refused, "cancel", "5", "6", "--json")
    told = [json.loads(line)["error"] for line in result.stderr.splitlines()]
    assert [one["order_id"] for one in told] == [5, 6]
    manual = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text()
    assert all(f"`{member}`" in manual for one in told for member in one)
    for code, meaning in re.findall(r"- (\d+) (.*)", exit_codes_help()):
        assert f"\n| {code} | {meaning} |\n" in manual


def test_every_class_of_error_has_an_exit_code_the_help_explains(openclore):
    kinds = [k for k in vars(errors).values() if isinstance(k, type) and issubclass(k, errors.CloreError)]
    assert all(exit_code(kind("x")) != 1 for kind in kinds if kind is not errors.CloreError)
    text = " ".join(openclore(None, "--help").stdout.split())
    for code, _ in EXIT_CODES.values():
        assert f" {code} " in text


def test_an_interrupt_ends_quietly(openclore):
    result = openclore(Market(wallets=KeyboardInterrupt()), "wallets")
    assert (result.exit_code, result.stderr) == (130, "Interrupted.\n")


def test_ctrl_c_while_ordering_says_that_the_order_may_exist(openclore):
    market = Market(marketplace={"servers": [OFFER]}, create_order=KeyboardInterrupt())
    result = openclore(market, *RENT)
    assert result.exit_code == 130
    assert "may have been ordered" in result.stderr


@pytest.mark.parametrize(("silent_seconds_max", "times"), [(60, 1), (0, 3)])
def test_who_waits_long_hears_now_and_then_what_for(openclore, monkeypatch, silent_seconds_max, times):
    monkeypatch.setattr("openclore.cli.output.SILENT_SECONDS_MAX", silent_seconds_max)
    deploying = {"orders": [{**ORDER, "mon_container": 0}]}
    market = renting(my_orders=[deploying, deploying, {"orders": [ORDER]}])
    assert openclore(market, *RENT).stderr.count("deploying ...") == times


def test_ctrl_c_while_waiting_says_that_the_order_goes_on(openclore):
    result = openclore(renting(my_orders=KeyboardInterrupt()), *RENT)
    assert result.exit_code == 130
    assert "openclore cancel 5551234" in result.stderr


# Profiles -------------------------------------------------------------------------------------------


def test_a_profile_is_written_from_stdin_listed_without_its_key_and_used(openclore, monkeypatch):
    result = openclore(
        None, "profile", "set", "local", "--base-url", "http://127.0.0.1:1/v1", stdin="s3cret\n"
    )
    assert result.exit_code == 0
    openclore(None, "profile", "set", "open", "--no-key")
    listing = openclore(None, "profile", "list")
    assert lines(listing.stdout)[1:] == [
        "local http://127.0.0.1:1/v1 yes yes",
        "open https://api.clore.ai/v1 - -",
    ]
    as_json = openclore(None, "profile", "list", "--json")
    assert json.loads(as_json.stdout)[0] == {
        "name": "local",
        "base_url": "http://127.0.0.1:1/v1",
        "has_key": True,
        "default": True,
    }
    assert "s3cret" not in result.output + listing.output + as_json.output
    openclore(None, "profile", "set", "local", "--base-url", "http://elsewhere.test", "--no-key")
    assert "yes" not in lines(openclore(None, "profile", "list").stdout)[1].split()[2]


def test_an_unknown_profile_is_a_usage_error(openclore):
    result = openclore(None, "wallets", "--profile", "nowhere")
    assert result.exit_code == 2
    assert "no profile 'nowhere'" in result.stderr

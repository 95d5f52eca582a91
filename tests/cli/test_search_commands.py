"""What the commands over /open/v1 for offers, figures and servers print, send and exit with."""

import json

import pytest

from .renter_fakes import Market, offer

FIGURES = {
    "gpu": "NVIDIA GeForce RTX 4090",
    "servers": 786,
    "gpus": 1528,
    "rented": 249,
    "rented_share": 0.3168,
    "price_p10": 0.04,
    "price_p50": 0.0575,
    "price_p90": 0.110625,
}


def lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


def hit(server_id: int, price: float | None = 0.1083, currency: str = "usd") -> dict[str, object]:
    return {"offer": offer(server_id), "price_per_hour": price, "price_currency": currency}


def page(*found: dict[str, object], total: int | None = None, after: str | None = None) -> dict[str, object]:
    return {"offers": list(found), "total": len(found) if total is None else total, "next": after}


# Search ---------------------------------------------------------------------------------------------


def test_a_search_prices_per_hour_and_says_so(openclore):
    result = openclore(Market(offers=page(hit(70123))), "search")
    assert lines(result.stdout)[0].startswith("ID GPU VRAM $/HOUR CC RELIABLE")
    assert lines(result.stdout)[1].startswith("70123 2x RTX 4090 23 GB 0.1083 DE 99.7%")
    result = openclore(
        Market(offers=page(hit(70123, 0.0000013, "bitcoin"))), "search", "--currency", "btc", "--spot"
    )
    assert "LOWEST BID BTC/HOUR" in result.stdout
    assert "0.0000013" in result.stdout


def test_every_option_is_a_filter_of_the_market(openclore):
    market = Market(offers=page())
    result = openclore(
        market,
        *("search", "--gpu", "4090", "--gpus", "2", "--exact-gpus", "4", "--vram", "24", "--ram", "64"),
        *("--max-price-per-hour", "0.5", "--reliability", "0.99", "--country", "de", "--currency", "clore"),
        *("--spot", "--all", "--sort", "vram", "--limit", "7"),
    )
    assert result.exit_code == 0
    assert "No server on this market fits" in result.stderr
    (asked,) = market.sent("offers")
    assert {
        **asked,
        "vram_gb_min": float(asked["vram_gb_min"]),
        "ram_gb_min": float(asked["ram_gb_min"]),
    } == {
        "gpu": "4090",
        "gpu_count_min": "2",
        "gpu_count": "4",
        "vram_gb_min": 24,
        "ram_gb_min": 64,
        "price_per_hour_max": "0.5",
        "reliability_min": "0.99",
        "country": "de",
        "currency": "CLORE-Blockchain",
        "order_type": "spot",
        "rented": "true",
        "sort": "-vram",
        "limit": "7",
    }


def test_a_search_reads_as_many_pages_as_are_wanted(openclore):
    pages = [
        page(hit(1), hit(2), total=5, after="A"),
        page(hit(3), hit(4), total=5, after="B"),
        page(hit(5), total=5),
    ]
    market = Market(offers=list(pages))
    result = openclore(market, "search", "--json")
    assert [row["offer"]["id"] for row in json.loads(result.stdout)] == [1, 2, 3, 4, 5]
    assert [asked.get("after") for asked in market.sent("offers")] == [None, "A", "B"]
    market = Market(offers=list(pages))
    result = openclore(market, "search", "--limit", "4")
    assert len(lines(result.stdout)) == 5
    assert "4 of 5 offers; --limit 0 shows all." in result.stderr
    assert [asked["limit"] for asked in market.sent("offers")] == ["4", "2"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--country", "Germany"), "country: must be the two letters of a country"),
        (("--reliability", "99"), "reliability_min: must be a number <= 1.0"),
        (("--gpus", "-1"), "gpu_count_min: must be a whole number >= 0"),
        (("--max-price-per-hour", "nan"), "must be a finite number"),
        (("--sort", "cheap"), "'cheap' is not one of"),
    ],
)
def test_a_wrong_filter_ends_a_search_before_it_begins(openclore, words, said):
    market = Market(offers=page())
    result = openclore(market, "search", *words)
    assert result.exit_code == 2
    assert said in result.stderr
    assert market.requests == []


@pytest.mark.parametrize("command", [("search",), ("search", "--spot", "--all"), ("statistics",)])
def test_tables_fit_a_terminal(openclore, command):
    market = Market(offers=page(hit(70123), hit(1, None)), statistics={"models": [FIGURES]})
    result = openclore(market, *command, width=80)
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 80


# Statistics -----------------------------------------------------------------------------------------


def test_figures_are_shown_per_model(openclore):
    market = Market(statistics={"models": [FIGURES, {**FIGURES, "gpu": "no GPU", "price_p50": None}]})
    result = openclore(market, "statistics", "--gpu", "40")
    assert lines(result.stdout) == [
        "GPU SERVERS GPUS RENTED P10 $/HOUR MEDIAN $/HOUR P90 $/HOUR",
        "RTX 4090 786 1528 31.7% 0.04 0.0575 0.1106",
        "no GPU 786 1528 31.7% 0.04 - 0.1106",
    ]
    assert "Prices are per hour and GPU." in result.stderr
    assert market.sent("statistics") == [{"gpu": "40"}]


def test_a_history_is_of_the_model_that_is_meant(openclore):
    names = ["NVIDIA GeForce RTX 4090", "NVIDIA GeForce RTX 4090 Laptop GPU"]
    market = Market(
        statistics={"models": [{**FIGURES, "gpu": name} for name in names]},
        history={"history": [{**FIGURES, "at": 1_795_356_000}]},
    )
    for typed in ("4090", "rtx 4090", names[0].lower()):
        result = openclore(market, "statistics", "--gpu", typed, "--history", "--hours", "5")
        assert lines(result.stdout)[1] == "2026-11-22 14:00 786 1528 31.7% 0.04 0.0575 0.1106"
    assert market.sent("history") == [{"gpu": names[0], "limit": "5"}] * 3
    result = openclore(market, "statistics", "--gpu", "40", "--history")
    assert result.exit_code == 2
    assert "'40' may be NVIDIA GeForce RTX 4090 or" in " ".join(result.stderr.replace("│", " ").split())


def test_a_model_that_nobody_offers_now_may_have_a_history(openclore):
    market = Market(statistics={"models": []}, history={"history": []})
    result = openclore(market, "statistics", "--gpu", "RTX 2060", "--history")
    assert result.exit_code == 0
    assert "kept no figures of this model" in result.stderr
    assert market.sent("history")[0]["gpu"] == "RTX 2060"


def test_a_history_needs_a_model(openclore):
    result = openclore(Market(), "statistics", "--history")
    assert result.exit_code == 2
    assert "with --gpu" in result.stderr


# Servers --------------------------------------------------------------------------------------------

ADDED = {"server_id": 17, "name": "rack 2", "init_token": "t0ken"}


def test_an_added_server_comes_with_what_to_run_on_the_machine(openclore):
    market = Market(servers=ADDED)
    result = openclore(market, "server", "add", "rack 2")
    command = (
        "OPENCLORE_INIT_TOKEN=t0ken openclore host --market http://market.test "
        "--state-dir ~/.local/state/openclore/rack-2"
    )
    assert lines(result.stdout) == ["Id 17", "Name rack 2", "Init token t0ken", command]
    assert market.sent("servers") == [{"name": "rack 2"}]
    result = openclore(market, "server", "add", "rack 2", "--json")
    assert json.loads(result.stdout) == {**ADDED, "command": command}


def test_a_server_with_an_impossible_name_is_not_asked_for(openclore):
    market = Market(servers=ADDED)
    result = openclore(market, "server", "add", "rack/2")
    assert (result.exit_code, market.requests) == (2, [])
    assert "name: must be 1 to 64 letters, digits, spaces, _ or -" in result.stderr


def test_a_server_is_removed_by_name(openclore):
    market = Market(**{"server_config": {"config": {"id": 17, "name": "rack 2"}}, "17": {}})
    result = openclore(market, "server", "remove", "rack 2", "--json")
    assert json.loads(result.stdout) == {"server_id": 17, "name": "rack 2"}
    assert [name for name, _ in market.requests] == ["server_config", "17"]


def test_a_server_in_use_is_not_removed_and_says_why(openclore):
    refusal = {"code": 6, "error": "server_in_use", "message": "rack 2 is public: hide it first"}
    market = Market(**{"server_config": {"config": {"id": 17}}, "17": refusal})
    result = openclore(market, "server", "remove", "rack 2")
    assert result.exit_code == 5
    assert "hide it first" in result.stderr


def test_a_server_one_does_not_have_is_not_removed(openclore):
    market = Market(server_config={"code": 6, "error": "server_dont_exist"})
    result = openclore(market, "server", "remove", "rack 2")
    assert result.exit_code == 4

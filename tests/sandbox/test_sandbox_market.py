"""What the market of a sandbox is like."""

import json
from collections import Counter
from pathlib import Path

import pytest

from openclore.api.currencies import PRICE_BOUNDS, Currency
from openclore.rules import money
from openclore.sandbox import Sandbox
from openclore.sandbox.machines import made_up
from openclore.sandbox.recorded import RecordingError, recorded
from openclore.sandbox.sandbox import START
from openclore.usecases.verify import verify

from .conftest import Caller, NewWorld

DAY = 86_400


def test_made_up_machines_are_plausible() -> None:
    machines = made_up(3, 300)
    assert machines == made_up(3, 300)
    assert len({machine.id for machine in machines}) == 300
    assert 20 < len({machine.owner for machine in machines}) < 60
    assert len({machine.specs.gpu_model for machine in machines}) > 10
    assert 0.2 < sum(bool(machine.settings.pegged) for machine in machines) / 300 < 0.4
    for machine in machines:
        assert machine.settings.accepted
        assert 0.6 < machine.reliability <= 1
        for currency, pricing in machine.settings.prices.items():
            low, high, _ = PRICE_BOUNDS[currency]
            assert money.from_text(low) <= pricing.spot <= pricing.on_demand <= money.from_text(high)


def test_rivals_rent_bid_outbid_each_other_and_leave(new_world: NewWorld) -> None:
    rehearsal = new_world(servers=60)
    world = rehearsal.world
    world.turn_to(START + 5 * DAY)
    happened = Counter(row.kind for row in rehearsal.rows("SELECT kind FROM events"))
    assert happened["order_created"] > 60
    assert happened["order_ended"] > 30
    assert happened["order_outbid"] > 0
    assert happened["server_offline"] > 0
    assert happened["server_settings_changed"] > 5
    assert happened["prices_repegged"] > 20
    held = rehearsal.rows("SELECT count(DISTINCT server_id) AS n FROM orders WHERE state <> 'ended'")[0].n
    assert 0.2 < held / 60 < 0.95
    ends = {row.end_reason for row in rehearsal.rows("SELECT DISTINCT end_reason FROM orders")}
    assert {"cancelled", "expired"} <= ends
    rates = {row.currency: row.usd / 1e8 for row in rehearsal.rows("SELECT currency, usd FROM rates")}
    assert 40_000 < rates["bitcoin"] < 100_000
    assert verify(rehearsal.market).difference is None


def test_only_machines_that_are_lost_are_ever_missed(
    new_world: NewWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    rehearsal = new_world(servers=40)
    hosts, lost = rehearsal.world.hosts, []
    lose = hosts.lose

    def noted(server_id: int, now: int, seconds: float | None = None) -> None:
        lost.append((server_id, now))
        lose(server_id, now, seconds)

    monkeypatch.setattr(hosts, "lose", noted)
    rehearsal.world.turn_to(START + 6 * DAY)
    missed = rehearsal.rows("SELECT server_id, at FROM events WHERE kind = 'server_offline'")
    assert [(row.server_id, row.at - 16) for row in missed] == sorted(lost, key=lambda pair: pair[1])


@pytest.mark.clore_sandbox(servers=20)
def test_reliability_shows_from_the_first_second_and_follows_absences(caller: Caller) -> None:
    before = {row["id"]: row["reliability"] for row in caller.get("marketplace").json()["servers"]}
    assert all(0.6 < reliability <= 1 for reliability in before.values())
    victim = max(before, key=lambda server_id: before[server_id])
    caller.sandbox.faults.add("host_lost", server_id=victim, seconds=DAY)
    caller.sandbox.clock.turn(days=1, minutes=30)
    after = {row["id"]: row["reliability"] for row in caller.get("marketplace").json()["servers"]}
    assert after[victim] == pytest.approx(before[victim] * 13 / 14, abs=0.01)


@pytest.mark.clore_sandbox(servers=12)
def test_the_figures_of_every_hour_are_kept(caller: Caller) -> None:
    model = caller.free()[0]["specs"]["gpu"].split("x ", 1)[1]
    caller.sandbox.clock.turn(hours=5)
    reply = caller.http.get("/open/v1/statistics/history", params={"gpu": model}).json()
    assert [hour["at"] for hour in reply["history"]] == [START + 3_600 * hour for hour in range(1, 6)]


@pytest.mark.clore_sandbox(servers=60)
def test_some_machines_are_on_gigaspot_and_take_bids_there(caller: Caller) -> None:
    about = caller.get("get_gigaspot").json()
    snapshot = caller.http.get(about["v1_snapshot_url"]).json()
    server_id, server = next(iter(snapshot.items()))
    assert caller.rent(int(server_id)).json()["error"] == "machine-is-on-gigaspot"
    bid = {
        "renting_server": int(server_id),
        "image": "a3f9c4d7e5b088d8a0bff880",
        "price": server["min_bid"],
        "oc": [{"pl": int(gpu["pl"][0]), "core_lock": 1_500} for gpu in server["gpus"]],
    }
    reply = caller.http.post("/v1/create_gigaspot_orders", json=[bid]).json()
    assert (reply["code"], reply["failed_to_rent_servers"], reply["failed_to_oc_servers"]) == (0, [], [])
    caller.sandbox.clock.turn(hours=1)
    (order,) = caller.sandbox.orders().values()
    assert order.state == "running"


# Recordings -----------------------------------------------------------------------------------------

RECORDING = {
    "servers": [
        {
            "id": 25_769,
            "owner": 2_097,
            "mrl": 72,
            "price": {
                "on_demand": {"bitcoin": 0.0003, "CLORE-Blockchain": 975},
                "spot": {"bitcoin": 0.00029, "CLORE-Blockchain": 900},
                "usd": {"on_demand_btc": 18.0, "on_demand_clore": 19.5, "spot": 0},
                "original_usd": {"CLORE-Blockchain": {"on_demand": 19.5, "spot": 18}},
            },
            "rented": True,
            "specs": {"gpu": "8x NVIDIA GeForce RTX 3090", "gpuram": 24, "net": {"cc": "RU", "down": 793.6}},
            "reliability": 0.5,
            "allowed_coins": ["CLORE-Blockchain"],
        },
        {"id": 1, "price": {"on_demand": {"USD-Blockchain": 2}}, "specs": "unreadable", "mrl": 10**9},
        {"id": 2, "price": {"on_demand": {"bitcoin": 0}}},
        {"id": 3},
        {"id": "no number"},
        None,
        7,
    ],
    "code": 0,
}


def test_a_recording_is_taken_in_as_far_as_it_makes_sense(tmp_path: Path) -> None:
    file = tmp_path / "marketplace.json"
    file.write_text(json.dumps(RECORDING))
    machines, usd = recorded(file, seed=0)
    assert [(m.id, m.rented, m.reliability) for m in machines] == [(1, False, 1.0), (25_769, True, 0.5)]
    assert usd[Currency.BITCOIN] == pytest.approx(60_000)
    assert usd[Currency.CLORE] == pytest.approx(0.02)
    small, big = machines
    assert small.settings.mrl_hours == 3_000
    assert big.settings.accepted == [Currency.CLORE]
    assert big.settings.prices[Currency.BITCOIN].on_demand == 30_000
    assert big.settings.pegged[Currency.CLORE].on_demand == 1_950_000_000


def test_a_recorded_market_keeps_its_ids_and_lives(tmp_path: Path) -> None:
    file = tmp_path / "marketplace.json"
    file.write_text(json.dumps(RECORDING["servers"]))
    with Sandbox(marketplace=file) as sandbox:
        caller = Caller(sandbox)
        rows = {row["id"]: row for row in caller.get("marketplace").json()["servers"]}
        assert rows.keys() == {1, 25_769}
        assert rows[25_769]["rented"] is True
        assert rows[25_769]["owner"] == 2_097
        assert caller.rent(1).json()["code"] == 0
        sandbox.clock.turn(days=2)
        assert sandbox.ledger_difference() is None
        caller.http.close()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is no JSON"),
        ('{"code": 0}', "holds no servers"),
        ('{"servers": [{"id": 3}]}', "holds no servers"),
    ],
)
def test_what_is_no_recording_is_refused(tmp_path: Path, content: str, words: str) -> None:
    file = tmp_path / "file.json"
    file.write_text(content)
    with pytest.raises(RecordingError, match=words):
        Sandbox(marketplace=file)
    with pytest.raises(RecordingError, match="can't read"):
        Sandbox(marketplace=tmp_path / "missing.json")

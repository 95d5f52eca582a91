"""Settings of servers: what differs from the file, what is done about it, and the file written from them."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openclore.api.currencies import PRICE_BOUNDS, Currency
from openclore.api.offers import PricePair
from openclore.api.servers import BackgroundJob as ShownJob
from openclore.api.servers import ServerConfig
from openclore.autopilot.actions import Change, SetBackgroundJob, SetSettings
from openclore.autopilot.file import BackgroundJob, Dollars, File, Fixed, Settings
from openclore.autopilot.observation import Failed
from openclore.autopilot.pricing import plan_prices
from openclore.autopilot.reading import read
from openclore.autopilot.servers import merged
from openclore.autopilot.settings import as_toml, claimed_twice, plan_settings, problems_of_settings

from .hosting import BITCOIN, CLORE, NOW, USD, applied, config, seen

JOB = ShownJob(image="miner:1", command="run", env={"POOL": "s3cret"}, times_updated=3)


def table(**changes: Any) -> Settings:
    return msgspec.convert(
        {"servers": ["rig-*"], **changes}, Settings, dec_hook=lambda kind, value: kind(value)
    )


def wanting(**changes: Any) -> File:
    return File(settings={"rigs": table(**changes)})


def reason(part: Any) -> str:
    (action,) = part.actions
    return str(action.reason)


def notes(part: Any) -> list[str]:
    return [note.text for note in part.notes]


# Differences ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "said", "changes"),
    [
        ({"public": False}, "public: true -> false", [Change("availability", True, False)]),
        ({"mrl_hours": 168}, "mrl_hours: 72 -> 168", [Change("mrl", 72, 168)]),
        (
            {"currencies": [CLORE], "on_demand": {CLORE: 200.0}},
            f"currencies: {USD} -> {CLORE}; on_demand.{CLORE}: unknown -> 200",
            [
                Change("clore_enabled", False, True),
                Change("usd_enabled", True, False),
                Change("clore_on_demand", None, 200.0),
                Change("clore_spot", None, 200.0),
            ],
        ),
        ({"on_demand": {USD: 5.5}}, f"on_demand.{USD}: 4 -> 5.5", [Change("usd_on_demand", 4.0, 5.5)]),
        ({"spot": {USD: 2.5}}, f"spot.{USD}: 2 -> 2.5", [Change("usd_spot", 2.0, 2.5)]),
        (
            {"dollars": {CLORE: {"on_demand": 4, "spot": 2.5}}},
            f"dollars.{CLORE}: by hand -> 4/2.5",
            [
                Change("autoprice", None, {CLORE: "usd"}),
                Change("usd_pricing", None, {CLORE: {"on_demand": 4.0, "spot": 2.5}}),
            ],
        ),
    ],
)
def test_what_differs_is_set_and_told(wanted: dict[str, Any], said: str, changes: list[Change]) -> None:
    part = plan_settings(wanting(**wanted), seen([config()]), NOW)
    (action,) = part.actions
    assert action == SetSettings(for_="settings.rigs", reason=said, server="rig-1", changes=tuple(changes))
    assert notes(part) == [f"rig-1: differs from the file, {said}; the file's is set"]
    repaired = applied(config(), part.actions)
    assert plan_settings(wanting(**wanted), seen([repaired]), NOW).actions == ()


def test_what_is_as_the_file_says_needs_nothing() -> None:
    wanted = wanting(
        public=True,
        mrl_hours=72,
        currencies=[USD],
        on_demand={USD: 4.0},
        spot={USD: 2.004},
        background_job=False,
    )
    assert plan_settings(wanted, seen([config(), config("other-1")]), NOW) == ((), None, ())


def test_only_servers_of_matching_names_are_set() -> None:
    part = plan_settings(wanting(mrl_hours=6), seen([config("rig-1"), config("other-1")]), NOW)
    assert [action.server for action in part.actions if isinstance(action, SetSettings)] == ["rig-1"]


def test_drift_may_only_be_reported() -> None:
    one = config(background_job=JOB)
    part = plan_settings(wanting(mrl_hours=24, background_job=False, drift="report"), seen([one]), NOW)
    assert part.actions == ()
    assert notes(part) == [
        "rig-1: differs from the file, mrl_hours: 72 -> 24",
        "rig-1: differs from the file, background_job: miner:1 -> none",
    ]


def test_a_price_by_hand_ends_that_it_follows_the_dollar() -> None:
    one = config(
        allowed_coins=[CLORE],
        pricing={CLORE: 200.0},
        spot_pricing={CLORE: 100.0},
        autoprice={CLORE: "usd"},
        usd_pricing={CLORE: PricePair(on_demand=4, spot=2)},
    )
    part = plan_settings(wanting(on_demand={CLORE: 200.0}, spot={CLORE: 100.0}), seen([one]), NOW)
    assert part.actions[0].changes == (  # type: ignore[union-attr]
        Change("autoprice", {CLORE: "usd"}, {CLORE: False}),
        Change("clore_on_demand", 200.0, 200.0),
        Change("clore_spot", 100.0, 100.0),
    )


def test_dollars_of_one_currency_leave_those_of_another() -> None:
    pair = PricePair(on_demand=3, spot=2)
    one = config(autoprice={BITCOIN: "usd"}, usd_pricing={BITCOIN: pair})
    part = plan_settings(wanting(dollars={CLORE: {"on_demand": 4, "spot": 2.5}}), seen([one]), NOW)
    after = applied(one, part.actions)
    assert after.autoprice == {BITCOIN: "usd", CLORE: "usd"}
    assert after.usd_pricing == {BITCOIN: pair, CLORE: PricePair(on_demand=4, spot=2.5)}


def test_a_currency_without_prices_is_not_accepted_yet() -> None:
    part = plan_settings(wanting(currencies=[CLORE, USD], mrl_hours=24), seen([config()]), NOW)
    assert reason(part) == "mrl_hours: 72 -> 24"
    assert notes(part) == [
        f"rig-1: currencies stays: {CLORE} has no on-demand price, {CLORE} has no spot price;"
        " name it under on_demand and spot",
        "rig-1: differs from the file, mrl_hours: 72 -> 24; the file's is set",
    ]


def test_prices_of_a_group_and_settings_are_one_change_of_a_server() -> None:
    fixed = Fixed(servers=("rig-*",), floor=1, ceiling=10, price=5, step_per_hour=1)
    file = File(pricing={"all": fixed}, settings={"rigs": table(currencies=[CLORE], mrl_hours=24)})
    observation = seen([config()])
    settings_part, prices = plan_settings(file, observation, NOW), plan_prices(file, observation, {}, NOW)
    (action,) = merged([*settings_part.actions, *prices.actions])
    assert isinstance(action, SetSettings)
    assert action.for_ == "settings.rigs, pricing.all"
    assert {change.member: change.after for change in action.changes} == {
        "mrl": 24,
        "clore_enabled": True,
        "usd_enabled": False,
        "clore_on_demand": 250.0,
        "clore_spot": 250.0,
    }
    assert action.reason.startswith("mrl_hours: 72 -> 24; currencies: ")
    assert action.reason.endswith("; on-demand: fixed at 5.00; none -> 5.00 $ a day")


@pytest.mark.parametrize("old", ["servers", "configs"])
def test_nothing_is_set_on_the_strength_of_something_old(old: str) -> None:
    fresh, before = seen([config()]), seen([config()], at=NOW - 301)
    failed = {"servers": Failed("down"), "server rig-1": Failed("down")}
    observation = msgspec.structs.replace(fresh, failed=failed, **{old: getattr(before, old)})
    part = plan_settings(wanting(mrl_hours=24), observation, NOW)
    assert part.actions == ()
    assert "can't be read just now (down)" in notes(part)[0]


# Background jobs ------------------------------------------------------------------------------------


def test_a_background_job_is_set_changed_and_ended() -> None:
    job = {"image": "miner:2", "command": "run", "env": {"POOL": "s3cret"}}
    part = plan_settings(wanting(background_job=job), seen([config()]), NOW)
    assert part.actions == (
        SetBackgroundJob(
            for_="settings.rigs",
            reason="background_job: none -> miner:2",
            server="rig-1",
            server_id=101,
            job=BackgroundJob(image="miner:2", command="run", env={"POOL": "s3cret"}),
        ),
    )
    running = seen([config(background_job=JOB)])
    ended = plan_settings(wanting(background_job=False), running, NOW)
    assert reason(ended) == "background_job: miner:1 -> none"
    assert ended.actions[0].job is None  # type: ignore[union-attr]
    same = {"image": "miner:1", "command": "run", "env": {"POOL": "s3cret"}}
    assert plan_settings(wanting(background_job=same), running, NOW).actions == ()
    secretly = plan_settings(wanting(background_job={**same, "env": {"POOL": "0ther"}}), running, NOW)
    assert reason(secretly) == "background_job: another environment for miner:1"


def test_where_no_background_job_can_be_set_it_is_said() -> None:
    wanted = wanting(background_job={"image": "miner:2"})
    public = plan_settings(wanted, seen([config()], has_open=False), NOW)
    assert (public.actions, notes(public)) == (
        (),
        ["rig-1: this market offers no way to set the background job"],
    )
    nameless = plan_settings(wanted, seen([config(id=None)]), NOW)
    assert notes(nameless) == [
        "rig-1: the market does not tell the id, which setting the background job needs"
    ]


# What can't be meant --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "member", "said"),
    [
        ({"servers": []}, "servers", 'name at least one pattern, such as "rig-*"'),
        ({"mrl_hours": 5}, "mrl_hours", "must be 6 to 3000 hours"),
        (
            {"currencies": []},
            "currencies",
            "names none; to take a server off the market, write public = false",
        ),
        (
            {"currencies": ["doge"]},
            "currencies",
            "doge is no currency of the market; there are bitcoin, CLORE-Blockchain, USD-Blockchain",
        ),
        ({"on_demand": {USD: 300}}, "on_demand", f"{USD}: 300 is outside 0.2 to 200 per day"),
        (
            {"spot": {"doge": 1}},
            "spot",
            "doge is no currency of the market; there are bitcoin, CLORE-Blockchain, USD-Blockchain",
        ),
        (
            {"dollars": {CLORE: {"on_demand": 2, "spot": 0.1}}},
            "dollars",
            f"{CLORE}: 0.1 is outside 0.2 to 200 per day",
        ),
        (
            {"on_demand": {CLORE: 200}, "dollars": {CLORE: {"on_demand": 2, "spot": 1}}},
            "on_demand",
            f"{CLORE} is priced in dollars, too; name it under on_demand or dollars",
        ),
        (
            {"background_job": {"image": ""}},
            "background_job",
            "needs an image; for none, write background_job = false",
        ),
        (
            {"background_job": {"image": "miner:1", "env": {"POOL": "a;b"}}},
            "background_job",
            "env: may hold only letters, digits, white space (not in names) and - _ : = . @ + /",
        ),
    ],
)
def test_settings_that_can_not_be_meant_are_told(wanted: dict[str, Any], member: str, said: str) -> None:
    assert problems_of_settings("a", table(**wanted)) == [(member, said)]


def test_settings_that_can_be_meant_are_fine() -> None:
    fine = table(public=True, mrl_hours=6, currencies=[USD], on_demand={USD: 2}, background_job=False)
    assert problems_of_settings("a", fine) == []


def test_what_two_tables_say_of_one_server_is_told_and_the_first_counts() -> None:
    fixed = Fixed(servers=("rig-*",), floor=1, ceiling=10, price=4)
    tables = {
        "a": table(mrl_hours=24),
        "b": table(servers=["rig-1"], mrl_hours=48, public=True, on_demand={USD: 5.0}, spot={USD: 2.5}),
    }
    file = File(pricing={"all": fixed}, settings=tables)
    assert claimed_twice(file, ["rig-1", "rig-2"]) == [
        ("settings.b.mrl_hours", "for rig-1 [settings.a] says it, too; name it in one of them"),
        (
            f"settings.b.on_demand.{USD}",
            "for rig-1 [pricing.all] sets the on-demand price; name it in one of them",
        ),
    ]
    part = plan_settings(file, seen([config()]), NOW)
    assert [action.reason for action in part.actions] == [
        "mrl_hours: 72 -> 24",
        f"spot.{USD}: 2 -> 2.5",
    ]
    assert [text for text in notes(part) if "not set from here" in text] == [
        "rig-1: mrl_hours is not set from here: [settings.a] says it, too",
        f"rig-1: on_demand.{USD} is not set from here: [pricing.all] sets the on-demand price",
    ]


# Import ---------------------------------------------------------------------------------------------


def test_present_settings_are_written_as_a_person_would() -> None:
    one = config(
        allowed_coins=[CLORE, USD],
        pricing={BITCOIN: 0.00003, CLORE: 200.0, USD: 4.0},
        spot_pricing={BITCOIN: 0.0, CLORE: 100.0, USD: 2.0},
        autoprice={CLORE: "usd", BITCOIN: False},
        usd_pricing={CLORE: PricePair(on_demand=4, spot=2)},
    )
    busy = config(
        "old box-7", visibility="hidden", allowed_coins=[], pricing={}, spot_pricing={}, background_job=JOB
    )
    twin = msgspec.structs.replace(one, name="rig-2", id=102)
    assert (
        as_toml([one, busy, twin])
        == f"""\
[settings.rig-1]
servers = ["rig-1", "rig-2"]
public = true
mrl_hours = 72
currencies = ["{CLORE}", "{USD}"]
on_demand = {{ bitcoin = 0.00003, USD-Blockchain = 4 }}
spot = {{ USD-Blockchain = 2 }}
dollars = {{ CLORE-Blockchain = {{ on_demand = 4, spot = 2 }} }}

[settings."old box-7"]
servers = ["old box-7"]
public = false
mrl_hours = 72

[settings."old box-7".background_job]
image = "miner:1"
command = "run"
env = {{ POOL = "s3cret" }}
"""
    )


NAMES = st.text("ab-_ 9", min_size=1, max_size=64)
TEXTS = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=20),
    st.sampled_from(["${HOME}", "$${x}", 'say "hi"\n\\', "\x7f\x00\x1f\ud7ff", "'''", "${", "😀"]),
)


@st.composite
def configs(draw: st.DrawFn, name: str) -> ServerConfig:
    def prices() -> dict[str, float | None]:
        chosen = draw(st.sets(st.sampled_from(list(Currency))))
        return {
            str(currency): draw(
                st.one_of(
                    st.none(),
                    st.sampled_from([0.0, 1e9]),
                    st.floats(float(PRICE_BOUNDS[currency].lowest), float(PRICE_BOUNDS[currency].highest)),
                )
            )
            for currency in sorted(chosen)
        }

    pegged = draw(st.sets(st.sampled_from(list(Currency))))
    dollars = st.one_of(st.none(), st.floats(0.1, 300))
    jobs = st.builds(
        ShownJob,
        image=st.one_of(st.just("miner:1"), TEXTS),
        command=st.one_of(st.none(), TEXTS),
        env=st.dictionaries(st.sampled_from(["A", "B_2", "a b"]), st.sampled_from(["", "x y", "a:1", ";"])),
    )
    return ServerConfig(
        name=name,
        id=draw(st.integers(1, 99)),
        visibility=draw(st.sampled_from([None, "public", "hidden", "private"])),
        mrl=draw(st.one_of(st.none(), st.integers(1, 4_000))),
        pricing=draw(st.one_of(st.none(), st.builds(prices))),
        spot_pricing=draw(st.one_of(st.none(), st.builds(prices))),
        allowed_coins=draw(st.one_of(st.none(), st.lists(st.sampled_from([*Currency, "old"]), unique=True))),
        autoprice=draw(
            st.one_of(
                st.none(), st.just({str(c): draw(st.sampled_from(["usd", "pow", False])) for c in pegged})
            )
        ),
        usd_pricing={str(c): PricePair(on_demand=draw(dollars), spot=draw(dollars)) for c in sorted(pegged)},
        background_job=draw(st.one_of(st.none(), st.just(ShownJob()), jobs)),
    )


@given(st.data(), st.sets(NAMES, max_size=4))
@settings(max_examples=60, deadline=None)
def test_whatever_is_written_from_what_exists_is_read_and_changes_nothing(
    data: st.DataObject, names: set[str]
) -> None:
    found = [data.draw(configs(name)) for name in sorted(names)]
    file = read(as_toml(found), {})
    assert {name for wanted in file.settings.values() for name in wanted.servers} == names
    assert [p for name, one in file.settings.items() for p in problems_of_settings(name, one)] == []
    assert claimed_twice(file, names) == []
    part = plan_settings(file, seen(found), NOW)
    assert (part.actions, part.notes) == ((), ())


def test_no_two_tables_get_one_name() -> None:
    found = [config("-a-1", mrl=6), config("_a-1", mrl=7), config("a-1", mrl=8)]
    assert list(read(as_toml(found), {}).settings) == ["a-1", "a-1-2", "a-1-3"]


def test_dollars_are_told_as_they_are() -> None:
    assert wanting(dollars={CLORE: {"on_demand": 2, "spot": 1}}).settings["rigs"].dollars == {
        CLORE: Dollars(on_demand=2, spot=1)
    }

"""When something is worth a message: once each time, whatever happens in between."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openclore.autopilot.actions import Note
from openclore.autopilot.alerts import plan_alerts
from openclore.autopilot.file import (
    Coin,
    File,
    Happened,
    HostLost,
    Hours,
    Messages,
    OrderFailed,
    Outbid,
    PriceAbove,
    PriceBelow,
    ServerFree,
    ServerOffline,
    ServerRented,
    Span,
    WalletBelow,
    WalletHoursBelow,
)
from openclore.autopilot.memory import AlertsMemory
from openclore.autopilot.observation import Failed

from .seeing import (
    BEGIN,
    at,
    bids,
    events,
    fees,
    file_with,
    messages_of,
    note,
    offer,
    offers,
    order,
    orders,
    remembered,
    rented,
    server,
    told,
    wallet,
)

LOW = WalletBelow(wallet=Coin("bitcoin"), below=100, back_above=105)
HOURS = WalletHoursBelow(wallet=Coin("bitcoin"), hours=10)
DOWN = {"failed": {"wallets": "no network"}}
NOTHING: dict = {}
SILENT = order(online=None)


def wallets(*amounts: float) -> list:
    return [wallet(amount) for amount in amounts]


def burning(amount: float, *running: object, percent: float = 0) -> dict:
    return {**wallet(amount), **orders(*(running or (order(),))), "fees": fees(percent)}


@pytest.mark.parametrize(
    ("amounts", "said"),
    [
        ([200, 150], []),
        ([100], []),
        ([99.99], ["wallet_below"]),
        ([200, 99, 98, 97], ["wallet_below"]),
        ([99, 101, 99, 104.9, 99], ["wallet_below"]),
        ([99, 105], ["wallet_below", "back"]),
        ([99, 105, 100, 99], ["wallet_below", "back", "wallet_below"]),
        ([101, 104, 99], ["wallet_below"]),
        ([99, float("nan"), 99], ["wallet_below"]),
    ],
)
def test_a_low_wallet_is_said_once_a_crossing(amounts, said):
    assert told(file_with(LOW), wallets(*amounts)) == said


@pytest.mark.parametrize(
    ("history", "said"),
    [
        ([burning(1.0)], []),  # 0.1 an hour: ten hours
        ([burning(0.99)], ["wallet_hours_below"]),
        ([burning(1.0, percent=5)], ["wallet_hours_below"]),
        ([burning(0.99), burning(1.04), burning(0.99)], ["wallet_hours_below"]),
        ([burning(0.99), burning(1.06)], ["wallet_hours_below", "back"]),
        ([burning(0.99), {**wallet(0.99), **orders()}], ["wallet_hours_below", "back"]),
        ([burning(1.5, order(7), order(8))], ["wallet_hours_below"]),
        ([burning(0.01, order(currency="USD-Blockchain"))], []),
        ([burning(0.01, order(state="waiting"))], []),
        ([burning(0.01, order(online=False))], []),
        ([burning(0.01, order(mon_container=1))], []),
        ([wallet(0.01)], []),  # nothing is known of orders
    ],
)
def test_a_wallet_that_lasts_too_short_at_what_orders_cost_with_fees(history, said):
    assert told(file_with(HOURS), history) == said


@pytest.mark.parametrize(
    ("history", "said"),
    [
        ([orders(order(mon_container=1))], []),
        ([orders(order(mon_container=0)), orders(order(mon_container=1))] * 2, ["order_failed"] * 2),
        ([orders(order(mon_container=0)), *[orders(order(mon_container=1))] * 3], ["order_failed"]),
        ([orders(), orders(order(mon_container=1))], ["order_failed"]),
        ([orders(order()), orders(ended=[order(end_reason="cancelled")])], []),
        ([orders(order()), orders(ended=[order(end_reason="exhausted")])], ["order_failed"]),
        ([orders(order()), *[orders(ended=[order(end_reason="host_lost")])] * 3], ["order_failed"]),
        ([orders(order()), orders(), orders(ended=[order(end_reason="expired")])], ["order_failed"]),
        ([orders(order()), orders(ended=[order(expired=True)])], []),  # a market that says no reason
        ([orders(order()), orders(ended=[order(5, end_reason="failed")])], []),  # over long before
        ([orders(order()), orders(order(), ended=[order(9, end_reason="failed")])], ["order_failed"]),
        ([orders(order()), orders(order(status="exited (1)"))], ["order_failed"]),
        ([orders(order()), {"failed": {"orders": "busy"}}, orders(order())], []),
    ],
)
def test_a_failed_order_is_said_once(history, said):
    assert told(file_with(OrderFailed()), history) == said


RUNS, WAITS = order(spot=True, state="running"), order(spot=True, state="waiting")
SPOT = order(spot=True)


@pytest.mark.parametrize(
    ("history", "said"),
    [
        ([orders(WAITS)] * 3, []),
        ([orders(RUNS), orders(WAITS), orders(WAITS)], ["outbid"]),
        ([orders(RUNS), orders(WAITS), orders(RUNS), orders(WAITS)], ["outbid", "back", "outbid"]),
        ([orders(), orders(WAITS)], ["outbid"]),
        ([orders(RUNS), orders(WAITS), orders()], ["outbid"]),
        ([orders(SPOT, spot=bids(active=True)), orders(SPOT, spot=bids(active=False))], ["outbid"]),
        ([orders(RUNS), orders(WAITS), orders(SPOT), orders(WAITS)], ["outbid"]),
        ([orders(order(state="running")), orders(order(state="waiting"))], []),
    ],
)
def test_an_outbid_order_is_said_once_and_that_it_runs_again(history, said):
    assert told(file_with(Outbid()), history) == said


UP, AWAY = order(online=True), order(online=False)


@pytest.mark.parametrize(
    ("history", "said"),
    [
        ([orders(AWAY)] * 3, []),
        ([orders(UP), orders(AWAY), orders(SILENT), orders(AWAY)], ["host_lost"]),
        ([orders(UP), orders(AWAY), orders(UP)], ["host_lost", "back"]),
        ([orders(AWAY), orders(UP), orders(AWAY)], ["host_lost"]),
        ([orders(UP), orders(AWAY), orders()], ["host_lost"]),
        ([orders(UP), orders(order(online=False, mon_container=0))], []),
    ],
)
def test_a_lost_host_is_said_once_and_that_it_is_back(history, said):
    assert told(file_with(HostLost()), history) == said


@pytest.mark.parametrize(
    ("alert", "history", "said"),
    [
        (ServerOffline(), [server(False)] * 3, []),
        (ServerOffline(), [server(), server(False), server(False)], ["server_offline"]),
        (ServerOffline(), [server(), server(False), server()], ["server_offline", "back"]),
        (ServerOffline(), [server(), server(False), server(None), server(False)], ["server_offline"]),
        (ServerOffline(servers=("lab*",)), [server(), server(False)], []),
        (ServerOffline(servers=("rig*",)), [server(), server(False)], ["server_offline"]),
        (ServerOffline(), [server(), server(False, "new")], []),
        (ServerRented(), [rented(1), rented(0), rented(2), rented(1)], ["server_rented"]),
        (ServerRented(), [rented(0), rented(1), rented(0), rented(1)], ["server_rented"] * 2),
        (ServerFree(), [rented(0), rented(1), rented(0)], ["server_free"]),
        (
            ServerRented(),
            [server(**offers(offer(1, 3, rented=False))), server(**offers(offer(1, 3, rented=True)))],
            ["server_rented"],
        ),
    ],
)
def test_a_server_that_changes_is_said(alert, history, said):
    assert told(file_with(alert), history) == said


ABOVE, BELOW = PriceAbove(gpu="4090", level=0.5), PriceBelow(gpu="4090", level=0.5)


@pytest.mark.parametrize(
    ("alert", "prices_per_day", "said"),
    [
        (ABOVE, [24], []),  # two GPUs, 24 hours: 0.5
        (ABOVE, [25, 24, 23.5, 25], ["price_above"]),
        (ABOVE, [25, 22, 25], ["price_above", "back", "price_above"]),
        (BELOW, [23, 24, 25, 23], ["price_below"]),
        (BELOW, [23, 26], ["price_below", "back"]),
        (PriceBelow(gpu="4090", level=0.5, order_type="spot"), [24], ["price_below"]),
    ],
)
def test_a_price_is_said_once_a_crossing(alert, prices_per_day, said):
    history = [offers(offer(price)) for price in prices_per_day]
    assert told(file_with(alert), history) == said


@pytest.mark.parametrize(
    "others",
    [
        [offer(1, 2, rented=True)],
        [offer(1, 2, gpu="2x NVIDIA GeForce RTX 3090")],
        [offer(1, 2, gigaspot=True)],
        [offer(1, 2, gpu="0x no GPU")],
        [offer(-1, 2)],
        [offer(float("nan"), 2)],
        [offer(float("inf"), 2)],
    ],
)
def test_only_free_machines_of_the_model_with_a_price_count(others):
    assert told(file_with(ABOVE), [offers(offer(25), *others)]) == ["price_above"]
    assert told(file_with(ABOVE), [offers(*others)]) == []


def test_events_of_the_kinds_are_said_each_once():
    history = [
        events((4, "order_ended"), (5, "order_won")),
        events((5, "order_won"), (6, "order_ended")),
        events((6, "order_ended")),
        NOTHING,
    ]
    memory = remembered(file_with(Happened(kinds=("order_ended",))), history)
    assert [message.title for message in messages_of(memory)] == ["order_ended: order 7"] * 2
    assert messages_of(memory)[0].body == "order_ended: order 7 (reason: failed)"


# Reading fails --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("history", "apart", "said"),
    [
        ([DOWN, DOWN], 60, []),
        ([DOWN, DOWN, DOWN, DOWN], 60, ["blind"]),
        ([DOWN], 60, []),
        ([DOWN, DOWN], 900, ["blind"]),
        ([wallet(200), DOWN, DOWN, wallet(200), DOWN, DOWN], 60, []),
        ([DOWN, DOWN, DOWN, wallet(200), DOWN, DOWN, DOWN], 60, ["blind", "sighted", "blind"]),
        ([wallet(99), DOWN, DOWN, DOWN, wallet(99)], 60, ["wallet_below", "blind", "sighted"]),
        ([wallet(200), DOWN, DOWN, DOWN, wallet(99)], 60, ["blind", "sighted", "wallet_below"]),
        ([{"failed": {"wallets": Failed("bad key", final=True)}}], 60, ["blind"]),
        ([{"wallets": {"clore": 3.0}}] * 3, 60, ["blind"]),
        ([{**wallet(99), "age": 301}] * 3, 60, ["blind"]),
        ([{**wallet(200), "age": 301}, {**wallet(99), "age": 300}], 60, ["wallet_below"]),
    ],
)
def test_not_being_able_to_read_is_said_once(history, apart, said):
    assert told(file_with(LOW), history, apart=apart) == said


def test_it_is_said_what_cannot_be_read_and_that_nothing_is_done_about_old_data():
    both = {"failed": {"orders": "busy", "wallets": "no network"}}
    (blind,) = messages_of(remembered(file_with(LOW), [both] * 4))
    assert blind.title == "Can't read orders and wallets"
    assert "wallets: no network (3 tries since 22:13 UTC)" in blind.body
    assert "No action is taken on data older than 5m" in blind.body


def test_of_many_things_that_cannot_be_read_the_first_are_named():
    many = {"failed": {f"server rig-{n}": "busy" for n in range(40)}}
    (blind,) = messages_of(remembered(file_with(LOW), [many] * 3))
    assert blind.title == "Can't read server rig-0, server rig-1, server rig-2, server rig-3 and 36 more"
    assert blind.body.count("busy") == 40


def test_a_wallet_that_was_never_there_is_said_at_once_with_those_that_are():
    (blind,) = messages_of(remembered(file_with(LOW), [{"wallets": {"clore": 3.0}}]))
    assert "there is no wallet 'bitcoin' with a balance here; there is: clore" in blind.body


def test_a_wallet_that_was_there_may_be_gone_for_a_moment():
    there, gone = {"wallets": {"bitcoin": 200.0}}, {"wallets": {"clore": 3.0}}
    assert messages_of(remembered(file_with(LOW), [there, gone, gone])) == []
    assert len(messages_of(remembered(file_with(LOW), [there, gone, gone, gone]))) == 1


# Notes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("history", "said"),
    [
        ([note("price 4.10, not 4.05")] * 3, ["drift"]),
        ([note("price 4.10, not 4.05"), note("price 4.2, not 4.15")], ["drift"]),
        ([note("price 4"), NOTHING, note("price 5")], ["drift", "drift"]),
        ([note("price 4"), *[NOTHING] * 60, note("price 5")], ["drift", "drift"]),
        ([note("hidden"), note("price 5")], ["drift", "drift"]),
        ([note("no offer has a price", "fleets.train")], ["strange"]),
        ([note("settings are refused", "hosting")], ["strange"]),
        ([note("wait for 5m"), note("wait for 4m 30s"), note("wait for (10 %)")], ["drift", "drift"]),
        ([note("rig-1: hidden"), note("rig-2: hidden"), note("order 5"), note("order 6")], ["drift"] * 4),
        ([{**note("servers can't be read: busy"), "failed": {"servers": "busy"}}], []),
    ],
)
def test_a_note_is_said_once(history, said):
    assert told(file_with(LOW), history) == said


# How it is said -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("amounts", "said"),
    [
        ([99] * 5, []),
        ([99] * 6, ["wallet_below"]),
        ([99, 99, 99, 200, 99, 99, 99, 99, 99], []),
        ([99] * 6 + [200], ["wallet_below", "back"]),
        ([99] * 3 + [200], []),
    ],
)
def test_what_is_to_hold_is_said_when_it_held_for_so_long(amounts, said):
    alert = WalletBelow(wallet=Coin("bitcoin"), below=100, hold=Span(300))
    assert told(file_with(alert), wallets(*amounts)) == said


def test_reminders_come_with_growing_gaps_up_to_the_longest():
    file = file_with(LOW, remind_after=Span(120), remind_growth=2.0, remind_max=Span(600))
    said = messages_of(remembered(file, wallets(*[99.0] * 40)))
    assert [(message.at - BEGIN) // 60 for message in said] == [0, 2, 6, 14, 24, 34]
    assert said[1].title == "Still: bitcoin is low: 99"
    assert said[1].body.endswith("It has been so for 2m.")
    assert told(file_with(LOW), wallets(*[99.0] * 40)) == ["wallet_below"]


def test_what_is_no_news_and_what_is_no_trouble_is_not_said_again():
    reminding = {"remind_after": Span(60)}
    assert told(file_with(ServerOffline(), **reminding), [server(False)] * 9) == []
    assert told(file_with(ServerRented(), **reminding), [rented(0), *[rented(1)] * 9]) == ["server_rented"]


def test_an_alert_that_is_removed_takes_its_standing_with_it():
    file = file_with(LOW)
    memory = remembered(file, wallets(99))
    without = plan_alerts(File(), at(BEGIN + 60, wallet(99)), memory, (), BEGIN + 60)
    assert not without.standings
    assert not without.seen
    again = plan_alerts(file, at(BEGIN + 120, wallet(99)), without, (), BEGIN + 120)
    assert [message.kind for message in messages_of(again)] == ["wallet_below"] * 2


def test_a_name_that_now_means_another_alert_begins_anew():
    memory = remembered(file_with(ServerOffline()), [server(), server(False)])
    file = file_with(ServerRented())
    after = plan_alerts(file, at(BEGIN + 120, rented(1)), memory, (), BEGIN + 120)
    assert [message.kind for message in messages_of(after)] == ["server_offline"]


def test_a_persons_own_words_take_the_place_of_the_text():
    words = {"wallet_below": "{alert}: {amount:.1f} of {wallet}, want {below}", "back": "{subject}: {text}"}
    said = messages_of(remembered(file_with(LOW, templates=words), wallets(99.25, 300)))
    assert [message.title for message in said] == ["bitcoin is low: 99.25", "bitcoin is back: 300"]
    assert [message.body for message in said] == [
        "it: 99.2 of bitcoin, want 100",
        "bitcoin: The balance is 300, again at or above 105.",
    ]
    broken = file_with(LOW, templates={"wallet_below": "{nonsense}"})
    assert "The balance is 99" in messages_of(remembered(broken, wallets(99)))[0].body


# When it goes out -----------------------------------------------------------------------------------


def test_the_first_message_goes_out_at_once_and_what_comes_soon_after_as_one():
    def parcels(looks: int) -> list[list[str]]:
        memory = remembered(file_with(LOW, digest=Span(240)), wallets(99, 200, 99, 200, 99, 200)[:looks])
        return [[message.kind for message in parcel.messages] for parcel in memory.outbox]

    assert [len(parcels(looks)) for looks in range(1, 7)] == [1, 1, 1, 1, 2, 2]
    assert parcels(6) == [["wallet_below"], ["back", "wallet_below", "back", "wallet_below"]]


def test_quiet_hours_say_nothing_and_lose_nothing():
    quiet = (Hours("23:00-07:00"),)  # in Berlin it is 23:13
    file = file_with(LOW, quiet=quiet, timezone="Europe/Berlin", remind_after=Span(3_600))
    night = remembered(file, wallets(99, 200, 99, 99, 99, 99, 99), apart=3_600)
    assert not night.outbox
    assert [message.kind for message in night.gathering] == ["wallet_below", "back", "wallet_below"]
    morning = remembered(file, wallets(99, 200, *[99.0] * 7), apart=3_600)
    assert [len(parcel.messages) for parcel in morning.outbox] == [4]  # with a reminder at last
    assert not remembered(file_with(LOW, quiet=quiet), wallets(99)).gathering  # in UTC it is 22:13


HISTORY = st.lists(st.floats(0, 200).map(wallet) | st.just(DOWN), max_size=30)


@given(HISTORY)
def test_low_and_back_alternate_and_match_the_marks(history):
    said = told(file_with(LOW), history, restarts=False)
    crossings = [kind for kind in said if kind in ("wallet_below", "back")]
    low, expected = False, []
    for look in history:
        if "wallets" in look and low != (look["wallets"]["bitcoin"] < (105 if low else 100)):
            low = not low
            expected.append("wallet_below" if low else "back")
    assert crossings == expected
    sight = [kind for kind in said if kind in ("blind", "sighted")]
    assert sight == ["blind", "sighted"] * (len(sight) // 2) + ["blind"] * (len(sight) % 2)


@given(st.floats(0, 200), st.lists(st.floats(100, 105, exclude_max=True).map(wallet), max_size=20))
def test_between_the_marks_nothing_is_said(first, between):
    file = file_with(LOW)
    assert told(file, [wallet(first), *between]) == told(file, [wallet(first)])


ANY_LOOK = st.one_of(
    st.floats(0, 200).map(wallet),
    st.just(DOWN),
    st.booleans().map(lambda up: orders(order(online=up))),
    st.sampled_from(["running", "waiting"]).map(lambda state: orders(order(state=state, spot=True))),
    st.just(orders(ended=[order(end_reason="failed")])),
    st.sampled_from([True, False, None]).map(server),
    st.floats(1, 50).map(lambda price: offers(offer(price))),
    st.integers(1, 9).map(lambda number: events((number, "order_ended"))),
    st.sampled_from(["hidden", "price 4"]).map(note),
)
EVERYTHING = {
    "cash": LOW, "burn": HOURS, "failed": OrderFailed(), "outbid": Outbid(), "lost": HostLost(),
    "offline": ServerOffline(hold=Span(60)), "rented": ServerRented(), "dear": ABOVE, "cheap": BELOW,
    "events": Happened(kinds=("order_ended",)),
}  # fmt: skip


@given(st.lists(ANY_LOOK, max_size=20), st.integers(0, 300), st.booleans())
def test_no_message_is_lost_or_numbered_twice_and_restarts_change_nothing(history, digest, quiet):
    hours = (Hours("22:15-22:20"),) if quiet else ()
    messages = Messages(digest=Span(digest), quiet=hours, remind_after=Span(60))
    file = File(alerts=EVERYTHING, messages=messages)
    memory = remembered(file, history, restarts=False)
    assert memory == remembered(file, history, restarts=True)
    assert [message.id for message in messages_of(memory)] == list(range(1, memory.next_id))
    later = plan_alerts(File(messages=messages), at(BEGIN, NOTHING), memory, (), BEGIN + 10_000)
    assert later.gathering == ()
    assert messages_of(later)[: len(messages_of(memory))] == messages_of(memory)


@given(st.lists(ANY_LOOK, max_size=10))
def test_the_same_look_and_memory_give_the_same(history):
    file = File(alerts=EVERYTHING)
    memory = remembered(file, history)
    now = BEGIN + 10_000
    looks = [
        plan_alerts(file, at(now, wallet(3)), memory, (Note(for_="a", text="b"),), now) for _ in range(2)
    ]
    assert looks[0] == looks[1]
    assert memory == msgspec.json.decode(msgspec.json.encode(memory), type=AlertsMemory)

"""When a balance is worth a message: once per crossing, whatever happens in between."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openclore.autopilot.alerts import Alert, Balance, Memory, Rule, Unreadable, delivered, observe, plain

RULE = Rule(wallet="bitcoin", below=100.0, back_above=105.0)
READINGS = st.floats(0, 200).map(Balance)
FAILURES = st.builds(Unreadable, st.just("no network"), st.booleans())
HISTORY = st.lists(st.tuples(READINGS | FAILURES, st.floats(0, 1_200)), max_size=30)


def alerts_of(history: list, restart_after: int | None = None) -> list[Alert]:
    memory, now = Memory(), 1_000.0
    for index, (seen, later) in enumerate(history):
        now += later
        memory = observe(RULE, memory, seen, now)
        if index == restart_after:
            memory = msgspec.json.decode(msgspec.json.encode(memory), type=Memory)
    return [parcel.alert for parcel in memory.outbox]


def kinds(*seen: Balance | Unreadable, apart: float = 60) -> list[str]:
    return [alert.kind for alert in alerts_of([(s, apart) for s in seen])]


def balances(*amounts: float) -> list[Balance]:
    return [Balance(amount) for amount in amounts]


DOWN = Unreadable("no network")


@pytest.mark.parametrize(
    ("amounts", "said"),
    [
        ([200, 150], []),
        ([100], []),
        ([99.99], ["low"]),
        ([200, 99, 98, 97], ["low"]),
        ([99, 101, 99, 104.9, 99], ["low"]),
        ([99, 105], ["low", "back"]),
        ([99, 105, 100, 99], ["low", "back", "low"]),
        ([101, 104, 99], ["low"]),
        ([0, 200, 0, 200], ["low", "back", "low", "back"]),
    ],
)
def test_a_crossing_is_said_once(amounts, said):
    assert kinds(*balances(*amounts)) == said


@pytest.mark.parametrize(
    ("seen", "apart", "said"),
    [
        ([DOWN, DOWN], 60, []),
        ([DOWN, DOWN, DOWN, DOWN], 60, ["blind"]),
        ([DOWN], 10_000, []),
        ([DOWN, DOWN], 901, ["blind"]),
        ([Balance(200), DOWN, DOWN, Balance(200), DOWN, DOWN], 60, []),
        ([DOWN, DOWN, DOWN, Balance(200), DOWN, DOWN, DOWN], 60, ["blind", "sighted", "blind"]),
        ([Balance(99), DOWN, DOWN, DOWN, Balance(99)], 60, ["low", "blind", "sighted"]),
        ([Balance(200), DOWN, DOWN, DOWN, Balance(99)], 60, ["blind", "sighted", "low"]),
        ([Unreadable("bad key", final=True)], 60, ["blind"]),
    ],
)
def test_not_being_able_to_read_is_said_once(seen, apart, said):
    assert kinds(*seen, apart=apart) == said


@given(HISTORY)
def test_low_and_back_alternate_and_match_the_marks(history):
    said = [alert.kind for alert in alerts_of(history)]
    crossings = [kind for kind in said if kind in ("low", "back")]
    assert crossings == ["low", "back"] * (len(crossings) // 2) + ["low"] * (len(crossings) % 2)
    sight = [kind for kind in said if kind in ("blind", "sighted")]
    assert sight == ["blind", "sighted"] * (len(sight) // 2) + ["blind"] * (len(sight) % 2)
    low, expected = False, []
    for seen, _ in history:
        if isinstance(seen, Balance) and low != (seen.amount < (105 if low else 100)):
            low = not low
            expected.append("low" if low else "back")
    assert crossings == expected


@given(HISTORY, st.integers(0, 29))
def test_a_restart_at_any_point_changes_nothing(history, point):
    assert alerts_of(history, restart_after=point) == alerts_of(history)


@given(HISTORY, st.data())
def test_every_target_gets_every_alert_once_and_in_order_however_often_delivery_fails(history, data):
    targets = frozenset({"a", "b"})
    got: dict[str, list[Alert]] = {"a": [], "b": []}
    memory, now, all_alerts = Memory(), 0.0, alerts_of(history)

    def deliver(works: bool) -> None:
        nonlocal memory
        for target in sorted(targets):
            index = 0
            while index < len(memory.outbox):
                parcel = memory.outbox[index]
                if target in parcel.delivered:
                    index += 1
                    continue
                if not (works or data.draw(st.booleans())):
                    break
                got[target].append(parcel.alert)
                before = len(memory.outbox)
                memory = delivered(memory, index, target, targets)
                index += len(memory.outbox) == before

    now = 1_000.0
    for seen, later in history:
        now += later
        memory = observe(RULE, memory, seen, now)
        deliver(works=False)
    deliver(works=True)
    assert got == {"a": all_alerts, "b": all_alerts}
    assert memory.outbox == ()


def test_amounts_are_written_as_people_write_them():
    assert [plain(x) for x in (0.0000312, 400.0, 1e16, 0.1)] == [
        "0.0000312",
        "400",
        "10000000000000000",
        "0.1",
    ]
    (alert,) = alerts_of([(Balance(0.0000312), 1)])
    assert alert.title == "bitcoin is low: 0.0000312"
    assert alert.body == "The balance is 0.0000312, below 100."

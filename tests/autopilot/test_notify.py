"""Telling people over real sockets: each gets everything, once and in order, whatever fails meanwhile."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openclore.autopilot import notify
from openclore.autopilot.alerts import plan_alerts
from openclore.autopilot.file import (
    Alert,
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
from openclore.autopilot.memory import AlertsMemory, Message, Parcel
from openclore.autopilot.notify import Postman, examined, reach, targets_of, try_all
from openclore.autopilot.outbox import (
    WAITING_MESSAGES_MAX,
    delivered,
    first_lacking,
    not_delivered,
    packed,
    rendered,
    tidy,
)
from openclore.client import SetupError

from ..processes import until
from ..receivers import Receiver, a_receiver
from .seeing import (
    BEGIN,
    at,
    events,
    fees,
    note,
    offer,
    offers,
    order,
    orders,
    rented,
    server,
    wallet,
)

# Apprise imports a module that Python 3.13 dropped.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with a_receiver() as receiver:
        receiver.manners |= {"a": "ok", "b": "ok", "spare": "ok"}
        yield receiver


def address(receiver: Receiver, path: str) -> str:
    return receiver.url(path, host="user:s3cret@127.0.0.1", scheme="json")


def letters(receiver: Receiver, path: str = "a") -> list[dict[str, Any]]:
    """What came, tries that were refused included."""
    return [json.loads(message.body) for message in receiver.messages if message.path == f"/{path}"]


def titles(receiver: Receiver, path: str = "a") -> list[str]:
    return [letter["title"] for letter in letters(receiver, path)]


class Office:
    """A postman, what he tells, and the memory he keeps; time is turned by hand."""

    def __init__(
        self, receiver: Receiver, *paths: str, fallback: tuple[str, ...] = (), **messages: Any
    ) -> None:
        self.file = File(
            notify=tuple(address(receiver, path) for path in paths or ("a",)),
            messages=Messages(
                digest=Span(0),
                fallback=tuple(address(receiver, path) for path in fallback),
                fallback_after=Span(300),
                **messages,
            ),
        )
        self.now = BEGIN
        self.log: list[str] = []
        self.memory = AlertsMemory()
        self.kept: list[AlertsMemory] = []
        self.restart()

    def restart(self, round_seconds: float = 10.0) -> None:
        self.postman = Postman(self.log.append, date=lambda: self.now, round_seconds=round_seconds)

    def say(self, *names: str) -> None:
        """One message in a parcel each."""
        parcels = tuple(
            Parcel(messages=(Message(id=1, kind="test", at=self.now, title=name, body=f"{name}."),))
            for name in names
        )
        self.memory = AlertsMemory(outbox=(*self.memory.outbox, *parcels), failing=self.memory.failing)

    def deliver(self, later: int = 0) -> None:
        self.now += later
        self.postman.deliver(self.file, self.memory, self._keep)

    def _keep(self, memory: AlertsMemory) -> None:
        self.memory = memory
        self.kept.append(memory)


def test_everybody_gets_everything_in_order(receiver):
    office = Office(receiver, "a", "b")
    office.say("one", "two", "three")
    office.deliver()
    assert titles(receiver, "a") == titles(receiver, "b") == ["one", "two", "three"]
    assert letters(receiver)[0]["message"] == "one. (2023-11-14 22:13 UTC)"
    assert not office.memory.outbox
    assert office.log.count("Told json (1): one") == 1


def test_each_delivery_is_written_down_before_the_next_to_the_same_target(receiver):
    office = Office(receiver)
    office.say("one", "two")
    office.deliver()
    assert [len(memory.outbox) for memory in office.kept] == [1, 0]


def test_what_fails_is_tried_again_after_growing_pauses(receiver):
    office = Office(receiver)
    office.say("one")
    receiver.manners["a"] = "fail"
    tries = []
    for second in range(0, 130, 5):
        before = len(receiver.messages)
        office.deliver(5 if second else 0)
        if len(receiver.messages) > before:
            tries.append(second)
    assert tries == [0, 15, 45, 105]
    assert office.memory.failing
    receiver.manners["a"] = "ok"
    office.deliver(200)
    assert not office.memory.outbox
    assert not office.memory.failing


def test_why_somebody_could_not_be_told_is_told_without_the_address(receiver, closed_port):
    office = Office(receiver)
    office.say("one")
    receiver.manners["a"] = "fail"
    office.deliver()
    office.file = msgspec.structs.replace(
        office.file, notify=(f"json://user:s3cret@127.0.0.1:{closed_port}/token",)
    )
    office.deliver()
    assert office.log == [
        "Could not tell json (1): one (it answered HTTP 503); trying again later.",
        "Could not tell json (1): one (Connection refused); trying again later.",
    ]


def test_a_notification_is_as_bad_as_its_worst_message(receiver):
    office = Office(receiver)
    for kinds in (("wallet_below",), ("back",), ("back", "test"), ("server_offline", "back")):
        messages = tuple(Message(id=1, kind=kind, at=BEGIN, title=kind, body=".") for kind in kinds)
        office.memory = AlertsMemory(outbox=(Parcel(messages=messages),))
        office.deliver()
    assert [letter["type"] for letter in letters(receiver)] == ["warning", "success", "success", "failure"]


def test_a_dead_target_holds_nobody_up_and_gets_all_when_it_lives_again(receiver):
    office = Office(receiver, "a", "b")
    receiver.manners["a"] = "fail"
    office.say("one", "two")
    office.deliver()
    assert titles(receiver, "b") == ["one", "two"]
    assert titles(receiver, "a") == ["one"]
    receiver.messages.clear()
    receiver.manners["a"] = "ok"
    office.deliver(20)
    assert titles(receiver, "a") == ["one", "two"]
    assert titles(receiver, "b") == []


@pytest.mark.parametrize("manner", ["hang", "drip"])
def test_a_target_that_never_answers_keeps_no_round_waiting(receiver, manner):
    office = Office(receiver, "a", "b")
    office.restart(round_seconds=1)
    receiver.manners["a"] = manner
    office.say("one")
    began = time.monotonic()
    office.deliver()
    assert time.monotonic() - began < 10
    assert titles(receiver, "b") == ["one"]
    assert len(office.memory.failing) == 1
    office.deliver(1)
    assert titles(receiver, "a") == ["one"]  # nothing is sent twice while one is on its way
    assert any("has not taken it yet" in line for line in office.log)


def test_an_answer_that_comes_late_counts(receiver):
    office = Office(receiver)
    office.restart(round_seconds=0.1)
    receiver.manners["a"] = "hang"
    office.say("one")
    office.deliver()
    assert office.memory.outbox
    receiver.released.set()

    def done() -> bool:
        office.deliver()
        return not office.memory.outbox

    until(done, what="the late answer to be noted")
    assert titles(receiver) == ["one"]
    assert not office.memory.failing


def test_a_target_that_takes_too_long_is_tried_again_and_its_late_answer_counts_no_more(
    receiver, monkeypatch
):
    monkeypatch.setattr(notify, "SENDING_SECONDS_MAX", 0.0)
    office = Office(receiver)
    office.restart(round_seconds=0.1)
    receiver.manners["a"] = "hang"
    office.say("one")
    office.deliver()
    assert any("does not take it" in line for line in office.log)
    until(lambda: titles(receiver) == ["one"], what="the message")
    office.deliver(14)
    assert titles(receiver) == ["one"]
    office.deliver(1)
    until(lambda: titles(receiver) == ["one", "one"], what="the second try")
    receiver.released.set()
    until(lambda: office.postman._results.qsize() == 2, what="both answers")
    office.deliver()
    assert office.memory.outbox
    receiver.manners["a"] = "ok"
    office.deliver(30)
    assert not office.memory.outbox


def test_pauses_are_short_again_after_a_success(receiver):
    office = Office(receiver)
    office.say("one", "two")
    for manner, later in (("fail", 0), ("fail", 15), ("fail", 30), ("ok", 60)):
        receiver.manners["a"] = manner
        office.deliver(later)
    assert not office.memory.outbox
    office.say("three")
    receiver.manners["a"] = "fail"
    office.deliver(1)
    receiver.manners["a"] = "ok"
    office.deliver(15)
    assert not office.memory.outbox


def test_the_fallback_is_told_when_a_target_failed_for_long_and_why(receiver):
    office = Office(receiver, "a", "b", fallback=("spare",))
    receiver.manners["a"] = "fail"
    office.say("one")
    office.deliver()
    office.deliver(299)
    assert titles(receiver, "spare") == []
    office.deliver(1)
    office.say("two")  # what comes now is not waited with
    office.deliver(1)
    assert titles(receiver, "spare") == ["one", "two"]
    assert (
        "json (1) could not be told since 2023-11-14 22:13 UTC, so you are."
        in letters(receiver, "spare")[0]["message"]
    )
    assert "could not be told" not in letters(receiver, "b")[0]["message"]
    receiver.manners["a"] = "ok"
    receiver.messages.clear()
    office.deliver(1_000)
    assert titles(receiver, "a") == ["one", "two"]
    assert titles(receiver, "spare") == []
    office.say("three")
    office.deliver()
    assert titles(receiver, "spare") == []


def test_a_fallback_that_fails_is_tried_again(receiver):
    office = Office(receiver, "a", fallback=("spare",))
    receiver.manners |= {"a": "fail", "spare": "fail"}
    office.say("one")
    office.deliver()
    office.deliver(300)
    receiver.messages.clear()
    receiver.manners["spare"] = "ok"
    office.deliver(300)
    assert titles(receiver, "spare") == ["one"]


def test_nothing_is_sent_in_quiet_hours_and_all_is_afterwards(receiver):
    office = Office(receiver, quiet=(Hours("22:00-23:00"),))
    office.say("one")
    office.deliver()
    assert not receiver.messages
    office.deliver(3_600)
    assert titles(receiver) == ["one"]


def test_a_restart_repeats_nothing_that_was_noted(receiver):
    office = Office(receiver, "a", "b")
    receiver.manners["b"] = "fail"
    office.say("one")
    office.deliver()
    receiver.manners["b"] = "ok"
    receiver.messages.clear()
    office.restart()
    office.deliver()
    assert (titles(receiver, "a"), titles(receiver, "b")) == ([], ["one"])


def test_what_came_up_in_an_outage_comes_as_one_message_afterwards(receiver):
    office = Office(receiver)
    receiver.manners["a"] = "fail"
    file = File(
        notify=office.file.notify,
        messages=office.file.messages,
        alerts={"cash": WalletBelow(wallet=Coin("bitcoin"), below=100)},
    )
    office.file = file
    for number in range(7):
        look = at(office.now, wallet(99 if number % 2 else 200))
        office.memory = plan_alerts(file, look, office.memory, (), office.now)
        office.deliver(60)
    receiver.messages.clear()
    receiver.manners["a"] = "ok"
    office.deliver(600)
    assert titles(receiver) == ["bitcoin is low: 99", "5 messages: bitcoin is back: 200, ..."]
    assert letters(receiver)[1]["message"].count("bitcoin is low: 99") == 2


def test_an_address_that_cannot_be_used_is_told_and_ends_nothing(receiver):
    office = Office(receiver)
    office.file = File(notify=("nonsense://s3cret", address(receiver, "a")))
    office.say("one")
    office.deliver()
    assert titles(receiver) == ["one"]
    assert "Notification address 1 of kind 'nonsense' can't be used" in office.log[0]
    assert office.memory.outbox
    assert "s3cret" not in "".join(office.log)


def test_who_is_nobody_gets_nothing(receiver):
    office = Office(receiver)
    office.file = File()
    office.say("one")
    office.deliver()
    assert not office.memory.outbox


# Every kind -----------------------------------------------------------------------------------------

KINDS: list[tuple[Alert | None, list[dict[str, Any]], str, str]] = [
    (
        WalletBelow(wallet=Coin("bitcoin"), below=1),
        [wallet(0.5)],
        "bitcoin is low: 0.5",
        "The balance is 0.5, below 1.",
    ),
    (WalletBelow(wallet=Coin("bitcoin"), below=1), [wallet(0.5), wallet(2)], "bitcoin is back: 2", "1.05."),
    (
        WalletHoursBelow(wallet=Coin("bitcoin"), hours=10),
        [{**wallet(0.5), **orders(order(price=2.4)), "fees": fees(0)}],
        "bitcoin lasts for 5 hours",
        "running orders cost 0.1 an hour, fees included",
    ),
    (
        OrderFailed(),
        [orders(order(mon_container=0)), orders(order(mon_container=1, end_detail="no such image"))],
        "Order 7 failed",
        "Order 7 (ubuntu) on server 3: it could not be deployed: no such image.",
    ),
    (
        Outbid(),
        [orders(order(spot=True, state=state)) for state in ("running", "waiting")],
        "Order 7 is outbid",
        "Somebody bids more than 2.4 bitcoin a day for server 3.",
    ),
    (
        HostLost(),
        [orders(order(online=True)), orders(order(online=False))],
        "Order 7 lost its host",
        "Server 3, on which order 7 (ubuntu) runs, is offline.",
    ),
    (ServerOffline(), [server(), server(False)], "rig-1 is offline", "Server rig-1 is offline."),
    (ServerRented(), [rented(0), rented(1)], "rig-1 is rented", "Server rig-1 is rented now."),
    (ServerFree(), [rented(1), rented(0)], "rig-1 is free", "Server rig-1 is no longer rented."),
    (
        PriceAbove(gpu="4090", level=0.5),
        [offers(offer(28.8))],
        "4090, on-demand: 0.6 $ per GPU and hour",
        "The cheapest free 4090 costs 0.6 $ per GPU and hour (on-demand), above 0.5 $.",
    ),
    (
        PriceBelow(gpu="4090", level=0.5, order_type="spot"),
        [offers(offer(28.8))],
        "4090, spot: 0.3 $ per GPU and hour",
        "(spot), below 0.5 $.",
    ),
    (
        Happened(kinds=("order_ended",)),
        [events((1, "order_ended"))],
        "order_ended: order 7",
        "order_ended: order 7 (reason: failed)",
    ),
    (None, [{"failed": {"orders": "busy"}}] * 3, "Can't read orders", "orders: busy (3 tries since"),
    (
        None,
        [*[{"failed": {"orders": "busy"}}] * 3, {}],
        "Can read orders again",
        "orders: all is well again.",
    ),
    (None, [note("rig-1 is hidden")], "settings.rigs differs", "rig-1 is hidden"),
    (None, [note("no offer has a price", "fleets.a")], "fleets.a needs a look", "no offer has a price"),
]


@pytest.mark.parametrize(("alert", "looks", "title", "text"), KINDS, ids=[kind[2] for kind in KINDS])
def test_a_real_receiver_hears_of(receiver, alert, looks, title, text):
    office = Office(receiver)
    file = File(
        notify=office.file.notify, messages=office.file.messages, alerts={"it": alert} if alert else {}
    )
    office.file = file
    for look in looks:
        office.memory = plan_alerts(
            file, at(office.now, look), office.memory, look.get("notes", ()), office.now
        )
        office.deliver(60)
    assert titles(receiver)[-1] == title
    assert text in letters(receiver)[-1]["message"]
    assert not office.memory.outbox


# Trying ---------------------------------------------------------------------------------------------


def test_a_test_goes_to_everybody_and_says_who_took_it(receiver):
    office = Office(receiver, "a", "b", fallback=("spare",))
    receiver.manners["b"] = "fail"
    assert try_all(office.file) == [
        ("json (1)", ""),
        ("json (2)", "it answered HTTP 503"),
        ("json (fallback 1)", ""),
    ]
    assert titles(receiver, "a") == titles(receiver, "spare") == ["A test by openclore"]
    with pytest.raises(SetupError, match="address 1 of kind 'nonsense' can't be used"):
        try_all(File(notify=("nonsense://x",)))


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_who_cannot_be_reached_is_told_by_number_and_kind_and_gets_nothing(
    receiver, closed_port, monkeypatch
):
    found = {"nowhere.example": OSError(-2, "Name or service not known")}
    connect = socket.create_connection

    def create_connection(where: tuple[str, int], timeout: float) -> socket.socket:
        if where[0] in found:
            raise found[where[0]]
        return connect(where, timeout=timeout)

    monkeypatch.setattr(socket, "create_connection", create_connection)
    file = File(
        notify=(
            address(receiver, "a"),
            f"json://user:s3cret@127.0.0.1:{closed_port}/",
            "mailto://user:s3cret@example.org?smtp=nowhere.example",
            "nonsense://s3cret",
            "syslog://",
        ),
        messages=Messages(fallback=("json://s3cret@nowhere.example/",)),
    )
    (unusable,), unreachable = examined(file)
    assert not receiver.messages
    assert "s3cret" not in "".join([unusable, *unreachable])
    assert unusable.startswith("Notification address 4 of kind 'nonsense' can't be used")
    assert [problem.partition(" can't be reached: ")[0] for problem in unreachable] == [
        "json (2)",
        "mailto (3)",
        "json (fallback 1)",
    ]
    assert unreachable[0] == "json (2) can't be reached: Connection refused"


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("json://user:pass@example.org:8080/x", ("example.org", 8080)),
        ("jsons://example.org/x", ("example.org", 443)),
        ("json://example.org/x", ("example.org", 80)),
        ("mailtos://user:pass@gmail.com", ("smtp.gmail.com", 587)),
        ("tgram://123456789:abcdefg_hijklmnop/12345", ("api.telegram.org", 443)),
        ("discord://1234/abc", ("discord.com", 443)),
        ("ntfy://topic", ("ntfy.sh", 443)),
        ("ntfy://example.org/topic", ("example.org", 80)),
        ("gotifys://example.org/token", ("example.org", 443)),
        ("syslog://", None),
    ],
)
def test_where_a_target_is_follows_from_its_address(url, host):
    (target,) = targets_of([url])
    assert target.host == host


def test_a_proxy_is_asked_where_the_environment_names_one(receiver, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{receiver.port}")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    (target,) = targets_of(["json://nowhere.invalid/"])
    assert reach(target) == ""


@pytest.mark.parametrize("url", ["json://127.0.0.1:1/,json://127.0.0.1:2/", "", "ftp://x", "words"])
def test_what_is_not_one_address_is_refused(url):
    with pytest.raises(SetupError, match=r"Notification address 2 .*can't be used"):
        targets_of(["json://127.0.0.1/", url])


# The outbox -----------------------------------------------------------------------------------------


def parcel_of(*names: str, when: int = 0) -> Parcel:
    return Parcel(messages=tuple(Message(id=1, kind="test", at=when, title=n, body=f"{n}.") for n in names))


def test_a_parcel_of_several_lists_them_with_their_times():
    title, text = rendered(Messages(timezone="Europe/Berlin"), parcel_of("one", "two"))
    assert title == "2 messages: one, ..."
    assert text == "one\none. (1970-01-01 01:00 CET)\n\ntwo\ntwo. (1970-01-01 01:00 CET)"


def test_what_somebody_has_is_given_up_elsewhere_after_a_week_and_what_nobody_has_never():
    memory = AlertsMemory(outbox=(parcel_of("one"), parcel_of("two")))
    memory = delivered(memory, memory.outbox[0], "a")
    both: Callable[[int], AlertsMemory] = lambda now: tidy(memory, frozenset("ab"), frozenset(), now)  # noqa: E731
    assert len(both(7 * 86_400).outbox) == 2
    assert [parcel.messages[0].title for parcel in both(7 * 86_400 + 1).outbox] == ["two"]


def test_of_what_nobody_could_be_told_the_newest_is_kept_and_the_rest_counted():
    stuck = AlertsMemory(outbox=(parcel_of("one"),), failing={"a": 0})
    memory = stuck
    for number in range(3 * WAITING_MESSAGES_MAX):
        message = Message(id=100 + number, kind="test", at=60 * number, title=f"{number}", body="")
        gathering = (*memory.gathering, message)
        memory = packed(Messages(), msgspec.structs.replace(memory, gathering=gathering), 60 * number)
    assert len(memory.gathering) == WAITING_MESSAGES_MAX
    first, *others = memory.gathering
    assert first.title == f"And {2 * WAITING_MESSAGES_MAX + 1} more since 1970-01-01 00:00 UTC"
    assert [message.id for message in others] == list(range(1_101, 1_600))
    assert len(msgspec.json.encode(memory)) < 100_000
    memory = packed(Messages(), msgspec.structs.replace(memory, failing={}), 10**6)
    assert sum(len(parcel.messages) for parcel in memory.outbox) == WAITING_MESSAGES_MAX + 1


def test_what_somebody_has_is_given_up_elsewhere_before_it_is_many():
    names = [str(number) for number in range(50)]
    memory = AlertsMemory()
    for number in range(30):
        parcel = parcel_of(*(f"{number} {name}" for name in names))
        memory = msgspec.structs.replace(memory, outbox=(*memory.outbox, parcel))
        memory = tidy(delivered(memory, parcel, "a"), frozenset("ab"), frozenset(), 0)
    assert [parcel.messages[0].title for parcel in memory.outbox] == [f"{n} 0" for n in range(20, 30)]


def test_a_target_that_is_gone_from_the_file_is_forgotten():
    memory = not_delivered(not_delivered(AlertsMemory(), "a", 5), "b", 6)
    assert tidy(memory, frozenset("a"), frozenset(), 7).failing == {"a": 5}


@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), max_size=40), st.integers(1, 6))
def test_every_target_gets_every_parcel_once_and_in_order_whatever_fails(tries, count):
    memory = AlertsMemory(outbox=tuple(parcel_of(str(number)) for number in range(count)))
    got: dict[str, list[Parcel]] = {"a": [], "b": []}
    whole = memory.outbox
    for target, works in [*tries, *[("a", True), ("b", True)] * count]:
        parcel = first_lacking(memory, target)
        if parcel is None:
            continue
        if works:
            got[target].append(parcel)
        memory = delivered(memory, parcel, target) if works else not_delivered(memory, target, 1)
        memory = tidy(memory, frozenset("ab"), frozenset(), 1)
    assert memory.outbox == ()
    assert {name: [p.messages for p in parcels] for name, parcels in got.items()} == {
        name: [parcel.messages for parcel in whole] for name in "ab"
    }

"""What is tried again, and how `create_order` finds its order without ever ordering twice."""

from email.utils import formatdate

import httpx2
import pytest

from openclore.client import errors
from openclore.client._retry import delay_before_retry

from .fakes import reply

TOO_FAST = reply({"code": 5}, 429)
OK = reply({"code": 0, "wallets": []})
ORDER = {"renting_server": 70123, "currency": "USD-Blockchain", "image": "a/b:1"}


def row(order_id: int = 5551234, ct: float = 1_783_700_000, **more: object) -> dict[str, object]:
    return {"id": order_id, "si": 70123, "ct": int(ct), **more}


def listed(*rows: dict[str, object], date: float | None = None) -> httpx2.Response:
    headers = {} if date is None else {"Date": formatdate(date, usegmt=True)}
    return reply({"orders": list(rows), "limit": 32, "code": 0}, headers=headers)


NOTHING_YET = listed()
"""The first answer to a client that orders: it asks which orders there are."""


@pytest.mark.parametrize(
    "trouble",
    [
        TOO_FAST,
        reply(b"busy", 429),
        reply(b"<html>", 502),
        reply(b"<html>", 503),
        reply({"code": 1}, 504),
        reply({"error": "upstream timed out"}, 504),
        reply({"error": "slow down"}, 429),
        reply({"code": 6, "error": "wait"}),
        httpx2.ConnectError("refused"),
        httpx2.ReadTimeout("slow"),
        httpx2.RemoteProtocolError("gone"),
    ],
)
def test_passing_trouble_is_waited_out_on_a_read(connect, trouble):
    clore, script = connect(trouble, trouble, OK)
    assert clore.wallets() == []
    assert len(script.requests) == 3


@pytest.mark.parametrize(
    "refusal",
    [
        reply({"code": 1}, 500),
        reply({"code": 3}, 401),
        reply({"code": 6, "error": "currency-not-allowed"}, 503),
        reply(b"<html>", 403),
        reply(b"<html>", 500),
    ],
)
def test_a_refusal_is_not_asked_for_again(connect, refusal):
    clore, script = connect(refusal)
    with pytest.raises(errors.CloreError):
        clore.wallets()
    assert len(script.requests) == 1


def test_whoever_wants_hears_of_every_retry(connect):
    heard: list[tuple[str, bool]] = []
    clore, _ = connect(
        TOO_FAST, OK, on_retry=lambda error, seconds: heard.append((error.endpoint, seconds >= 2))
    )
    clore.wallets()
    assert heard == [("wallets", True)]


def test_patience_ends(connect, clock):
    clore, script = connect(TOO_FAST)
    with pytest.raises(errors.RateError):
        clore.wallets()
    assert len(script.requests) == 4
    assert clock.now - 1_000 < 30


def test_the_market_says_how_long_to_wait(connect, clock):
    clore, _ = connect(reply({"code": 5}, 429, headers={"Retry-After": "11"}), OK)
    clore.wallets()
    assert 11 in clock.slept
    clore, script = connect(reply({"code": 5}, 429, headers={"Retry-After": "3600"}))
    with pytest.raises(errors.RateError) as caught:
        clore.wallets()
    assert caught.value.retry_after_seconds == 3600
    assert len(script.requests) == 1


def test_backoff_grows_from_two_seconds_to_six_with_jitter():
    def delay(attempt: int, dice: float) -> float | None:
        return delay_before_retry(
            errors.RateError("x"),
            repeatable=False,
            once_by_key=False,
            attempt=attempt,
            attempts=9,
            dice=dice,
        )

    assert [delay(n, 0) for n in (1, 2, 3, 4)] == [2, 4, 6, 6]
    assert [delay(n, 1) for n in (1, 2, 3)] == [2.5, 5, 7.5]
    assert delay(9, 0) is None


def test_a_changed_bid_is_not_sent_twice_after_a_lost_answer(connect):
    slow = httpx2.ReadTimeout("slow")
    clore, script = connect(slow, listed(), slow)
    for _ in range(2):
        with pytest.raises(errors.TimedOutError) as caught:
            clore.set_spot_price(1, 2)
        assert caught.value.ambiguous
    assert script.paths == ["set_spot_price", "my_orders", "set_spot_price"]


def test_a_cancel_whose_answer_was_lost_takes_already_over_for_done(connect):
    over = reply({"code": 6, "error": "order_not_active"})
    clore, script = connect(httpx2.ReadTimeout("slow"), over)
    clore.cancel_order(7)
    assert script.paths == ["cancel_order"] * 2
    clore, _ = connect(over)
    with pytest.raises(errors.NotFoundError):
        clore.cancel_order(7)


# create_order ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "carried",
    [
        {"order": {"id": 5551234, "si": 70123, "price": 2}},
        {"order": {"id": "5551234", "si": 70123, "tcp_ports": "22:31022"}, "error": None},
    ],
)
def test_an_order_in_the_reply_is_the_order(connect, carried):
    clore, script = connect(NOTHING_YET, reply({"code": 0, **carried}))
    assert clore.create_order(**ORDER).id == 5551234
    assert script.paths == ["my_orders", "create_order"]


@pytest.mark.parametrize(
    "carried",
    [{"id": 5551234}, {"order_id": "5551234"}, {"order": {"id": 5551234}}, {"data": {"id": 5551234}}],
)
def test_an_id_in_the_reply_is_looked_up(connect, carried):
    clore, script = connect(NOTHING_YET, reply({"code": 0, **carried}), listed(), listed(row(), row(7)))
    order = clore.create_order(**ORDER)
    assert (order.id, order.ct) == (5551234, 1_783_700_000)
    assert script.paths == ["my_orders", "create_order", "my_orders", "my_orders"]


def test_an_id_that_never_shows_is_an_order_nevertheless(connect):
    clore, _ = connect(NOTHING_YET, reply({"code": 0, "id": 5551234}), listed())
    order = clore.create_order(**ORDER)
    assert (order.id, order.si, order.currency) == (5551234, 70123, "USD-Blockchain")


def test_a_bare_success_is_looked_for_until_it_shows(connect, clock):
    date = 1_783_700_000.0
    clore, script = connect(
        NOTHING_YET, reply({"code": 0}), *[listed(date=date)] * 6, listed(row(ct=date), date=date + 12)
    )
    assert clore.create_order(**ORDER).id == 5551234
    assert script.paths == ["my_orders", "create_order"] + ["my_orders"] * 7
    gaps = [b - a for a, b in zip(script.times[2:], script.times[3:], strict=False)]
    assert all(1.2 <= gap <= 2.0 for gap in gaps)


@pytest.mark.parametrize(
    "failure",
    [
        reply({"code": 1}, 500),
        reply(b"<html>", 500),
        reply(b"<html>", 502),
        reply(b"<html>", 200),
        reply({"error": "Bad gateway"}, 502),
        reply({"error": "upstream timed out"}, 504),
        reply({"status": "error", "error": "unavailable"}, 503),
        httpx2.ReadTimeout("slow"),
        httpx2.ReadError("reset"),
        httpx2.RemoteProtocolError("gone"),
    ],
)
def test_after_an_unclear_failure_the_order_is_looked_for_and_never_made_twice(connect, failure):
    clore, script = connect(NOTHING_YET, failure, listed(row(ct=4_000_000_000)))
    assert clore.create_order(**ORDER).id == 5551234
    assert script.paths.count("create_order") == 1

    clore, script = connect(NOTHING_YET, failure, listed())
    with pytest.raises(errors.OutcomeUnknownError, match="look in my_orders again") as caught:
        clore.create_order(**ORDER)
    assert script.paths.count("create_order") == 1
    assert isinstance(caught.value.__cause__, errors.CloreError)
    assert script.requests[-1].url.query == b"return_completed=true"


def test_a_row_without_a_time_is_taken_only_if_its_id_is_new(connect):
    undated = {"id": 5551234, "si": 70123}
    clore, _ = connect(listed({"id": 5551234, "si": 70123}), reply({"code": 1}, 500), listed(undated))
    with pytest.raises(errors.OutcomeUnknownError):
        clore.create_order(**ORDER)


def test_looking_for_an_order_ends_after_thirty_seconds(connect, clock):
    clore, script = connect(NOTHING_YET, reply({"code": 0}), listed())
    with pytest.raises(errors.OutcomeUnknownError, match="was accepted"):
        clore.create_order(**ORDER)
    assert 28 < clock.now - 1_000 < 33
    assert 15 < len(script.requests) < 27


def test_looking_ends_in_a_long_outage_too(connect, clock):
    clore, script = connect(NOTHING_YET, httpx2.ReadTimeout("slow"), takes=30.0)
    with pytest.raises(errors.OutcomeUnknownError):
        clore.create_order(**ORDER)
    assert script.paths == ["my_orders", "create_order", "my_orders", "my_orders"]
    assert clock.now - 1_000 < 130


def test_a_clear_refusal_is_raised_at_once(connect):
    for refusal, kind in [
        (reply({"code": 6, "error": "server-offline"}), errors.UnavailableError),
        (reply({"code": 6, "error": "currency-not-allowed"}, 500), errors.InputError),
        (reply(b"<html>", 403), errors.BlockedError),
    ]:
        clore, script = connect(NOTHING_YET, refusal)
        with pytest.raises(kind):
            clore.create_order(**ORDER)
        assert script.paths == ["my_orders", "create_order"]


def test_what_never_reached_the_market_may_be_sent_again(connect):
    made = reply({"code": 0, "order": {"id": 1, "si": 70123}})
    clore, script = connect(NOTHING_YET, TOO_FAST, httpx2.ConnectError("refused"), made)
    assert clore.create_order(**ORDER).id == 1
    assert script.paths == ["my_orders"] + ["create_order"] * 3


def test_trouble_while_looking_does_not_stop_the_look(connect):
    clore, _ = connect(
        NOTHING_YET,
        reply({"code": 0}),
        reply({"code": 1}, 500),
        reply(b"<html>", 403),
        listed(row(ct=4_000_000_000)),
    )
    assert clore.create_order(**ORDER).id == 5551234


@pytest.mark.parametrize(
    "other",
    [
        row(si=70124),
        row(ct=1_783_699_990),
        row(spot=True),
        row(4),
    ],
    ids=["another server", "made earlier", "a spot order", "an id seen before"],
)
def test_only_the_new_order_of_this_server_is_taken(connect, clock, other):
    def orders(request: httpx2.Request) -> httpx2.Response:
        return listed(other, date=1_783_700_000.0 + clock.now - 1_000)

    clore, _ = connect(listed(row(4)), reply({"code": 0}), orders)
    clore.my_orders()
    with pytest.raises(errors.OutcomeUnknownError):
        clore.create_order(**ORDER)


def test_a_wrong_clock_here_does_not_matter_where_the_market_tells_its_time(connect, clock):
    long_ago = 1_000_000_000.0  # this machine's date is decades later

    def answer(request: httpx2.Request) -> httpx2.Response:
        elapsed = clock.now - 1_000
        if request.url.path.endswith("create_order"):
            return reply({"code": 0})
        return listed(row(ct=long_ago), date=long_ago + elapsed)

    clore, _ = connect(NOTHING_YET, answer, takes=0.3)
    assert clore.create_order(**ORDER).id == 5551234


def test_an_order_made_a_moment_ago_elsewhere_is_not_mistaken_for_the_new_one(connect, clock):
    """Ordered, cancelled and ordered again: the first one lingers in the list."""
    base = 1_783_700_000.0
    lingering = row(1, ct=base)

    def answer(request: httpx2.Request) -> httpx2.Response:
        now = base + clock.now - 1_000
        if request.url.path.endswith("create_order"):
            return reply({"code": 0})
        visible = [lingering, row(2, ct=base + 5)] if now > base + 12 else [lingering]
        return listed(*visible, date=now)

    clock.now += 5.0
    clore, _ = connect(answer, takes=0.2)
    assert clore.create_order(**ORDER).id == 2

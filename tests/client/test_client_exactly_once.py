"""One call makes one order and brings its id, whatever happens on the way."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openclore.client import (
    AsyncClore,
    CloreError,
    InputError,
    OutcomeUnknownError,
    RateError,
    SetupError,
    TimedOutError,
    UnavailableError,
)

from .fakes import BASE_URL, KEY, Clock, make
from .faulty import (
    AFTER,
    COPYING,
    HARMLESS,
    ORDER,
    SERVER,
    FakeMarket,
    Way,
    answer_lost,
    answer_to_the_copy,
    bad_gateway,
    copy_came_too_fast,
    failed_after,
    lost,
    too_fast,
    twice,
    well,
)

DAY = 86_400.0


@pytest.fixture(params=["sync", "async"])
def meet(request: pytest.FixtureRequest, clock: Clock) -> Iterator[Any]:
    """meet(accidents, **market) -> (client, way), on both halves."""
    opened = []

    def open_client(*accidents: Any, **market: Any) -> tuple[Any, Way]:
        way = Way(FakeMarket(clock, **market), accidents)
        opened.append(make(request.param, way, clock))
        return opened[-1], way

    yield open_client
    for client in opened:
        client.close()


def ids(way: Way) -> list[int]:
    return [row["id"] for row in way.market.rows]


# Where keys are known -------------------------------------------------------------------------------


@pytest.mark.parametrize("accident", [lost, bad_gateway, *AFTER, *COPYING, 5.0])
def test_in_the_open_dialect_the_same_request_is_sent_again_with_its_key(meet, accident):
    clore, way = meet(well, accident, dialect="open")
    assert [clore.create_order(**ORDER).id] == ids(way)
    way.deliver(all_of_them=True)
    assert len(ids(way)) == 1
    assert set(way.paths[1:]) == {"create_order"}
    assert len(set(way.keys)) == 1
    assert len({request.content for request in way.requests[1:]}) == 1


def test_each_call_has_a_key_of_its_own(meet):
    clore, way = meet()
    clore.create_order(**ORDER)
    clore.create_order(**{**ORDER, "renting_server": 5})
    clore.set_spot_price(7, 1)
    assert len(set(way.keys)) == 3


def test_a_key_of_ones_own_brings_the_same_order_after_a_crash(meet):
    clore, way = meet()
    first = clore.create_order(**ORDER, idempotency_key="job-17")
    again = clore.create_order(**ORDER, idempotency_key="job-17")
    assert again.id == first.id
    assert way.keys == ["job-17"] * 2
    with pytest.raises(InputError) as caught:
        clore.create_order(**{**ORDER, "image": "c/d"}, idempotency_key="job-17")
    assert caught.value.field == "Idempotency-Key"
    for wrong in ("", "a b", "ä", "x" * 256, "a\n"):
        with pytest.raises(InputError) as caught:
            clore.create_order(**ORDER, idempotency_key=wrong)
        assert caught.value.field == "idempotency_key"
    assert len(ids(way)) == 1


def test_every_write_is_repeatable_there(meet):
    clore, way = meet(well, answer_lost, failed_after, bad_gateway)
    clore.my_orders()
    clore.set_spot_price(7, 1)
    assert way.paths == ["my_orders"] + ["set_spot_price"] * 4
    assert len(set(way.keys)) == 1


def test_what_a_market_speaks_is_found_out_when_it_matters(meet):
    clore, way = meet(lost, dialect="open")
    clore.set_spot_price(7, 1)
    assert way.paths == ["set_spot_price", "my_orders", "set_spot_price"]
    clore, way = meet(lost, dialect="live")
    with pytest.raises(TimedOutError):
        clore.set_spot_price(7, 1)
    assert way.paths == ["set_spot_price", "my_orders"]


def test_patience_ends_and_then_the_order_is_looked_for(meet):
    clore, way = meet(well, *[failed_after] * 9, dialect="open")
    clore.my_orders()
    way._accidents = [failed_after] * 4
    assert [clore.create_order(**ORDER).id] == ids(way)
    assert way.paths == ["my_orders"] + ["create_order"] * 4 + ["my_orders"]


def test_a_refusal_after_an_unclear_attempt_is_looked_into(meet, clock):
    """The first request is still on its way when the second is refused."""
    clore, way = meet(well, 8.0, dialect="open", rival_at=clock.now + 3)
    with pytest.raises(UnavailableError) as caught:
        clore.create_order(**ORDER)
    assert caught.value.repeated
    assert clock.now - 1_000 > 30

    clore, way = meet(well, 6.0, dialect="open")
    way.market._create, create = _refusing(way.market, until=clock.now + 5)
    assert [clore.create_order(**ORDER).id] == ids(way)
    assert create


def _refusing(market: FakeMarket, until: float) -> Any:
    create = market._create

    def refuse(wish: dict[str, Any]) -> dict[str, Any]:
        return create(wish) if market.clock.now >= until else {"code": 6, "error": "server-offline"}

    return refuse, create


def test_a_clear_refusal_there_is_raised_at_once(meet, clock):
    clore, way = meet(dialect="open", rival_at=0.0)
    with pytest.raises(UnavailableError):
        clore.create_order(**ORDER)
    assert way.paths == ["my_orders", "create_order"]


# Elsewhere ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", ["live", "public"])
@pytest.mark.parametrize("accident", [well, *AFTER, twice, answer_to_the_copy, copy_came_too_fast, 8.0])
def test_elsewhere_the_order_is_found_and_made_once(meet, dialect, accident):
    clore, way = meet(well, accident, dialect=dialect, row_delay=4.0)
    assert [clore.create_order(**ORDER).id] == ids(way)
    way.deliver(all_of_them=True)
    assert len(ids(way)) == 1
    assert way.paths.count("create_order") <= 2


@pytest.mark.parametrize("kind", ["on-demand", "spot"])
def test_a_copy_that_took_the_place_first_is_ours(meet, kind):
    bid = {"spotprice": 1.0} if kind == "spot" else {}
    clore, way = meet(well, answer_to_the_copy, dialect="public", row_delay=4.0)
    assert [clore.create_order(**ORDER, type=kind, **bid).id] == ids(way)
    clore, way = meet(well, copy_came_too_fast, dialect="public", row_delay=20.0)
    assert [clore.create_order(**ORDER, type=kind, **bid).id] == ids(way)


def test_a_place_that_somebody_else_took_is_taken(meet, clock):
    clore, way = meet(dialect="public", rival_at=0.0)
    with pytest.raises(UnavailableError):
        clore.create_order(**ORDER)
    assert clock.now - 1_000 < 10
    assert way.paths.count("create_order") == 1


def test_a_place_that_an_order_of_ours_holds_is_taken(meet):
    for dialect in ("live", "public"):
        clore, way = meet(dialect=dialect)
        way.market.add(visible_at=0)
        with pytest.raises(UnavailableError):
            clore.create_order(**ORDER)
        assert way.paths.count("create_order") == 1


def test_an_order_that_was_never_made_is_not_made_up(meet):
    clore, way = meet(well, lost, dialect="public")
    with pytest.raises(OutcomeUnknownError):
        clore.create_order(**ORDER)
    assert ids(way) == []
    assert way.paths.count("create_order") == 1


@pytest.mark.parametrize("dialect", ["live", "public"])
def test_asking_again_brings_the_order_that_came_to_light_meanwhile(meet, clock, dialect):
    clore, way = meet(well, 45.0, dialect=dialect)
    with pytest.raises(OutcomeUnknownError):
        clore.create_order(**ORDER)
    clock.now += 60
    assert [clore.create_order(**ORDER).id] == ids(way)
    assert way.paths.count("create_order") == 1
    with pytest.raises(UnavailableError):
        clore.create_order(**ORDER)


def test_asking_again_is_the_same_request_where_keys_are_known(meet, clock):
    clore, way = meet(dialect="open")
    clore.my_orders()
    way._accidents = [lost] * 30
    with pytest.raises(OutcomeUnknownError):
        clore.create_order(**ORDER)
    way._accidents = [well, well]
    assert [clore.create_order(**ORDER).id] == ids(way)
    assert len(set(way.keys)) == 1
    with pytest.raises(UnavailableError):
        clore.create_order(**ORDER)
    assert len(set(way.keys)) == 2


def test_an_order_that_its_caller_saw_and_ended_is_not_handed_out_later(meet, clock):
    clore, way = meet(well, 45.0, dialect="public")
    with pytest.raises(OutcomeUnknownError):
        clore.create_order(**ORDER)
    clock.now += 60
    (seen,) = clore.my_orders()
    way.market.rows[0]["freed"] = True  # cancelled, but listed still
    assert clore.create_order(**ORDER).id != seen.id


def test_too_fast_is_waited_out_and_told_in_the_end(meet):
    clore, way = meet(well, too_fast, too_fast, dialect="public")
    assert [clore.create_order(**ORDER).id] == ids(way)
    clore, way = meet(well, *[too_fast] * 40, dialect="public")
    with pytest.raises(RateError):
        clore.create_order(**ORDER)


@pytest.mark.parametrize("offset", [5 * DAY, -5 * DAY, -20.0])
def test_a_calendar_that_was_turned_does_not_hide_an_order(meet, offset):
    clore, way = meet(well, failed_after, dialect="live", row_delay=2.0, calendar=lambda date: date + offset)
    way.market.add(visible_at=0, freed=True)
    assert clore.create_order(**ORDER).id == ids(way)[1]


def test_a_calendar_that_stands_still_does_not_hide_an_order(meet, clock):
    standing = 1_783_700_990.0
    clore, way = meet(well, failed_after, dialect="live", row_delay=2.0, calendar=lambda _: standing)
    assert [clore.create_order(**ORDER).id] == ids(way)
    clock.now += 300
    clore.create_order(**{**ORDER, "renting_server": 5})
    assert way.paths.count("my_orders") >= 4


def test_an_order_that_another_program_just_made_is_left_to_it(meet, clock):
    """Both use the account; this one looked long ago."""
    clore, way = meet(dialect="public")
    clore.my_orders()
    clock.now += 600
    way.market.add(visible_at=0)
    clock.now += 30
    with pytest.raises(UnavailableError):
        clore.create_order(**ORDER)


def test_orders_that_ended_are_not_taken_for_the_new_one(meet):
    for dialect in ("live", "public"):
        clore, way = meet(well, lost, dialect=dialect)
        way.market.add(freed=True, expired=True, visible_at=0, ct=1_783_000_000)
        with pytest.raises(OutcomeUnknownError):
            clore.create_order(**ORDER)


def test_another_image_is_another_order(meet, clock):
    clore, way = meet(well, lost, dialect="public")
    clore.my_orders()
    way.market.add(visible_at=clock.now + 3, ct=int(way.market.date) + 5, image="c/d:2")
    with pytest.raises(OutcomeUnknownError):
        clore.create_order(**ORDER)


# Safety catches -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", ["open", "live"])
@pytest.mark.parametrize("accident", [well, *AFTER, twice])
def test_an_order_with_a_lease_is_made_once_too(meet, dialect, accident):
    clore, way = meet(well, accident, dialect=dialect, row_delay=2.0)
    assert [clore.create_order(**ORDER, lease_seconds=600, spend_max=2.5).id] == ids(way)
    assert way.paths[1] == "orders"
    assert b'"spend_max":2.5,"lease_seconds":600' in way.requests[1].content


def test_a_market_without_leases_makes_no_order(meet):
    clore, way = meet(dialect="public")
    way.market.__class__ = type("Public", (FakeMarket,), {"__call__": _without_open_v1})
    with pytest.raises(SetupError, match="no /open/v1"):
        clore.create_order(**ORDER, lease_seconds=600)
    assert ids(way) == []
    with pytest.raises(InputError) as caught:
        clore.create_order(**ORDER, lease_seconds=1)
    assert caught.value.field == "lease_seconds"


def _without_open_v1(market: FakeMarket, request: httpx2.Request) -> httpx2.Response:
    if request.url.path.startswith("/open/"):
        return market._reply({"code": 4})
    return FakeMarket.__call__(market, request)


# Several callers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", ["open", "live", "public"])
def test_two_tasks_never_get_the_same_order(clock, dialect):
    async def scenario() -> list[Any]:
        way = Way(FakeMarket(clock, dialect=dialect, row_delay=4.0), [well, failed_after])
        transport = httpx2.MockTransport(way)
        async with AsyncClore(
            KEY, base_url=BASE_URL, transport=transport, _sleep=clock.asleep, _clock=clock
        ) as clore:
            calls = (clore.create_order(**ORDER) for _ in range(3))
            return [ids(way), *await asyncio.gather(*calls, return_exceptions=True)]

    _, *results = asyncio.run(scenario())
    orders = [result for result in results if not isinstance(result, BaseException)]
    refused = [result for result in results if isinstance(result, UnavailableError)]
    assert (len(orders), len(refused)) == (1, 2)


def test_two_threads_never_get_the_same_order(clock):
    way = Way(FakeMarket(clock, dialect="live", row_delay=4.0), [well, failed_after])
    clore = make("sync", way, clock)
    results: list[Any] = []

    def order() -> None:
        try:
            results.append(clore.create_order(**ORDER).id)
        except UnavailableError:
            results.append(None)

    threads = [threading.Thread(target=order) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    clore.close()
    assert sorted(results, key=str) == sorted([*ids(way), None, None], key=str)


# Whatever happens -----------------------------------------------------------------------------------

ACCIDENTS = st.lists(st.sampled_from([*HARMLESS, *AFTER, *COPYING]) | st.floats(0, 15), max_size=12)
CALENDARS = st.sampled_from(
    [lambda date: date, lambda date: date + 5 * DAY, lambda date: date - 5 * DAY, lambda _: 1_783_700_900.0]
)
BEFORE = st.sampled_from(["nothing", "left, but listed still", "ended", "held"])


@settings(max_examples=200, suppress_health_check=[HealthCheck.differing_executors], deadline=None)
@given(
    dialect=st.sampled_from(["open", "live", "public"]),
    accidents=ACCIDENTS,
    row_delay=st.floats(0, 4),
    calendar=CALENDARS,
    before=BEFORE,
    rival_after=st.none() | st.floats(0, 40),
    kind=st.sampled_from(["on-demand", "spot"]),
    looked=st.booleans(),
)
@pytest.mark.parametrize("half", ["sync", "async"])
def test_whatever_happens_there_is_one_order_and_its_id_or_none_and_an_error(
    half, dialect, accidents, row_delay, calendar, before, rival_after, kind, looked
):
    clock = Clock()
    market = FakeMarket(clock, dialect, row_delay)
    if dialect != "public":
        market.calendar = calendar
    if rival_after is not None:
        market.rival_at = clock.now + rival_after
    if before != "nothing":
        market.add(
            spot=kind == "spot",
            ct=int(market.calendar(market.date)) - 40,
            **({} if before == "held" else {"freed": True}),
            **({"expired": True} if before == "ended" else {}),
        )
    old = len(market.rows)
    way = Way(market)
    clore = make(half, way, clock)
    if looked:
        clore.my_orders()
    way._accidents = list(accidents)
    found, error = None, None
    bid = {"spotprice": 1.0} if kind == "spot" else {}
    for _ in range(3):  # whoever hears that it is unclear may ask again
        try:
            found, error = clore.create_order(**ORDER, type=kind, **bid).id, None
        except CloreError as raised:
            error = raised
        if not isinstance(error, OutcomeUnknownError):
            break
    clore.close()
    way.deliver(all_of_them=True)
    made = [row["id"] for row in market.rows[old:]]
    assert made == ([] if error else [found]), (error, way.paths)
    assert error is None or not (before == "nothing" and rival_after is None and not accidents)


def test_the_market_of_these_tests_holds_one_order_per_server(clock):
    market = FakeMarket(clock, "live")
    assert market._create({**ORDER, "type": "on-demand"}) == {"code": 0}
    assert market._create({**ORDER, "type": "on-demand"})["error"] == "server-already-rented"
    assert market._create({**ORDER, "type": "spot"}) == {"code": 0}
    assert {row["si"] for row in market.rows} == {SERVER}

"""A market that follows a history: the same again, but for what we change."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from openclore.api.currencies import Currency
from openclore.api.offers import Offer
from openclore.api.orders import CancelOrder, CreateOrder, Order
from openclore.api.servers import MyServer
from openclore.autopilot.history import Header, Recorder, document, read
from openclore.rules.refused import Refused
from openclore.sandbox.founding import found
from openclore.sandbox.recorded import RecordingError
from openclore.sandbox.replay import Script, script_of
from openclore.sandbox.sandbox import POLICY
from openclore.sandbox.world import World
from openclore.store import orders as orders_store
from openclore.store.store import Store
from openclore.usecases import orders
from openclore.usecases.market import Market
from openclore.usecases.servers import listings, my_servers

from .histories import EVERY, START, USD, history_of, offer, rig


class Rehearsal:
    def __init__(self, store: Store, script: Script) -> None:
        self.script = script
        self.market = Market(store, POLICY)
        money = {Currency.USD: 10_000.0}
        usd = dict(script.usd)
        self.founded = found(
            self.market, script.machines, usd, 0, script.start, 10_000, money, script.host, money
        )
        self.world = World(self.market, self.founded, script.machines, usd, 0, script.start, script)

    def turn(self, observations: float = 1) -> None:
        self.world.turn_to(self.world.now + int(observations * EVERY))

    def listed(self) -> dict[int, tuple[float | None, bool | None]]:
        """Id to price and whether it is rented, as everybody sees it."""
        found = listings(self.market, None, self.world.now)
        return {
            server_id: (listing.offer.price_per_day(USD), listing.offer.rented)
            for server_id, listing in found.items()
            if listing.offer is not None
        }

    def rented(self) -> set[int]:
        return {server_id for server_id, (_, rented) in self.listed().items() if rented}

    def order(self, server_id: int) -> int:
        request = CreateOrder(renting_server=server_id, type="on-demand", currency=USD, image="busybox")
        reply = orders.create_order(self.market, self.script.host, request, self.world.now)
        assert isinstance(reply.order, Order)
        self.world.follow()
        return reply.order.id

    def end_of(self, order_id: int) -> str | None:
        with self.market.store.reading() as tx:
            order = orders_store.by_id(tx, order_id)
        assert order is not None
        return order.end_reason


@pytest.fixture
def rehearse(tmp_path: Path, new_sqlite_store: Callable[[], Store]) -> Iterable[Callable[..., Rehearsal]]:
    """rehearse([offers], [offers], ..., own=[...]) on a market that follows these observations."""
    stores: list[Store] = []

    def start(*moments: list[Offer], own: Iterable[MyServer] = (), **options: object) -> Rehearsal:
        history = history_of(tmp_path / f"history-{len(stores)}", moments, own)
        stores.append(new_sqlite_store())
        return Rehearsal(stores[-1], script_of(history, **options))  # type: ignore[arg-type]

    yield start
    for store in stores:
        store.close()


MOMENTS = (
    [offer(1, 5.0), offer(2, 6.0, rented=True), offer(3, 7.0)],
    [offer(1, 5.0, rented=True), offer(2, 6.0, rented=True), offer(3, 6.5)],
    [offer(1, 5.5, rented=True), offer(2, 6.0)],
    [offer(1, 5.5), offer(2, 6.25), offer(4, 3.0)],
    [offer(1, 5.5), offer(2, 6.25, rented=True), offer(3, 7.5), offer(4, 3.0)],
)
"""Somebody takes the dearer of two, prices change, one goes and returns, one is new."""


@pytest.mark.parametrize("own", [(), (rig(1), rig(3))])
def test_a_history_in_which_we_change_nothing_happens_again(
    rehearse: Callable[..., Rehearsal], own: tuple[MyServer, ...]
) -> None:
    # Ours are always there: their absence from the list is their host's choice.
    moments = MOMENTS if not own else (*MOMENTS[:2], [*MOMENTS[2], offer(3, 6.5)])
    rehearsal = rehearse(*moments, own=own, as_recorded=True)
    for offers in moments:
        expected = {one.id: (one.price_per_day(USD), one.rented) for one in offers}
        assert rehearsal.listed() == expected
        rehearsal.turn()


def test_demand_takes_ours_where_that_is_the_cheapest(rehearse: Callable[..., Rehearsal]) -> None:
    before, after = [offer(1, 5.0), offer(2, 6.0), offer(3, 4.5)], [offer(1, 5.0), offer(2, 6.0, rented=True)]
    cheaper = rehearse(before, [*after, offer(3, 4.5)], [*after, offer(3, 4.5)], own=[rig(3)])
    cheaper.turn(1.5)
    assert cheaper.rented() == {3}
    dearer = rehearse(before, [*after, offer(3, 4.5)], [*after, offer(3, 4.5)], own=[rig(1)])
    dearer.turn(1.5)
    assert dearer.rented() == {2}


def test_who_came_to_ours_leaves_when_the_recorded_rental_ends(rehearse: Callable[..., Rehearsal]) -> None:
    free, taken = [offer(1, 5.0), offer(2, 6.0)], [offer(1, 5.0), offer(2, 6.0, rented=True)]
    rehearsal = rehearse(free, taken, free, free, own=[rig(1)])
    rehearsal.turn(1.5)
    assert rehearsal.rented() == {1}
    rehearsal.turn(1)
    assert rehearsal.rented() == set()


def test_ours_must_be_like_the_one_that_was_taken(rehearse: Callable[..., Rehearsal]) -> None:
    for ours in (offer(1, 5.0, gpu="2x NVIDIA GeForce RTX 4090"), offer(1, 5.0, reliability=0.7)):
        rehearsal = rehearse([ours, offer(2, 6.0)], [ours, offer(2, 6.0, rented=True)], own=[rig(1)])
        rehearsal.turn(1.5)
        assert rehearsal.rented() == {2}


def test_ours_that_became_dearer_than_it_was_is_passed_over(rehearse: Callable[..., Rehearsal]) -> None:
    moments = (
        [offer(1, 5.0), offer(2, 5.8), offer(3, 4.9)],
        [offer(1, 4.0), offer(2, 5.8), offer(3, 4.9)],
        [offer(1, 4.0, rented=True), offer(2, 5.8), offer(3, 4.9)],
        [offer(1, 4.0, rented=True), offer(2, 5.8), offer(3, 3.9)],
    )
    rehearsal = rehearse(*moments, own=[rig(1)])  # it stays at 5.0 where it went down to 4.0
    rehearsal.turn(2.5)
    assert rehearsal.rented() == set()


def test_what_we_rent_is_not_there_for_others(rehearse: Callable[..., Rehearsal]) -> None:
    free = [offer(1, 5.0), offer(2, 4.0), offer(3, 8.0)]
    rehearsal = rehearse(
        free, [offer(1, 5.0, rented=True), *free[1:]], [offer(1, 5.0, rented=True), *free[1:]]
    )
    order_id = rehearsal.order(1)
    rehearsal.turn(1.5)
    assert rehearsal.rented() == {1, 2}
    assert rehearsal.end_of(order_id) is None
    orders.cancel_order(
        rehearsal.market, rehearsal.script.host, CancelOrder(id=order_id), rehearsal.world.now
    )


def test_what_others_rent_is_not_there_for_us(rehearse: Callable[..., Rehearsal]) -> None:
    rehearsal = rehearse([offer(1, 5.0)], [offer(1, 5.0, rented=True)], [offer(1, 5.0, rented=True)])
    rehearsal.turn(1.5)
    with pytest.raises(Refused, match="rented"):
        rehearsal.order(1)


def test_an_offer_that_goes_while_we_rent_it_is_a_lost_host(rehearse: Callable[..., Rehearsal]) -> None:
    there, gone = [offer(1, 5.0), offer(2, 4.0)], [offer(2, 4.0)]
    rehearsal = rehearse(there, gone, gone, gone, gone, gone, gone, there, there)
    order_id = rehearsal.order(1)
    rehearsal.turn(6.5)
    assert rehearsal.end_of(order_id) == "host_lost"
    rehearsal.turn(1)
    assert set(rehearsal.listed()) == {1, 2}


def test_ours_goes_offline_when_its_host_saw_that(
    tmp_path: Path, new_sqlite_store: Callable[[], Store]
) -> None:
    path = tmp_path / "h"
    with Recorder(path, Header(market="test")) as recorder:
        for number, online in enumerate((True, False, True, True)):
            recorder.append(START + number * EVERY, document([offer(1, 5.0)], [rig(1, online=online)]))
    store = new_sqlite_store()
    rehearsal = Rehearsal(store, script_of(read(path)))
    seen = []
    for _ in range(3):
        rehearsal.turn(0.9 if not seen else 1)
        seen.append([server.online for server in my_servers(rehearsal.market, rehearsal.script.host).servers])
    store.close()
    assert seen == [[True], [False], [True]]


def test_a_rental_longer_than_a_machine_allows_goes_on(rehearse: Callable[..., Rehearsal]) -> None:
    taken = offer(1, 5.0, rented=True)
    taken.mrl = 6
    rehearsal = rehearse(*[[taken]] * 20)
    rehearsal.turn(18)
    assert rehearsal.rented() == {1}


def test_servers_can_be_named_and_others_be_left_out(tmp_path: Path) -> None:
    many = [offer(number, 1.0 + number) for number in range(1, 100)]
    history = history_of(tmp_path / "h", [many, many])
    script = script_of(history, names={"mine": 50}, wanted=lambda one: one.id != 3, servers_max=20)
    assert script.mine == {50: "mine"}
    assert len(script.machines) == 20
    assert {1, 50} <= {machine.id for machine in script.machines}
    assert script.left_out == 79


def test_a_history_that_can_not_be_followed_says_why(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="one observation, and needs two"):
        script_of(history_of(tmp_path / "one", [[offer(1, 5.0)]]))
    history = history_of(tmp_path / "two", [[offer(1, 5.0)], [offer(1, 5.0)]])
    with pytest.raises(RecordingError, match=r"never shows mine \(77\)"):
        script_of(history, names={"mine": 77})
    with pytest.raises(RecordingError, match="no machine"):
        script_of(history, wanted=lambda one: False)

"""Every refusal that an endpoint may answer with, provoked through HTTP: the table is checked to be whole."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from openclore.api import endpoints
from openclore.api.codes import DOCKERHUB_AUTH_INVALID, DOCKERHUB_REFUSAL_PREFIX, Refusal
from openclore.api.endpoints import CREATE_REFUSALS, ENDPOINTS, Endpoint
from openclore.api.open import endpoints as open_endpoints
from openclore.api.open.endpoints import OPEN_ENDPOINTS, OPEN_PATH
from openclore.api.open.limits import SetSpendLimit
from openclore.api.open.servers import SetGigaspot
from openclore.api.spot import SetSpotPrice
from openclore.rules.policy import Policy, Webhooks
from openclore.server.settings import Settings
from openclore.store import accounts as account_rows
from openclore.store.store import Store
from openclore.usecases import accounts, gigaspot, limits, spot

from ..world import USD, World
from .conftest import Door, a_door

POLICY = Policy(orders_per_day_max=3, webhooks=Webhooks(account_max=0))
ORDER = {"renting_server": 1, "type": "on-demand", "currency": "USD-Blockchain", "image": "busybox"}
BID = ORDER | {"type": "spot", "spotprice": 1.2}
SETTINGS = {
    "name": "rack-1",
    "availability": True,
    "mrl": 24,
    "bitcoin_on_demand": 0.00003,
    "bitcoin_spot": 0.00002,
}

PROVOKED_ELSEWHERE: dict[Refusal, str] = {
    Refusal.WAIT: "every write, while another one holds the store for too long",
}
NEVER_SENT: dict[Refusal, str] = {
    Refusal.COMPUTE_NOT_AVAILABLE: "it is about the data centre of the public service's own vendor; "
    "the sandbox's fault `refused` provokes it",
}


class Case(NamedTuple):
    """What to send, whose key to use, and the members of the reply beside `code` and `error`."""

    body: Any = None
    facts: dict[str, Any] = {}
    key: str = "renter"
    order_id: int = 0


Arrange = Callable[[World], Case]

CREATING: dict[Refusal, Arrange] = {}
"""For both endpoints that rent."""
OTHERS: dict[tuple[str, Refusal], Arrange] = {}
"""By the endpoint's name."""


def creating(refusal: Refusal) -> Callable[[Arrange], Arrange]:
    return lambda arrange: CREATING.setdefault(refusal, arrange)


def at(endpoint: Endpoint[Any, Any], refusal: Refusal) -> Callable[[Arrange], Arrange]:
    return lambda arrange: OTHERS.setdefault((endpoint.name, refusal), arrange)


# Renting --------------------------------------------------------------------------------------------


@creating(Refusal.SERVER_DONT_EXIST)
def _(world: World) -> Case:
    return Case(ORDER | {"renting_server": 99})


@creating(Refusal.SERVER_OFFLINE)
def _(world: World) -> Case:
    world.wait(60, beating=False)
    return Case(ORDER)


@creating(Refusal.SERVER_ALREADY_RENTED)
def _(world: World) -> Case:
    world.rent()
    return Case(ORDER)


@creating(Refusal.NOT_ENOUGH_BALANCE)
def _(world: World) -> Case:
    accounts.create_account(world.market, "poor@example.org", world.now)
    return Case(ORDER, key="poor")


@creating(Refusal.CANT_RENT_FROM_YOURSELF)
def _(world: World) -> Case:
    return Case(ORDER, key="host")


@creating(Refusal.TOO_LOW_PRICE)
def _(world: World) -> Case:
    return Case(BID | {"spotprice": 0.99}, {"min_price": 1})


@creating(Refusal.YOU_ALREADY_HAVE_SPOT_ORDER)
def _(world: World) -> Case:
    world.rent(type="spot", spotprice=1.2)
    return Case(BID)


@creating(Refusal.CURRENCY_NOT_ALLOWED)
def _(world: World) -> Case:
    return Case(ORDER | {"currency": "bitcoin"})


@creating(Refusal.MACHINE_IS_ON_GIGASPOT)
def _(world: World) -> Case:
    gigaspot.set_gigaspot(world.market, world.host, world.server, SetGigaspot(min_bid=100), world.now)
    return Case(ORDER)


@creating(Refusal.PRICE_NOT_MATCHING)
def _(world: World) -> Case:
    return Case(ORDER | {"required_price": 1.99})


@creating(Refusal.REACHED_ORDER_LIMIT)
def _(world: World) -> Case:
    accounts.set_account(world.market, "renter@example.org", world.now, orders_max=1)
    world.rent(world.add_server("rack-2"))
    return Case(ORDER)


@creating(Refusal.REACHED_ORDER_LIMIT_PER_DAY)
def _(world: World) -> Case:
    for _ in range(3):
        world.cancel(world.rent().id)
    return Case(ORDER, {"limit": 3})


@creating(Refusal.SPEND_LIMIT_REACHED)
def _(world: World) -> Case:
    limit(world, 0.001)
    return Case(ORDER)


# All else -------------------------------------------------------------------------------------------


@at(endpoints.CANCEL_ORDER, Refusal.YOU_DONT_OWN_THIS_ORDER)
def _(world: World) -> Case:
    return Case({"id": world.rent().id}, key="host")


@at(endpoints.CANCEL_ORDER, Refusal.ORDER_NOT_ACTIVE)
def _(world: World) -> Case:
    return Case({"id": ended(world)})


@at(endpoints.CANCEL_ORDER, Refusal.ISSUE_DESCRIPTION_TOO_LONG)
def _(world: World) -> Case:
    return Case({"id": world.rent().id, "issue": "x" * 2_049})


@at(endpoints.SET_SPOT_PRICE, Refusal.ORDER_DONT_EXIST)
def _(world: World) -> Case:
    return Case({"order_id": world.rent().id, "desired_price": 2})


@at(endpoints.SET_SPOT_PRICE, Refusal.AMOUNT_TOO_LOW)
def _(world: World) -> Case:
    bid = world.rent(type="spot", spotprice=1.2).id
    return Case({"order_id": bid, "desired_price": 0.99}, {"message": "the floor is 1 per day"})


@at(endpoints.SET_SPOT_PRICE, Refusal.CAN_LOWER_EVERY_600_SECONDS)
def _(world: World) -> Case:
    bid = world.rent(type="spot", spotprice=1.2).id
    request = SetSpotPrice(order_id=bid, desired_price=1.19)
    spot.set_spot_price(world.market, world.renter, request, world.now)
    world.jump(169)
    return Case({"order_id": bid, "desired_price": 1.18}, {"time_to_lowering": 431})


@at(endpoints.SET_SPOT_PRICE, Refusal.EXCEEDED_MAX_STEP)
def _(world: World) -> Case:
    bid = world.rent(type="spot", spotprice=1.2).id
    return Case({"order_id": bid, "desired_price": 1.1}, {"max_step": 0.05})


@at(endpoints.SET_SPOT_PRICE, Refusal.SPEND_LIMIT_REACHED)
def _(world: World) -> Case:
    """A key with a limit of its own raises no bid of another key."""
    bid = world.rent(type="spot", spotprice=1.2).id
    [key] = accounts.list_keys(world.market, "renter@example.org")
    request = SetSpendLimit(currency=USD, amount=5, key=key.name)
    limits.set_spend_limit(world.market, key, request, world.now)
    message = "this key has a spend limit and may raise only its own bids"
    return Case({"order_id": bid, "desired_price": 2}, {"message": message})


@at(endpoints.SERVER_CONFIG, Refusal.SERVER_DONT_EXIST_BY_NAME)
def _(world: World) -> Case:
    return Case({"server_name": "rack-9"}, key="host")


@at(endpoints.SET_SERVER_SETTINGS, Refusal.SERVER_DONT_EXIST_BY_NAME)
def _(world: World) -> Case:
    return Case(SETTINGS | {"name": "rack-9"}, key="host")


@at(endpoints.SET_SERVER_SETTINGS, Refusal.NOT_ALL_PARAMETERS_PRESENT)
def _(world: World) -> Case:
    body = {name: value for name, value in SETTINGS.items() if name != "mrl"}
    return Case(body, {"message": "availability and mrl must be given"}, key="host")


@at(endpoints.SET_SERVER_SETTINGS, Refusal.INVALID_MRL)
def _(world: World) -> Case:
    facts = {"message": "mrl: 6 to 3000 hours, got 5"}
    return Case(SETTINGS | {"mrl": 5}, facts, key="host")


@at(endpoints.SET_SERVER_SETTINGS, Refusal.INVALID_INPUT)
def _(world: World) -> Case:
    facts = {"message": "bitcoin_on_demand: 0.000001 to 0.005 per day, got 1.0"}
    return Case(SETTINGS | {"bitcoin_on_demand": 1.0}, facts, key="host")


@at(open_endpoints.RENEW_LEASE, Refusal.ORDER_NOT_ACTIVE)
def _(world: World) -> Case:
    return Case({"lease_seconds": 600}, order_id=ended(world))


@at(open_endpoints.REMOVE_SERVER, Refusal.SERVER_IN_USE)
def _(world: World) -> Case:
    return Case(None, {"message": "rack-1 is public: hide it first"}, key="host")


@at(open_endpoints.ADD_WEBHOOK, Refusal.WEBHOOK_LIMIT_REACHED)
def _(world: World) -> Case:
    return Case({"url": "https://hooks.example.org/clore"})


# The table ------------------------------------------------------------------------------------------

DECLARED = [(e, refusal) for e in (*ENDPOINTS, *OPEN_ENDPOINTS) for refusal in e.refusals]
TABLE = [pair for pair in DECLARED if pair[1] not in PROVOKED_ELSEWHERE.keys() | NEVER_SENT.keys()]


def arrangement(endpoint: Endpoint[Any, Any], refusal: Refusal) -> Arrange | None:
    found = OTHERS.get((endpoint.name, refusal))
    return CREATING.get(refusal) if found is None and endpoint.refusals == CREATE_REFUSALS else found


def test_no_refusal_is_missing() -> None:
    assert {refusal for _, refusal in DECLARED} == set(Refusal)
    assert [(e.name, refusal) for e, refusal in TABLE if arrangement(e, refusal) is None] == []


@pytest.fixture
def door(new_sqlite_store: Callable[[], Store]) -> Iterator[Door]:
    with a_door(new_sqlite_store(), Settings(policy=POLICY)) as door:
        door.world.credit("10")
        yield door


@pytest.mark.parametrize(("endpoint", "refusal"), TABLE, ids=lambda x: getattr(x, "name", x))
def test_it_is_refused_by_this_name_and_nothing_changes(
    door: Door, endpoint: Endpoint[Any, Any], refusal: Refusal
) -> None:
    arrange = arrangement(endpoint, refusal)
    assert arrange is not None
    case = arrange(door.world)
    if case.key == "poor":
        _, door.keys["poor"] = accounts.create_key(
            door.world.market, "poor@example.org", "test", door.world.now
        )
    path = endpoint.path.lstrip("/").format(order_id=case.order_id, server_id=door.world.server)
    before = state(door)
    is_open = endpoint.below == OPEN_PATH
    status, reply = door.call(path, case.body, method=endpoint.method, key=case.key, open=is_open)
    assert reply == {"code": 6, "error": refusal, **case.facts}
    assert status == (409 if is_open else 200)
    assert state(door) == before
    assert door.world.difference() is None


def test_credentials_that_can_be_none_are_refused_as_the_registry_would(door: Door) -> None:
    before = state(door)
    status, reply = door.call("create_order", ORDER | {"dockerhub_auth": "nobody"})
    assert (status, reply["code"], reply["error"]) == (200, 6, DOCKERHUB_AUTH_INVALID)
    assert reply["error"].startswith(DOCKERHUB_REFUSAL_PREFIX)
    assert state(door) == before


def state(door: Door) -> object:
    """All that a refused call must not change."""
    with door.world.store.reading() as tx:
        tables = ("accounts", "orders", "transfers", "servers", "events", "issues", "webhooks")
        return [tx.exec_driver_sql(f"SELECT * FROM {table} ORDER BY 1").all() for table in tables]  # noqa: S608


def ended(world: World) -> int:
    order_id = world.rent().id
    world.cancel(order_id)
    return order_id


def limit(world: World, amount: float) -> None:
    with world.store.reading() as tx:
        (key,) = account_rows.keys_of(tx, world.renter)
    limits.set_spend_limit(world.market, key, SetSpendLimit(currency=USD, amount=amount), world.now)

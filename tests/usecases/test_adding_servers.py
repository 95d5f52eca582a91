import pytest

from openclore.api.currencies import Currency
from openclore.api.open.servers import AddServer, AddServerReply
from openclore.api.servers import ServerConfigRequest
from openclore.rules import money
from openclore.rules.policy import Policy
from openclore.rules.refused import InvalidInput, NotFound, Refused
from openclore.store import events
from openclore.store import servers as rows
from openclore.store.store import Store
from openclore.usecases import hosts, orders, rates, servers
from openclore.usecases.servers import Listing

from ..world import World, hello


@pytest.fixture
def world(store: Store) -> World:
    return World(store)


def add(world: World, name: str) -> AddServerReply:
    return servers.add_server(world.market, world.host, AddServer(name), world.now)


def remove(world: World, server_id: int) -> None:
    servers.remove_server(world.market, world.host, server_id, world.now)


def names(world: World) -> list[str | None]:
    return [server.name for server in servers.my_servers(world.market, world.host).servers]


def everything(world: World) -> object:
    with world.store.reading() as tx:
        return rows.every(tx), events.newest(tx)


def test_a_server_that_was_added_connects_with_its_token(world: World) -> None:
    added = add(world, "rack 2")
    assert (added.code, added.name) == (0, "rack 2")
    made = hosts.register(world.market, added.init_token)
    assert made is not None
    assert made.server_id == added.server_id
    hosts.connect(world.market, added.server_id, hello(), world.now)
    world.set_server("rack 2")
    assert servers.listings(world.market, None, world.now)[added.server_id].offer


def test_a_name_is_unique_in_an_account(world: World) -> None:
    before = everything(world)
    with pytest.raises(InvalidInput, match=r"^name: host@example.org has a server named 'rack-1' already"):
        add(world, "rack-1")
    assert everything(world) == before
    assert servers.add_server(world.market, world.renter, AddServer("rack-1"), world.now).server_id


def test_an_account_that_is_full_gets_room_by_removing_a_server(store: Store) -> None:
    world = World(store, Policy(servers_max=2))
    second = add(world, "rack-2")
    with pytest.raises(InvalidInput, match="2 servers, the most it may have: remove one first"):
        add(world, "rack-3")
    remove(world, second.server_id)
    add(world, "rack-3")
    assert names(world) == ["rack-1", "rack-3"]


def test_a_removed_server_is_gone_for_its_host_its_agent_and_renters(world: World) -> None:
    token = add(world, "rack-2").init_token
    made = hosts.register(world.market, token)
    assert made is not None
    hosts.connect(world.market, made.server_id, hello(), world.now)
    world.set_server("rack-2", availability=False)
    remove(world, made.server_id)

    assert names(world) == ["rack-1"]
    with pytest.raises(Refused, match="server_dont_exist"):
        servers.server_config(world.market, world.host, ServerConfigRequest("rack-2"), world.now)
    assert hosts.server_of(world.market, made.credential) is None
    assert hosts.register(world.market, token) is None
    for late in (
        lambda: hosts.report(world.market, made.server_id, [], world.now),
        lambda: hosts.connect(world.market, made.server_id, hello(), world.now),
        lambda: hosts.assignments(world.market, made.server_id, world.now),
    ):
        with pytest.raises(NotFound, match="was removed"):
            late()
    hosts.keep_evidence(world.market, {made.server_id: (world.now, world.now + 5)})
    assert made.server_id not in servers.listings(world.market, None, world.now)
    assert servers.listings(world.market, [made.server_id], world.now) == {
        made.server_id: Listing(None, None)
    }
    with pytest.raises(Refused, match="server-dont-exist"):
        world.rent(made.server_id)
    with pytest.raises(NotFound):
        remove(world, made.server_id)


def test_a_removed_servers_name_is_free_time_and_again(world: World) -> None:
    for _ in range(3):
        remove(world, add(world, "rack-2").server_id)
    assert add(world, "rack-2").server_id
    assert names(world) == ["rack-1", "rack-2"]


def test_orders_of_a_removed_server_stay_readable(world: World) -> None:
    world.credit("10")
    order = world.rent()
    world.wait(120)
    world.cancel(order.id)
    world.set_server("rack-1", availability=False)
    remove(world, world.server)
    row = world.orders()[order.id]
    assert (row.si, row.specs and row.specs.cpu) == (world.server, "Example CPU")
    assert orders.read_order(world.market, world.renter, order.id, world.now).order.order.id == order.id
    world.wait(7_200)
    assert world.difference() is None


def test_a_public_server_is_not_removed(world: World) -> None:
    before = everything(world)
    with pytest.raises(Refused, match="server_in_use") as refused:
        remove(world, world.server)
    assert refused.value.facts == {"message": "rack-1 is public: hide it first"}
    assert everything(world) == before


@pytest.mark.parametrize("kind", ["on-demand", "spot"])
def test_a_server_with_an_order_of_any_kind_is_not_removed(world: World, kind: str) -> None:
    world.credit("10")
    order = world.rent(type=kind, spotprice=1.5 if kind == "spot" else None)
    world.set_server("rack-1", availability=False)
    before = everything(world)
    with pytest.raises(Refused, match="server_in_use") as refused:
        remove(world, world.server)
    assert refused.value.facts == {"message": "rack-1 is rented: wait until its orders have ended"}
    assert everything(world) == before
    world.cancel(order.id)
    remove(world, world.server)


def test_nobody_removes_a_server_of_somebody_else(world: World) -> None:
    added = add(world, "rack-2")
    before = everything(world)
    for account, server_id in ((world.renter, added.server_id), (world.host, 2**63 - 1)):
        with pytest.raises(NotFound, match=f"you have no server {server_id}"):
            servers.remove_server(world.market, account, server_id, world.now)
    assert everything(world) == before


def test_the_lowest_bid_stands_in_dollars_in_the_row(world: World) -> None:
    rates.set_rate(world.market, Currency.CLORE, money.from_text("0.01"), world.now)
    world.set_server("rack-1", clore_on_demand=150, clore_spot=90, clore_enabled=True)
    offer = servers.listings(world.market, None, world.now)[world.server].offer
    assert offer
    assert offer.usd_floor_per_day == 0.9
    assert offer.floor_per_day("CLORE-Blockchain") == 90
    assert offer.floor_per_day("bitcoin") is None


def test_a_row_says_who_has_the_machine_and_the_market_knows(world: World) -> None:
    world.credit("10")
    assert not servers.listings(world.market, None, world.now)[world.server].held
    world.rent(type="spot", spotprice=1.5)
    listing = servers.listings(world.market, None, world.now)[world.server]
    assert listing.held
    assert listing.offer
    assert not listing.offer.rented

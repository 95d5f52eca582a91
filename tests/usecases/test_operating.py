import msgspec
import pytest

from openclore.api.currencies import Currency
from openclore.api.servers import ServerConfigRequest
from openclore.rules.policy import Policy
from openclore.rules.refused import InvalidInput, Refused
from openclore.store import accounts as account_rows
from openclore.store import events
from openclore.store.store import Store
from openclore.usecases import accounts, hosts, rates, servers
from openclore.usecases.secrets import hashed

from ..world import START, World, hello


@pytest.fixture
def world(store: Store) -> World:
    return World(store)


def test_an_account_has_one_address_whatever_its_case(world: World) -> None:
    with pytest.raises(InvalidInput, match="already"):
        accounts.create_account(world.market, "Renter@Example.org", START)


@pytest.mark.parametrize("email", ["", "nobody", "a b@c.d", "@x", "x@", "a@b\n", "x" * 400 + "@y.z"])
def test_what_is_no_address_opens_no_account(world: World, email: str) -> None:
    if email == "a@b\n":
        assert accounts.create_account(world.market, email, START).email == "a@b"
        return
    with pytest.raises(InvalidInput):
        accounts.create_account(world.market, email, START)


def test_a_key_is_kept_as_a_hash_only(world: World) -> None:
    key, secret = accounts.create_key(world.market, "renter@example.org", "bot", START)
    with world.store.reading() as tx:
        assert account_rows.key_by_hash(tx, hashed(secret)) == key
        row = tx.exec_driver_sql("SELECT * FROM api_keys").one()
    assert secret not in map(str, row)
    assert len(secret) == 43


def test_a_revoked_key_is_worthless(world: World) -> None:
    _, secret = accounts.create_key(world.market, "renter@example.org", "bot", START)
    accounts.revoke_key(world.market, "renter@example.org", "bot", START)
    with world.store.reading() as tx:
        assert account_rows.key_by_hash(tx, hashed(secret)) is None
    with pytest.raises(InvalidInput, match="no key named"):
        accounts.revoke_key(world.market, "renter@example.org", "other", START)


def test_a_key_name_is_used_once_per_account(world: World) -> None:
    accounts.create_key(world.market, "renter@example.org", "bot", START)
    with pytest.raises(InvalidInput, match="already"):
        accounts.create_key(world.market, "renter@example.org", "bot", START)
    accounts.create_key(world.market, "host@example.org", "bot", START)


def test_the_same_credit_is_made_once(world: World) -> None:
    world.credit("5", key="payment-1")
    assert world.credit("5", key="payment-1") == 5 * 10**8
    with pytest.raises(InvalidInput, match="another credit"):
        world.credit("6", key="payment-1")
    assert world.balance() == 5 * 10**8
    assert world.difference() is None


@pytest.mark.parametrize("amount", ["0", "-1", "10000000000.1"])
def test_an_impossible_credit_changes_nothing(world: World, amount: str) -> None:
    from openclore.rules.money import AmountError

    with pytest.raises((InvalidInput, AmountError)):
        world.credit(amount)
    assert world.balance() == 0


def test_credits_can_not_overflow_a_wallet(world: World) -> None:
    world.credit("10000000000", key="a")
    with pytest.raises(InvalidInput, match="can't hold more"):
        world.credit("10000000000", key="b")


def test_credits_can_not_overflow_the_ledger(world: World) -> None:
    for number in range(9):
        email = f"rich-{number}@example.org"
        accounts.create_account(world.market, email, START)
        world.credit("10000000000", email, f"rich-{number}")
    accounts.create_account(world.market, "last@example.org", START)
    with pytest.raises(InvalidInput, match="can't hold so much"):
        world.credit("10000000000", "last@example.org", "last")
    assert world.difference() is None


def test_limits_are_the_markets_unless_an_account_has_its_own(store: Store) -> None:
    world = World(store, Policy(servers_max=1))
    with pytest.raises(InvalidInput, match="the most"):
        servers.create_server(world.market, "host@example.org", "one-more", START)
    with store.writing() as tx:
        tx.exec_driver_sql("UPDATE accounts SET servers_max = 2")
    servers.create_server(world.market, "host@example.org", "one-more", START)


def test_a_day_without_a_host_shows_in_its_reliability(world: World) -> None:
    day = 86_400
    hosts.keep_evidence(world.market, {world.server: (START, START + 20 * day)})
    hosts.report(world.market, world.server, [], START + 21 * day)
    offer = servers.listings(world.market, [world.server], START + 21 * day)[world.server].offer
    assert offer is not None
    assert 0.9 < (offer.reliability or 0) < 0.95


def test_facts_that_changed_while_away_are_told(world: World) -> None:
    with world.store.reading() as tx:
        before = events.newest(tx)
    specs = msgspec.structs.replace(hello().specs, runtime="simulated")
    hosts.connect(world.market, world.server, hello(specs=specs), START)
    with world.store.reading() as tx:
        kinds = [event.kind for event in events.after(tx, before)]
    assert kinds == [events.Kind.SERVER_CONNECTED]


def test_an_init_token_works_until_its_credential_has_connected(world: World) -> None:
    server = servers.create_server(world.market, "host@example.org", "rack-9", START)
    assert server.init_token is not None
    assert len(server.init_token) == 48
    lost = hosts.register(world.market, server.init_token)
    kept = hosts.register(world.market, server.init_token)
    assert lost is not None
    assert kept is not None
    assert hosts.server_of(world.market, lost.credential) is None
    hosts.connect(world.market, server.id, hello(), START)
    assert hosts.register(world.market, server.init_token) is None
    found = hosts.server_of(world.market, kept.credential)
    assert found is not None
    assert found.id == server.id
    row = servers.my_servers(world.market, world.host).servers[-1]
    assert (row.connected, row.init_token) == (True, None)


def test_a_new_server_is_hidden_and_shows_its_token_to_its_host(world: World) -> None:
    servers.create_server(world.market, "host@example.org", "rack-9", START)
    row = servers.my_servers(world.market, world.host).servers[-1]
    assert (row.name, row.connected, row.online, row.visibility) == ("rack-9", False, False, "hidden")
    assert row.pricing == {"bitcoin": 0}
    assert len(row.init_token or "") == 48


@pytest.mark.parametrize("name", ["", "rack/1", "ünicode", "x" * 65, "rack-1"])
def test_server_names_are_plain_and_unique(world: World, name: str) -> None:
    with pytest.raises(InvalidInput):
        servers.create_server(world.market, "host@example.org", name, START)


def test_an_account_has_so_many_servers_at_most(world: World) -> None:
    for number in range(15):
        servers.create_server(world.market, "host@example.org", f"more-{number}", START)
    with pytest.raises(InvalidInput, match="the most"):
        servers.create_server(world.market, "host@example.org", "too-many", START)


def test_server_config_shows_what_was_set(world: World) -> None:
    world.set_server("rack-1", mrl=99, clore_on_demand=400, clore_spot=250, clore_enabled=True)
    config = servers.server_config(
        world.market, world.host, ServerConfigRequest(server_name="rack-1"), START
    ).config
    assert config.pricing == {"bitcoin": 0, "CLORE-Blockchain": 400, "USD-Blockchain": 2}
    assert config.spot_pricing == {"bitcoin": 0, "CLORE-Blockchain": 250, "USD-Blockchain": 1}
    assert (config.mrl, config.visibility, config.rental_status) == (99, "public", 0)
    assert config.allowed_coins == ["CLORE-Blockchain", "USD-Blockchain"]


def test_a_rented_server_says_so_to_its_host(world: World) -> None:
    world.credit("10")
    world.rent()
    config = servers.server_config(
        world.market, world.host, ServerConfigRequest(server_name="rack-1"), START + 10
    ).config
    assert (config.rental_status, config.remaining_time) == (2, 24 * 3_600 - 10)


def test_another_hosts_server_does_not_exist(world: World) -> None:
    with pytest.raises(Refused, match="server_dont_exist"):
        servers.server_config(world.market, world.renter, ServerConfigRequest(server_name="rack-1"), START)


def test_a_listing_restates_prices_in_dollars_and_says_when_it_is_rented(world: World) -> None:
    rates.set_rate(world.market, Currency.CLORE, 500_000, START)
    world.set_server("rack-1", clore_on_demand=400, clore_spot=250, clore_enabled=False)
    offer = servers.listings(world.market, None, START)[world.server].offer
    assert offer is not None
    assert offer.price is not None
    assert offer.price.usd is not None
    assert offer.price.usd.on_demand_clore == 2.0
    assert offer.allowed_coins == ["USD-Blockchain"]
    assert offer.price.on_demand == {"bitcoin": 0, "CLORE-Blockchain": 400, "USD-Blockchain": 2}
    assert offer.rented is False
    world.credit("10")
    world.rent()
    offer = servers.listings(world.market, [world.server], START)[world.server].offer
    assert offer is not None
    assert offer.rented is True


def test_a_rate_is_above_zero(world: World) -> None:
    with pytest.raises(InvalidInput):
        rates.set_rate(world.market, Currency.CLORE, 0, START)
    assert rates.list_rates(world.market) == {Currency.USD: 10**8}


def test_reliability_grows_from_evidence(world: World) -> None:
    hosts.keep_evidence(world.market, {world.server: (START + 500, START + 1_000)})
    offer = servers.listings(world.market, [world.server], START + 1_000)[world.server].offer
    assert offer is not None
    assert offer.reliability == 0.5


def test_a_report_between_two_evidences_costs_no_reliability(world: World) -> None:
    for _ in range(5):
        world.now += 3
        hosts.report(world.market, world.server, [], world.now)
        world.now += 2
        hosts.keep_evidence(world.market, {world.server: (world.now - 5, world.now)})
        offer = servers.listings(world.market, [world.server], world.now)[world.server].offer
        assert offer is not None
        assert offer.reliability == 1.0
    with world.store.reading() as tx:
        assert tx.exec_driver_sql("SELECT sum(seconds) FROM uptimes").scalar_one() == 25


def test_what_the_agent_says_of_its_machine_is_listed(world: World) -> None:
    specs = msgspec.structs.replace(hello().specs, gpu="2x NVIDIA GeForce RTX 4090", gpuram=23)
    changed = hello(specs=specs, gpu_array=[" RTX 4090", " RTX 4090"], cuda_version="12.8")
    hosts.connect(world.market, world.server, changed, START)
    offer = servers.listings(world.market, [world.server], START)[world.server].offer
    assert offer is not None
    assert offer.specs == specs
    assert (offer.gpu_array, offer.cuda_version) == ([" RTX 4090", " RTX 4090"], "12.8")

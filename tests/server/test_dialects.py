"""The two dialects of /v1, and the pace that an operator sets."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from openclore.api.codes import Refusal
from openclore.api.dialects import Dialect
from openclore.api.endpoints import BASE_PATH, CREATE_ORDER, WALLETS
from openclore.api.open.endpoints import OPEN_ENDPOINTS
from openclore.server.limits import Limits
from openclore.server.settings import Live, Pace, Settings
from openclore.store import accounts as account_rows
from openclore.store.store import Store
from openclore.usecases.secrets import hashed, new_key

from .conftest import Door, a_door

ORDER = {
    "renting_server": 1,
    "type": "on-demand",
    "currency": "USD-Blockchain",
    "image": "busybox",
    "ports": {"80": "tcp", "8080": "http"},
}


@pytest.fixture
def live(new_sqlite_store: Callable[[], Store]) -> Iterator[Door]:
    with a_door(new_sqlite_store(), Settings(dialect=Dialect.LIVE)) as door:
        door.world.credit("10")
        yield door


def raw(door: Door, path: str, body: Any = None, **headers: str) -> Any:
    door.service.limits.__init__(door.service.settings.pace)  # type: ignore[misc]
    headers = {"auth": door.keys["renter"]} | headers
    return door.http.request("POST" if body is not None else "GET", path, json=body, headers=headers)


def test_every_reply_names_its_dialect(door: Door, live: Door) -> None:
    for path in ("/v1/wallets", "/v1/marketplace", "/v1/nothing"):
        assert raw(door, path).headers["openclore-dialect"] == "open"
        assert raw(live, path).headers["openclore-dialect"] == "live"
    assert raw(live, "/open/v1/spend_limits").headers["openclore-dialect"] == "open"


def test_a_live_market_takes_the_key_in_auth_alone(live: Door) -> None:
    headers = {"authorization": f"Bearer {live.keys['renter']}"}
    for path, statuses in (("/v1/wallets", (401, 3)), ("/open/v1/spend_limits", (200, 0))):
        reply = live.http.get(path, headers=headers)
        assert (reply.status_code, reply.json()["code"]) == statuses


def test_a_live_market_answers_a_new_order_with_nothing_but_the_code(live: Door) -> None:
    assert live.call("create_order", ORDER) == (200, {"code": 0})


def test_a_live_order_appears_after_a_while(live: Door) -> None:
    live.call("create_order", ORDER)
    assert live.call("my_orders")[1]["orders"] == []
    live.world.now += 2
    [row] = live.call("my_orders")[1]["orders"]
    assert row["si"] == 1
    assert {"state", "end_reason", "end_detail", "status", "spot", "expired", "order_end"}.isdisjoint(row)
    assert (row["tcp_ports"], row["http_port"], row["mon_container"]) == (["80:30000"], "8080", 0)


def test_a_finished_live_row_lacks_the_network(live: Door) -> None:
    live.call("create_order", ORDER)
    live.world.now += 2
    order_id = live.call("my_orders")[1]["orders"][0]["id"]
    live.call("cancel_order", {"id": str(order_id)})
    [row] = live.call("my_orders", params={"return_completed": "true"})[1]["orders"]
    assert row["expired"] is True
    assert {"tcp_ports", "pub_cluster", "http_port", "http_pub", "end_reason"}.isdisjoint(row)


def test_an_ended_order_may_linger(new_sqlite_store: Callable[[], Store]) -> None:
    settings = Settings(dialect=Dialect.LIVE, live=Live(row_delay_seconds=0, linger_seconds=5))
    with a_door(new_sqlite_store(), settings) as door:
        door.world.credit("10")
        order = door.world.rent()
        door.call("cancel_order", {"id": order.id})
        door.world.now += 4
        assert [row["id"] for row in door.call("my_orders")[1]["orders"]] == [order.id]
        door.world.now += 1
        assert door.call("my_orders")[1]["orders"] == []


def test_the_recorded_statuses_of_live_refusals(live: Door) -> None:
    live.world.rent()
    taken = live.call("create_order", ORDER)
    assert taken == (200, {"status": "error", "error": "server-already-rented", "code": 6})
    coin = live.call(
        "create_order", ORDER | {"renting_server": live.world.add_server("b"), "currency": "bitcoin"}
    )
    assert coin == (500, {"error": "currency-not-allowed", "code": 6})
    assert live.call("create_order", ORDER | {"env": {"A": "x&y"}}) == (500, {"code": 1})
    status, reply = live.call("set_server_settings", {"name": "rack-1"}, key="host")
    assert (status, reply) == (200, {"error": "not_all_parameters_present", "code": 6})


def test_the_documented_statuses_in_the_open_dialect(door: Door) -> None:
    door.world.credit("10")
    coin = door.call("create_order", ORDER | {"currency": "bitcoin"})
    assert coin == (200, {"error": "currency-not-allowed", "code": 6})
    status, reply = door.call("create_order", ORDER | {"env": {"A": "x&y"}})
    assert (status, reply["code"], reply["error"].partition(":")[0]) == (400, 2, "env")


def test_what_the_protocol_leaves_open_is_a_setting(new_sqlite_store: Callable[[], Store]) -> None:
    statuses = {Refusal.SERVER_DONT_EXIST: 418}
    live = Live(status_member="taken", business_status=400, business_statuses=dict(statuses))
    with a_door(new_sqlite_store(), Settings(dialect=Dialect.LIVE, live=live)) as door:
        assert door.call("create_order", ORDER | {"renting_server": 99})[0] == 418
        assert door.call("create_order", ORDER)[0] == 400
        door.world.credit("10")
        door.world.rent()
        assert door.call("create_order", ORDER)[1]["status"] == "taken"


def test_too_fast_is_a_bare_code_5_without_advice(live: Door) -> None:
    raw(live, "/v1/wallets")
    reply = live.http.get("/v1/wallets", headers={"auth": live.keys["renter"]})
    assert (reply.status_code, reply.content) == (429, b'{"code":5}')
    assert "retry-after" not in reply.headers


def test_a_server_that_never_connected_has_no_id_in_a_live_row(live: Door) -> None:
    from openclore.usecases import servers

    servers.create_server(live.world.market, "host@example.org", "new", live.world.now)
    rows = {row["name"]: row for row in live.call("my_servers", key="host")[1]["servers"]}
    assert ("id" in rows["rack-1"], "id" in rows["new"], "init_token" in rows["new"]) == (True, False, True)


def test_idempotency_keys_mean_nothing_to_a_live_market(live: Door) -> None:
    headers = {"Idempotency-Key": "k-1"}
    live.call("create_order", ORDER, headers=headers)
    assert live.call("create_order", ORDER, headers=headers)[1]["error"] == "server-already-rented"


@pytest.mark.parametrize(("server", "pinned"), [("open", "live"), ("live", "open")])
def test_a_key_may_be_pinned_to_a_dialect(
    new_sqlite_store: Callable[[], Store], server: str, pinned: str
) -> None:
    with a_door(new_sqlite_store(), Settings(dialect=Dialect(server))) as door:
        secret = new_key()
        with door.world.store.writing() as tx:
            account_rows.add_key(tx, door.world.renter, "pin", hashed(secret), 0, Dialect(pinned))
        assert raw(door, "/v1/wallets", auth=secret).headers["openclore-dialect"] == pinned
        assert raw(door, "/v1/wallets").headers["openclore-dialect"] == server


def test_the_gpus_carry_the_leading_space_of_the_public_service(door: Door) -> None:
    from openclore.usecases import hosts

    from ..world import hello

    hosts.connect(door.world.market, 1, hello(gpu_array=["RTX 4090", " RTX 4090"]), door.world.now)
    door.service.catch_up()
    assert door.call("marketplace")[1]["servers"][0]["gpu_array"] == [" RTX 4090", " RTX 4090"]


def test_a_pace_of_zero_is_none() -> None:
    limits = Limits(Pace(spacing_seconds=0, create_order_seconds=0))
    assert [limits.admit(1, CREATE_ORDER, 100.0) for _ in range(5)] == [0] * 5


def test_the_two_apis_have_paces_of_their_own() -> None:
    limits = Limits(Pace(open_spacing_seconds=0.1))
    open_endpoint = OPEN_ENDPOINTS[0]
    assert open_endpoint.below != BASE_PATH
    assert limits.admit(1, WALLETS, 100.0) == 0
    assert limits.admit(1, open_endpoint, 100.0) == 0
    assert limits.admit(1, WALLETS, 100.2) > 0
    assert limits.admit(1, open_endpoint, 100.2) == 0


def test_the_window_may_count_from_the_end_of_a_call() -> None:
    limits = Limits(Pace(from_completion=True))
    assert limits.admit(1, WALLETS, 100.0) == 0
    limits.completed(1, WALLETS, 100.8)
    assert limits.admit(1, WALLETS, 101.1) > 0
    assert limits.admit(1, WALLETS, 101.8) == 0


def test_refusals_may_restart_the_wait() -> None:
    limits = Limits(Pace(refusals_count=True))
    assert limits.admit(1, WALLETS, 100.0) == 0
    assert limits.admit(1, WALLETS, 100.5) == 1
    assert limits.admit(1, WALLETS, 101.2) == 1
    assert limits.admit(1, WALLETS, 102.2) == 0


def test_who_waits_too_long_for_the_turn_to_write_is_asked_to_try_again(door: Door) -> None:
    door.world.credit("10")
    store = door.world.store
    store.turn_seconds = 0.05
    with store.writing():
        status, reply = door.call("create_order", ORDER)
        assert (status, reply) == (200, {"error": "wait", "code": 6})
    assert door.call("my_orders")[1]["orders"] == []


@pytest.mark.parametrize("store", ["postgresql"], indirect=True)
def test_a_turn_is_waited_for_among_processes_too(store: Store) -> None:
    from openclore.store.store import StoreBusy, open_store

    other = open_store(store.engine.url.render_as_string(hide_password=False))
    other.turn_seconds = 0.05
    with store.writing(), pytest.raises(StoreBusy), other.writing():
        pass
    with other.writing():
        pass
    other.close()

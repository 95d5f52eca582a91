import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openclore.api import endpoints
from openclore.api.endpoints import ENDPOINTS, Endpoint
from openclore.usecases import accounts

from .conftest import Door

ORDER = {
    "renting_server": 1,
    "type": "on-demand",
    "currency": "USD-Blockchain",
    "image": "busybox",
    "ports": {"22": "tcp", "8888": "http"},
}
MODERN = {
    "name": "rack-1",
    "availability": True,
    "mrl": 168,
    "bitcoin_on_demand": 0.00003,
    "bitcoin_spot": 0.00002,
    "CLORE-Blockchain_on_demand": 400,
    "CLORE-Blockchain_spot": 250,
    "USD-Blockchain_on_demand": 2,
    "USD-Blockchain_spot": 1.2,
    "enabled-bitcoin": False,
    "enabled-CLORE-Blockchain": True,
    "enabled-USD-Blockchain": True,
    "autoprice": {"CLORE-Blockchain": False, "bitcoin": False},
}
GOOD: dict[str, Any] = {
    "create_order": ORDER,
    "cancel_order": {"id": 1},
    "set_spot_price": {"order_id": 1, "desired_price": 2},
    "set_server_settings": MODERN,
    "server_config": {"server_name": "rack-1"},
}
BODIES = [endpoint for endpoint in ENDPOINTS if endpoint.name in GOOD]


def state(door: Door) -> object:
    """All that a refused call must not change."""
    with door.world.store.reading() as tx:
        tables = ("accounts", "orders", "transfers", "ledger_accounts", "servers", "events", "issues")
        return [tx.exec_driver_sql(f"SELECT * FROM {table} ORDER BY 1").all() for table in tables]  # noqa: S608


def test_a_renter_reads_wallets(door: Door) -> None:
    door.world.credit("37.35")
    status, reply = door.call("wallets")
    assert status == 200
    assert reply["code"] == 0
    assert reply["wallets"][2] == {
        "name": "USD-Blockchain",
        "deposit": "",
        "balance": 37.35,
        "withdrawal_fee": 0,
    }


def test_the_marketplace_is_open_to_everybody(door: Door) -> None:
    status, reply = door.call("marketplace", key=None)
    assert status == 200
    assert [server["id"] for server in reply["servers"]] == [1]
    assert (reply["my_servers"], reply["code"]) == ([], 0)
    assert door.call("marketplace", key="host")[1]["my_servers"] == [1]


def test_an_order_is_made_listed_charged_and_cancelled(door: Door) -> None:
    door.world.credit("10")
    status, reply = door.call("create_order", ORDER)
    assert (status, reply["code"], reply["order"]["si"]) == (200, 0, 1)
    assert door.call("marketplace", key=None)[1]["servers"][0]["rented"] is True
    door.world.jump(90)
    row = door.call("my_orders")[1]["orders"][0]
    assert (row["id"], row["spend"], row["tcp_ports"]) == (reply["order"]["id"], 0.00277777, ["22:30000"])
    assert (row["http_port"], row["mrl"]) == ("8888", 24 * 3_600)
    assert door.call("cancel_order", {"id": str(row["id"])}) == (200, {"code": 0})
    assert door.call("my_orders")[1]["orders"] == []
    finished = door.call("my_orders?return_completed=true")[1]["orders"][0]
    assert (finished["expired"], finished["end_reason"]) == (True, "cancelled")
    assert door.call("marketplace", key=None)[1]["servers"][0]["rented"] is False


def test_a_host_reads_and_replaces_settings(door: Door) -> None:
    assert door.call("set_server_settings", MODERN, key="host") == (200, {"code": 0})
    for asked in (
        door.call("server_config", {"server_name": "rack-1"}, method="GET", key="host"),
        door.call("server_config?server_name=rack-1", key="host"),
        door.call("server_config", {"server_name": "rack-1"}, key="host"),
    ):
        status, reply = asked
        assert status == 200
        assert reply["config"]["pricing"]["CLORE-Blockchain"] == 400
        assert reply["config"]["allowed_coins"] == ["CLORE-Blockchain", "USD-Blockchain"]
    row = door.call("my_servers", key="host")[1]["servers"][0]
    assert (row["name"], row["visibility"], row["connected"]) == ("rack-1", "public", True)


def test_the_spot_market_is_empty(door: Door) -> None:
    status, reply = door.call("spot_marketplace?market=1")
    assert (status, reply["exists"], reply["market"]["offers"]) == (200, True, [])
    assert reply["market"]["server"]["min_pricing"]["USD-Blockchain"] == 1
    assert door.call("spot_marketplace?market=99")[1]["exists"] is False
    body = {"order_id": 1, "desired_price": 2}
    assert door.call("set_spot_price", body) == (200, {"code": 6, "error": "order_dont_exist"})


# Status codes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("endpoint", [e for e in ENDPOINTS if e.key == "required"], ids=lambda e: e.name)
@pytest.mark.parametrize("headers", [{}, {"auth": "wrong"}, {"auth": ""}, {"authorization": "Basic eA=="}])
def test_without_a_good_key_it_is_code_3(
    door: Door, endpoint: Endpoint[Any, Any], headers: dict[str, str]
) -> None:
    status, reply = door.call(
        endpoint.name, GOOD.get(endpoint.name), method=endpoint.method, key=None, headers=headers
    )
    assert (status, reply["code"]) == (401, 3)


def test_the_marketplace_refuses_a_wrong_key_too(door: Door) -> None:
    assert door.call("marketplace", key=None, headers={"auth": "wrong"})[1]["code"] == 3


def test_a_bearer_key_works(door: Door) -> None:
    headers = {"authorization": f"Bearer {door.keys['renter']}"}
    assert door.call("wallets", key=None, headers=headers)[0] == 200


def test_a_revoked_key_stops_working_at_once(door: Door) -> None:
    assert door.call("wallets")[0] == 200
    accounts.revoke_key(door.world.market, "renter@example.org", "test", door.world.now)
    door.service.catch_up()
    assert door.call("wallets")[1]["code"] == 3


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/nothing"),
        ("GET", "/v1/"),
        ("POST", "/v1/wallets"),
        ("GET", "/v1/create_order"),
        ("DELETE", "/v1/my_orders"),
        ("PUT", "/v1/set_server_settings"),
        ("OPTIONS", "/v1/wallets"),
        ("PATCH", "/v1/marketplace"),
        ("GET", "/v1/wallets/1"),
        ("GET", "/v2/wallets"),
        ("GET", "/v1/../etc/passwd"),
    ],
)
def test_anything_unknown_is_code_4(door: Door, method: str, path: str) -> None:
    reply = door.http.request(method, path)
    assert (reply.status_code, reply.json()["code"]) == (404, 4)


def test_too_fast_is_code_5_and_nothing_else(door: Door) -> None:
    door.call("wallets")
    headers = {"auth": door.keys["renter"]}
    reply = door.http.get("/v1/my_orders", headers=headers)
    assert (reply.status_code, reply.content, reply.headers["retry-after"]) == (429, b'{"code":5}', "1")
    assert door.http.get("/v1/wallets", headers={"auth": door.keys["host"]}).status_code == 200
    assert door.http.get("/v1/marketplace").status_code == 200


# Bad input ------------------------------------------------------------------------------------------

HOSTILE: list[Any] = [
    None,
    True,
    -1,
    0,
    1.5,
    10**30,
    -(10**30),
    "",
    "x" * 100_000,
    "\x00",
    [],
    {},
    [[]],
    {"a": {}},
    "😀",
]


@pytest.mark.parametrize("endpoint", BODIES, ids=lambda e: e.name)
def test_no_value_in_any_member_breaks_or_changes_anything(
    any_door: Door, endpoint: Endpoint[Any, Any]
) -> None:
    door, before = any_door, state(any_door)
    key = "host" if "server" in endpoint.name else "renter"
    for member in GOOD[endpoint.name]:
        for value in HOSTILE:
            body = {**GOOD[endpoint.name], member: value}
            status, reply = door.call(endpoint.name, body, key=key)
            assert status < 500
            if (endpoint.name, reply["code"]) == ("server_config", 0):
                continue
            if reply["code"] == 0:
                assert value in (None, True, 0, 1.5, {}), (member, value)
                continue
            assert reply["code"] in (2, 6), (member, value, reply)
            assert reply["error"]
            assert len(reply["error"]) < 500
            if endpoint is not endpoints.SET_SERVER_SETTINGS:
                assert state(door) == before, (member, value)


@pytest.mark.parametrize("endpoint", BODIES, ids=lambda e: e.name)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"7",
        b'"text"',
        b"NaN",
        b'{"id": NaN}',
        b'{"id": 1e999}',
        b"\xff\xfe{}",
        b'{"name": "\xff"}',
        b"[" * 100_000,
        b'{"a":' * 20_000,
        b"{}",
        b"{}" * 2,
    ],
    ids=repr,
)
def test_broken_json_is_code_2(door: Door, endpoint: Endpoint[Any, Any], body: bytes) -> None:
    before = state(door)
    headers = {"content-type": "application/json"}
    status, reply = door.call(endpoint.name, body, headers=headers)
    if endpoint is endpoints.SET_SERVER_SETTINGS and body in (b"{}", b'{"id": 1e999}'):
        assert (status, reply["error"]) == (200, "not_all_parameters_present")
    else:
        assert (status, reply["code"]) == (400, 2)
        assert len(reply["error"]) < 300
    assert state(door) == before


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "nonsense"])
def test_a_wrong_content_type_is_code_2(door: Door, content_type: str) -> None:
    body = json.dumps(ORDER).encode()
    status, reply = door.call("create_order", body, headers={"content-type": content_type})
    assert (status, reply["code"]) == (400, 2)
    assert "application/json" in reply["error"]


def test_a_body_of_ten_megabytes_is_code_2(door: Door) -> None:
    body = b'{"command":"' + b"x" * 10_000_000 + b'"}'
    status, reply = door.call("create_order", body, headers={"content-type": "application/json"})
    assert (status, reply["code"]) == (400, 2)


@pytest.mark.parametrize(
    "query",
    ["?return_completed=banana", "?return_completed=", "?return_completed=2", "?return_completed=%ff"],
)
def test_a_wrong_query_is_code_2(door: Door, query: str) -> None:
    status, reply = door.call("my_orders" + query)
    assert (status, reply["code"]) == (400, 2)
    assert "return_completed" in reply["error"]


@pytest.mark.parametrize(
    "query", ["", "?market=", "?market=x", "?market=0", "?market=-1", f"?market={10**30}"]
)
def test_a_wrong_market_is_code_2(door: Door, query: str) -> None:
    status, reply = door.call("spot_marketplace" + query)
    assert (status, reply["code"]) == (400, 2)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"image": "a:b:c"}, "image"),
        ({"image": "x" * 129}, "image"),
        ({"image": "bad image"}, "image"),
        ({"ports": {"22": "udp"}}, "ports"),
        ({"ports": {"0": "tcp"}}, "ports"),
        ({"ports": {"70000": "tcp"}}, "ports"),
        ({"ports": {str(port): "tcp" for port in range(1, 7)}}, "ports"),
        ({"ports": {"80": "http", "81": "http"}}, "ports"),
        ({"env": {"A": "a&b"}}, "env"),
        ({"env": {"A": 1}}, "env"),
        ({"env": {str(n): "x" * 1_500 for n in range(9)}}, "env"),
        ({"ssh_password": "x" * 33}, "ssh_password"),
        ({"jupyter_token": "x" * 33}, "jupyter_token"),
        ({"ssh_key": "x" * 3_073}, "ssh_key"),
        ({"command": "x" * 16_385}, "command"),
        ({"type": "forever"}, "type"),
        ({"renting_server": "1"}, "renting_server"),
        ({"required_price": "2"}, "required_price"),
        ({"required_price": 1e300}, "required_price"),
    ],
)
def test_the_error_names_the_member(door: Door, changes: dict[str, Any], named: str) -> None:
    door.world.credit("10")
    before = state(door)
    status, reply = door.call("create_order", ORDER | changes)
    assert (status, reply["code"]) == (400, 2)
    assert reply["error"].startswith(named), reply
    assert state(door) == before


def test_unknown_members_are_ignored(door: Door) -> None:
    door.world.credit("10")
    assert door.call("create_order", ORDER | {"entrypoint": "x", "startup_script": 1, "new": {}})[0] == 200


def test_a_refused_setting_says_why_to_people(door: Door) -> None:
    status, reply = door.call("set_server_settings", MODERN | {"mrl": 5}, key="host")
    assert (status, reply["code"], reply["error"]) == (200, 6, "invalid_mrl")
    assert "6 to 3000 hours" in reply["message"]


def test_another_accounts_server_does_not_exist_for_a_renter(door: Door) -> None:
    assert door.call("server_config?server_name=rack-1") == (200, {"code": 6, "error": "server_dont_exist"})
    assert door.call("set_server_settings", MODERN) == (200, {"code": 6, "error": "server_dont_exist"})


json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    endpoint=st.sampled_from(BODIES),
    changes=st.dictionaries(
        st.sampled_from(sorted({name for body in GOOD.values() for name in body})), json_values, max_size=3
    ),
)
def test_no_json_at_all_gets_a_5xx(door: Door, endpoint: Endpoint[Any, Any], changes: dict[str, Any]) -> None:
    status, reply = door.call(endpoint.name, GOOD[endpoint.name] | changes)
    assert status < 500
    assert reply["code"] in range(7)


def test_a_broken_database_is_code_1(door: Door) -> None:
    door.call("wallets")
    with door.world.store.writing() as tx:
        tx.exec_driver_sql("ALTER TABLE ledger_accounts RENAME TO gone")
    status, reply = door.call("wallets")
    assert (status, reply["code"]) == (500, 1)
    assert "gone" not in reply["error"]


def test_health_and_readiness_are_told(door: Door) -> None:
    assert door.http.get("/healthz").json() == {"status": "ok"}
    assert door.http.get("/readyz").json() == {"status": "ready"}

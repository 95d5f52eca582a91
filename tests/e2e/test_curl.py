"""The API as people call it by hand: the forms of the public documentation, with curl where there is one."""

import http.client
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from .conftest import Installation, an_installation

JSON = "Content-type: application/json"
Answer = tuple[int, Any]
Send = Callable[..., Answer]


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with an_installation(tmp_path_factory.mktemp("curl")) as world:
        world.settle_in("simulated")
        yield world


@pytest.fixture(params=["curl", "http.client"])
def send(request: pytest.FixtureRequest, market: Installation) -> Send:
    """Sends a method, a path below /v1, headers and a body; HTTP status and decoded reply."""
    if request.param == "curl" and not shutil.which("curl"):
        pytest.skip("curl is not installed")
    by = by_curl if request.param == "curl" else by_http_client

    def sent(method: str, path: str, *headers: str, body: str | None = None) -> Answer:
        return by(f"{market.env['CLORE_BASE_URL']}{path}", method, headers, body)

    return sent


def by_curl(url: str, method: str, headers: tuple[str, ...], body: str | None) -> Answer:
    words = ["curl", "-sS", "--max-time", "20", "--compressed", "-X", method, "-w", "\n%{http_code}"]
    words += [word for header in headers for word in ("-H", header)]
    words += ["-d", body] if body is not None else []
    done = subprocess.run([*words, url], capture_output=True, text=True, timeout=30, check=True)
    text, _, status = done.stdout.rpartition("\n")
    return int(status), json.loads(text)


def by_http_client(url: str, method: str, headers: tuple[str, ...], body: str | None) -> Answer:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=20)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    connection.request(method, target, body, dict(header.split(": ", 1) for header in headers))
    reply = connection.getresponse()
    answer = reply.status, json.loads(reply.read())
    connection.close()
    return answer


def test_reading(market: Installation, send: Send) -> None:
    renter = f"auth: {market.keys['renter']}"
    status, reply = send("GET", "/wallets", renter)
    assert (status, reply["code"], len(reply["wallets"])) == (200, 0, 3)
    for headers in ((), (renter,)):
        status, reply = send("GET", "/marketplace", *headers)
        assert (status, [server["id"] for server in reply["servers"]]) == (200, [1])
    assert send("GET", "/my_orders?return_completed=true", renter)[1]["limit"] == 32
    assert send("GET", "/spot_marketplace?market=1", renter)[1]["exists"] is True
    for endpoint, member in (
        ("renter_fees", "creation_fees"),
        ("poh_balance", "items"),
        ("get_gigaspot", "v1_snapshot_url"),
    ):
        assert member in send("GET", f"/{endpoint}", renter)[1]


def test_a_servers_name_travels_in_the_body_of_a_get_in_a_post_or_in_the_query(
    market: Installation, send: Send
) -> None:
    host = f"auth: {market.keys['host']}"
    name = '{"server_name":"rack-1"}'
    for asked in (
        send("GET", "/server_config", host, JSON, body=name),
        send("POST", "/server_config", host, JSON, body=name),
        send("GET", "/server_config?server_name=rack-1", host),
    ):
        status, reply = asked
        assert (status, reply["config"]["name"], reply["code"]) == (200, "rack-1", 0)


def test_renting_and_cancelling(market: Installation, send: Send) -> None:
    renter = f"auth: {market.keys['renter']}"
    body = """
    {"currency": "USD-Blockchain", "image": "cloreai/ubuntu20.04-jupyter", "renting_server": 1,
     "type": "on-demand", "ports": {"22": "tcp", "8888": "http"}, "jupyter_token": "Ex4mpleToken",
     "ssh_password": "Ex4mple", "env": {"MODE": "train"}, "command": "#!/bin/sh\\ntouch /root/started",
     "startup_script": "without effect"}
    """
    status, reply = send("POST", "/create_order", renter, JSON, body=body)
    assert (status, reply["code"]) == (200, 0)
    (order,) = send("GET", "/my_orders?return_completed=false", renter)[1]["orders"]
    assert order["si"] == 1
    assert send("POST", "/create_order", renter, JSON, body=body)[1]["error"] == "server-already-rented"
    cancelled = send("POST", "/cancel_order", renter, JSON, body=f'{{"id":"{order["id"]}","issue":"none"}}')
    assert cancelled == (200, {"code": 0})


def test_bidding(market: Installation, send: Send) -> None:
    renter = f"auth: {market.keys['renter']}"
    body = {
        "currency": "USD-Blockchain",
        "image": "any/image:1",
        "renting_server": 1,
        "type": "spot",
        "spotprice": 1.2,
    }
    assert send("POST", "/create_order", renter, JSON, body=json.dumps(body))[1]["code"] == 0
    (offer,) = send("GET", "/spot_marketplace?market=1", renter)[1]["market"]["offers"]
    change = json.dumps({"order_id": offer["offer_id"], "desired_price": 1.25})
    assert send("POST", "/set_spot_price", renter, JSON, body=change) == (200, {"code": 0})
    ids = json.dumps({"order_ids": [offer["offer_id"]]})
    assert send("POST", "/cancel_orders", renter, JSON, body=ids)[1]["failed_to_cancel"] == []


@pytest.mark.parametrize(
    "body",
    [
        {"on_demand": 0.00003, "spot": 0.00002},
        {"bitcoin_on_demand": 0.00003, "bitcoin_spot": 0.00002, "enabled-bitcoin": False},
    ],
    ids=["legacy", "modern"],
)
def test_both_generations_of_settings(market: Installation, send: Send, body: dict[str, Any]) -> None:
    host = f"auth: {market.keys['host']}"
    settings = {"name": "rack-1", "availability": True, "mrl": 168, **body}
    settings |= {"USD-Blockchain_on_demand": 2, "USD-Blockchain_spot": 1, "enabled-USD-Blockchain": True}
    assert send("POST", "/set_server_settings", host, JSON, body=json.dumps(settings)) == (200, {"code": 0})
    assert send("GET", "/my_servers", host)[1]["servers"][0]["pricing"]["bitcoin"] == 0.00003


def test_what_is_wrong_has_a_code(market: Installation, send: Send) -> None:
    renter = f"auth: {market.keys['renter']}"
    for method, path, headers, body, expected in (
        ("GET", "/wallets", (), None, (401, 3)),
        ("GET", "/wallets", ("auth: wrong",), None, (401, 3)),
        ("GET", "/nothing", (renter,), None, (404, 4)),
        ("POST", "/create_order", (renter, JSON), "{", (400, 2)),
        ("POST", "/create_order", (renter,), '{"renting_server":1}', (400, 2)),
        ("POST", "/cancel_order", (renter, JSON), '{"id":999}', (200, 6)),
    ):
        status, reply = send(method, path, *headers, body=body)
        assert (status, reply["code"]) == expected


def test_too_fast_is_code_5(paced_installation: Installation) -> None:
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    world = paced_installation
    world.start_market()
    world.json("admin", "account", "create", "ada@example.org")
    key = world.json("admin", "key", "create", "ada@example.org")["key"]
    url = f"{world.env['CLORE_BASE_URL']}/wallets"
    words = ["curl", "-sS", "-i", "-H", f"auth: {key}", url, url]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=True)
    assert "HTTP/1.1 429" in done.stdout
    assert "retry-after: 1" in done.stdout.lower()
    assert done.stdout.endswith('{"code":5}')

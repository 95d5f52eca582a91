"""The sandbox over HTTP."""

from typing import Any

import pytest

from openclore.sandbox.sandbox import START

from .conftest import Caller

pytestmark = pytest.mark.clore_sandbox(seed=3, servers=12)


def test_it_says_what_it_is(caller: Caller) -> None:
    about = caller.http.get("/sandbox").json()
    assert about["seed"] == 3
    assert about["keys"] == dict(caller.sandbox.keys)
    assert about["my_servers"] == caller.sandbox.my_servers
    names = caller.http.get("/v1/my_servers", headers={"auth": about["keys"]["host"]}).json()["servers"]
    assert [row["id"] for row in names] == about["my_servers"]


def test_the_clock_is_read_and_turned_and_each_request_takes_a_second(caller: Caller) -> None:
    assert caller.http.get("/sandbox/clock").json() == {"now": START, "speed": 0.0}
    reply = caller.http.post("/sandbox/clock", json={"advance_seconds": 3_600})
    assert reply.json() == {"now": START + 3_600, "speed": 0.0}
    for _ in range(3):
        last = caller.get("wallets")
    assert caller.sandbox.clock.now == START + 3_603
    assert last.headers["date"] == "Fri, 15 Jan 2027 09:00:03 GMT"


def test_money_comes_on_request_and_the_ledger_adds_up(caller: Caller) -> None:
    before = caller.sandbox.wallets()["USD-Blockchain"]
    body = {"account": "renter", "currency": "USD-Blockchain", "amount": 12.5}
    assert caller.http.post("/sandbox/credit", json=body).json() == {"done": True}
    assert caller.sandbox.wallets()["USD-Blockchain"] == before + 12.5
    caller.sandbox.credit("host", "bitcoin", 0.5)
    assert caller.sandbox.wallets("host")["bitcoin"] == pytest.approx(0.5, abs=0.001)
    assert caller.http.get("/sandbox/ledger").json()["difference"] is None


def test_faults_are_put_listed_and_cleared(caller: Caller) -> None:
    body = {"kind": "error_after", "endpoint": "create_order", "count": 2}
    assert caller.http.post("/sandbox/faults", json=body).json() == {"faults": [body]}
    assert caller.http.get("/sandbox/faults").json() == {"faults": [body]}
    assert caller.rent().status_code == 500
    assert caller.http.get("/sandbox/faults").json()["faults"][0]["kind"] == "error_after"
    assert caller.http.delete("/sandbox/faults").json() == {"faults": []}
    assert caller.sandbox.faults.waiting == []


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("clock", {"advance_seconds": -1}, "the clock turns by 0 to"),
        ("clock", {"advance_seconds": 1e12}, "the clock turns by 0 to"),
        ("clock", {"advance": 1}, "advance"),
        ("clock", {}, "advance_seconds: is required"),
        ("clock", b"{", "truncated"),
        ("credit", {"account": "nobody@example.org", "currency": "bitcoin", "amount": 1}, "no account"),
        ("credit", {"account": "renter", "currency": "gold", "amount": 1}, "currency"),
        ("credit", {"account": "renter", "currency": "bitcoin", "amount": -1}, "amount"),
        ("credit", {"account": "renter", "currency": "bitcoin", "amount": 1e300}, "amount"),
        ("faults", {"kind": "forbidden", "count": "many"}, "count"),
        ("faults", {"kind": "rain"}, "kind: must be one of too_many_requests, error_before"),
        ("faults", {"kind": "forbidden", "endpoint": "create_oder"}, "do you mean create_order?"),
        ("faults", {"kind": "forbidden", "endpoint": "stream_events"}, "no endpoint 'stream_events'"),
        ("faults", {"kind": "outbid"}, "server_id: outbid needs one"),
        ("faults", [], ""),
        ("faults", b"\xff" * 70_000, "at most"),
    ],
)
def test_bad_input_is_refused_and_changes_nothing(caller: Caller, path: str, body: Any, words: str) -> None:
    sent = {"content": body} if isinstance(body, bytes) else {"json": body}
    reply = caller.http.post(f"/sandbox/{path}", **sent)  # type: ignore[arg-type]
    assert reply.status_code == 400, reply.text
    assert words in reply.json()["error"]
    assert caller.sandbox.clock.now == START


def test_unknown_paths_say_what_there_is(caller: Caller) -> None:
    for path in ("/sandbox/weather", "/sandbox/clock/now"):
        reply = caller.http.get(path)
        assert reply.status_code == 404
        assert "POST /sandbox/clock" in reply.json()["error"]
    assert caller.http.get("/sandboxes").json()["code"] == 4

"""Webhooks on the sandbox's time: messages go out at their moments, and receivers may act on the market."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from openclore.sandbox.sandbox import START

from .conftest import Caller

pytestmark = pytest.mark.clore_sandbox(seed=2, servers=24)


class Receiver:
    """Keeps what is posted to it, and the sandbox's time at which it came; `statuses` are its answers."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.got: list[tuple[int, Any]] = []
        self.statuses: list[int] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                message = json.loads(self.rfile.read(int(self.headers["content-length"])))
                receiver.got.append((receiver.caller.sandbox.clock.now, message))
                receiver.on_message(message)
                self.send_response(receiver.statuses.pop(0) if receiver.statuses else 200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    def on_message(self, message: Any) -> None:
        """What the receiver does about it."""

    def kinds(self) -> list[str]:
        return [message["type"] for _, message in self.got]

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def receiver(caller: Caller) -> Iterator[Receiver]:
    receiver = Receiver(caller)
    yield receiver
    receiver.close()


def subscribe(caller: Caller, receiver: Receiver, *kinds: str) -> None:
    reply = caller.http.post("/open/v1/webhooks", json={"url": receiver.url, "kinds": list(kinds)})
    assert reply.json()["code"] == 0, reply.text


def test_messages_go_out_while_the_clock_is_turned(caller: Caller, receiver: Receiver) -> None:
    subscribe(caller, receiver, "order_running", "order_ended")
    shortest = min(caller.free(), key=lambda row: row["mrl"])
    hours = shortest["mrl"]
    caller.rent(shortest["id"])
    made_at = caller.sandbox.clock.now
    caller.sandbox.clock.turn(hours=hours + 4)
    assert receiver.kinds() == ["order_running", "order_ended"]
    assert receiver.got[1][0] >= made_at + hours * 3_600
    assert receiver.got[1][1]["data"]["data"]["reason"] == "expired"


def test_a_failing_receiver_is_tried_again_at_the_times_of_the_scheme(
    caller: Caller, receiver: Receiver
) -> None:
    subscribe(caller, receiver, "order_running")
    receiver.statuses = [500, 500, 500]
    caller.rent()
    caller.sandbox.clock.turn(hours=3)
    times = [at for at, _ in receiver.got]
    assert len({message["data"]["id"] for _, message in receiver.got}) == 1
    assert [later - times[0] for later in times] == [0, 5, 65, 365]


def test_a_receiver_that_acts_on_the_market_keeps_its_machine(caller: Caller, receiver: Receiver) -> None:
    bid = 150.0

    def stay(message: Any) -> None:
        nonlocal bid
        bid += 10
        caller.post("set_spot_price", order_id=message["data"]["order_id"], desired_price=bid)

    receiver.on_message = stay  # type: ignore[method-assign]
    subscribe(caller, receiver, "order_outbid")
    server_id = caller.free()[0]["id"]
    order_id = caller.rent(server_id, type="spot", spotprice=bid).json()["order"]["id"]
    caller.sandbox.faults.add("outbid", server_id=server_id)
    caller.sandbox.clock.turn(hours=1)
    assert receiver.kinds() == ["order_outbid"]
    order = caller.sandbox.orders()[order_id]
    assert (order.price, order.state) == (160.0, "running")
    assert caller.sandbox.ledger_difference() is None
    assert caller.sandbox.clock.now > START

"""What many people ask of a market at once, and a journal of what it answered, which must then be true."""

import asyncio
import json
import random
import ssl
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Literal

import httpx2
import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from openclore.api.hostlink import LINK_PATH, Assignments, Beat, Container, FromMarket
from openclore.api.open.endpoints import IDEMPOTENCY_HEADER, REPLAYED_HEADER

from .market import FLOOR, MIN_BID, Host, Populated, Renter

Outcome = Literal["unknown", "done", "refused"]
BEAT_SECONDS = 0.5
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Loading the certificates of the world takes longer than what is asked."""
_FROM_MARKET: msgspec.json.Decoder[FromMarket] = msgspec.json.Decoder(FromMarket)


@dataclass
class Asked:
    """One write. `mark` is an image or a price that no other write has, so that its traces can be counted.

    It is `unknown` what became of one that was not answered, or with code 1.
    """

    name: str
    renter: Renter
    method: str
    path: str
    body: Any
    key: str | None
    mark: Any = None
    outcome: Outcome = "unknown"
    reply: Any = None


@dataclass
class Bid:
    """A price in dollars (GigaSPOT: CLORE) per day."""

    price: float
    gigaspot: bool


@dataclass
class Journal:
    """All that was asked, and the credits: idempotency key to (email, currency, amount, whether done).

    `orders` are what each renter knows of: order id to its bid, None of one on demand.
    """

    people: Populated
    asked: list[Asked] = field(default_factory=list)
    credited: dict[str, tuple[str, str, int, bool]] = field(default_factory=dict)
    orders: dict[int, dict[int, Bid | None]] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=lambda: count(1))
    failed: int = 0
    """How many were answered with code 1."""

    def done(self) -> int:
        """How many writes were acknowledged."""
        credited = sum(done for *_, done in self.credited.values())
        return credited + sum(asked.outcome == "done" for asked in self.asked)

    def note_credit(self, said: tuple[str, str, int, str, bool]) -> None:
        email, currency, amount, key, done = said
        self.credited[f"credit:{key}"] = (email, currency, amount, done)


class Load:
    """Everybody at work until told to stop. Whoever is cut off asks no more."""

    def __init__(self, address: str, journal: Journal, seed: str) -> None:
        self._address, self._journal, self._seed = address, journal, seed
        self._stopping = False
        self.answered = asyncio.Event()
        """Somebody got an answer."""

    async def run(self, kill: Any) -> None:
        """Let everybody work while `kill` (a coroutine) does what it does, and until all noticed."""
        people = self._journal.people
        hosting = [asyncio.create_task(self._host(host)) for host in (*people.servers, *people.rigs)]
        working = [asyncio.create_task(self._rent(renter)) for renter in people.renters]
        try:
            await kill
            self._stopping = True
            async with asyncio.timeout(30):
                await asyncio.gather(*working)
        finally:
            for task in (*working, *hosting):
                task.cancel()
            await asyncio.gather(*working, *hosting, return_exceptions=True)

    async def _rent(self, renter: Renter) -> None:
        chance = random.Random(f"{self._seed}:{renter.id}")
        async with _client(self._address, renter) as client:
            with suppress(httpx2.TransportError):
                while not self._stopping:
                    asked = _choose(self._journal, renter, chance)
                    self._journal.asked.append(asked)
                    # Impatient callers send the same again before they have an answer.
                    twice = asked.key is not None and chance.random() < 0.1
                    await asyncio.gather(*(ask(client, self._journal, asked) for _ in range(1 + twice)))
                    self.answered.set()
                    if asked.outcome == "unknown":
                        await asyncio.sleep(0.05)

    async def _host(self, host: Host) -> None:
        """An agent, to which everything that it is told to run succeeds at once."""
        url = f"ws{self._address.removeprefix('http')}{LINK_PATH}"
        headers = {"Authorization": f"Bearer {host.credential}"}
        while True:
            with suppress(OSError, WebSocketException, TimeoutError):
                async with connect(url, additional_headers=headers, proxy=None) as socket:
                    await socket.send(msgspec.json.encode(host.hello).decode())
                    await self._beat(socket)
            await asyncio.sleep(0.1)

    async def _beat(self, socket: ClientConnection) -> None:
        beat = Beat(generation=0)
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(BEAT_SECONDS):
                    while not isinstance(said := _FROM_MARKET.decode(await socket.recv()), Assignments):
                        pass
                    run = [Container(order_id=order.order_id, state="running") for order in said.orders]
                    beat = Beat(generation=said.generation, containers=run)
            await socket.send(msgspec.json.encode(beat).decode())


def _client(address: str, renter: Renter) -> httpx2.AsyncClient:
    headers = {"auth": renter.key}
    return httpx2.AsyncClient(base_url=address, headers=headers, timeout=30, trust_env=False, verify=NO_TLS)


async def ask(client: httpx2.AsyncClient, journal: Journal, asked: Asked) -> None:
    """Ask, and note the answer. Whoever has one already must get the same.

    Raises:
        TransportError: there was no answer.
    """
    headers = {IDEMPOTENCY_HEADER: asked.key} if asked.key else {}
    reply = await client.request(asked.method, asked.path, json=asked.body, headers=headers)
    said = json.loads(reply.content)
    if said["code"] == 1:
        journal.failed += 1
        return
    assert said["code"] in (0, 6), (asked, said)
    outcome: Outcome = "done" if said["code"] == 0 else "refused"
    if (
        asked.outcome == "done"
    ):  # of the same asked twice, one may have been refused before the other was done
        assert outcome == "refused" or said == asked.reply, (asked, said)
        return
    asked.outcome, asked.reply = outcome, said
    if outcome == "done":
        _learn(journal, asked)


async def ask_again(address: str, journal: Journal, asked: list[Asked]) -> int:
    """Ask for these once more, under their keys. Those that are done must be answered as they were.

    How many it was not known of and turn out to have been done.
    """
    found = 0
    for renter in journal.people.renters:
        async with _client(address, renter) as client:
            for one in asked:
                if one.renter is not renter:
                    continue
                before = one.outcome
                headers = {IDEMPOTENCY_HEADER: one.key or ""}
                reply = await client.request(one.method, one.path, json=one.body, headers=headers)
                said, replayed = json.loads(reply.content), REPLAYED_HEADER in reply.headers
                assert said["code"] in (0, 6), (one, said)
                if before == "done":
                    assert replayed, f"it was acknowledged, and done anew: {one}"
                    assert said == one.reply, f"it was answered otherwise: {one}, now {said}"
                else:
                    found += replayed
                    one.outcome, one.reply = "done" if said["code"] == 0 else "refused", said
                    if said["code"] == 0:
                        _learn(journal, one)
    return found


def _learn(journal: Journal, asked: Asked) -> None:
    """What a renter knows of his orders from an answer."""
    mine = journal.orders.setdefault(asked.renter.id, {})
    match asked.name:
        case "create_order":
            bid = asked.body.get("spotprice")
            mine[asked.reply["order"]["id"]] = Bid(bid, gigaspot=False) if bid else None
        case "place_order":
            mine[asked.reply["order"]["order"]["id"]] = None
        case "set_spot_price":
            mine[asked.body["order_id"]] = Bid(asked.body["desired_price"], gigaspot=False)
        case "cancel_order":
            mine.pop(asked.body["id"], None)


def _choose(journal: Journal, renter: Renter, chance: random.Random) -> Asked:
    """What a renter asks for next."""
    number = next(journal.numbers)
    mine = journal.orders.setdefault(renter.id, {})
    bids = [order_id for order_id, bid in mine.items() if bid and not bid.gigaspot]
    big = [order_id for order_id, bid in mine.items() if bid and bid.gigaspot]
    ways = ["rent"] * 3 + ["place", "bid", "bid", "gigaspot"]
    ways += ["cancel"] * 3 + ["renew"] if mine else []
    ways += ["reprice"] * 4 if bids else []
    ways += ["edit", "cancel_many"] if big else []
    key = f"key-{number}" if chance.random() < 0.6 else None
    server_id = chance.choice(journal.people.servers).server_id
    order: dict[str, Any] = {
        "renting_server": server_id,
        "type": "on-demand",
        "currency": "USD-Blockchain",
        "image": f"crash/{number}:1",
        "ports": {"22": "tcp"},
    }
    step = number / 10**6
    match chance.choice(ways):
        case "rent":
            return Asked("create_order", renter, "POST", "/v1/create_order", order, key, order["image"])
        case "place":
            catches = {"lease_seconds": chance.randrange(60, 600), "spend_max": chance.choice([0.1, 1, 100])}
            body = order | catches
            return Asked("place_order", renter, "POST", "/open/v1/orders", body, key, order["image"])
        case "bid":
            body = order | {"type": "spot", "spotprice": round(FLOOR + chance.random() * 5 + step, 6)}
            return Asked("create_order", renter, "POST", "/v1/create_order", body, key, order["image"])
        case "gigaspot":
            price = round(MIN_BID + chance.randrange(50) + step, 6)
            bid = {"image": "a3f9c4d7e5b088d8a0bff880", "price": price, "oc": [{"pl": 250}]}
            rigs = chance.sample(journal.people.rigs, 2)
            batch = [bid | {"renting_server": rig.server_id} for rig in rigs]
            path = "/v1/create_gigaspot_orders"
            return Asked("create_gigaspot_orders", renter, "POST", path, batch, key, price)
        case "cancel":
            one = {"id": chance.choice(list(mine))}
            return Asked("cancel_order", renter, "POST", "/v1/cancel_order", one, key)
        case "renew":
            order_id, lease = chance.choice(list(mine)), {"lease_seconds": chance.randrange(60, 3_000)}
            path = f"/open/v1/orders/{order_id}/lease"
            return Asked("renew_lease", renter, "PUT", path, lease, key, order_id)
        case "reprice":
            order_id = chance.choice(bids)
            price = round(_price(mine[order_id]) + chance.choice([0.01, 0.5]) + step, 6)
            body = {"order_id": order_id, "desired_price": price}
            return Asked("set_spot_price", renter, "POST", "/v1/set_spot_price", body, key, price)
        case "edit":
            price = round(MIN_BID + 100 + step, 6)
            batch = [{"order_id": order_id, "price": price} for order_id in big]
            path = "/v1/edit_gigaspot_orders"
            return Asked("edit_gigaspot_orders", renter, "POST", path, batch, key, price)
        case "cancel_many":
            return Asked("cancel_orders", renter, "POST", "/v1/cancel_orders", {"order_ids": big}, key)
    raise AssertionError


def _price(bid: Bid | None) -> float:
    assert bid is not None
    return bid.price

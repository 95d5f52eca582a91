"""A market with a memory, and a way to it on which requests and answers meet with accidents."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, Literal

import httpx2

from openclore.api.dialects import DIALECT_HEADER
from openclore.api.open.endpoints import IDEMPOTENCY_HEADER

from .fakes import Clock, reply

BASE_DATE = 1_783_700_000.0
"""The date at 0 of the clock; this machine's is another."""
SERVER = 70123
ORDER: dict[str, Any] = {"renting_server": SERVER, "currency": "USD-Blockchain", "image": "a/b:1"}

Dialect = Literal["open", "live", "public"]


@dataclass
class FakeMarket:
    """Orders on any server, as the dialects have them.

    Attributes:
        row_delay: seconds until an order is in `my_orders`, but in the open dialect.
        calendar: from the date of the HTTP answers to the market's own.
        rival_at: when somebody else rents what is free.
    """

    clock: Clock
    dialect: Dialect = "open"
    row_delay: float = 0.0
    calendar: Callable[[float], float] = lambda date: date
    rival_at: float = float("inf")
    rows: list[dict[str, Any]] = field(default_factory=list)
    answers: dict[str, tuple[bytes, dict[str, Any]]] = field(default_factory=dict)

    @property
    def date(self) -> float:
        return BASE_DATE + self.clock.now

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        path = request.url.path.rpartition("/v1/")[2]
        if path == "my_orders":
            return self._reply(self._my_orders(request.url.params.get("return_completed") == "true"))
        if path in ("create_order", "orders"):
            return self._reply(self._once(request, self._create))
        return self._reply({"code": 0})

    def add(self, si: int = SERVER, *, spot: bool = False, visible_at: float = 0, **more: Any) -> int:
        """An order of ours."""
        row = {
            "id": 100 + len(self.rows),
            "si": si,
            "ct": int(self.calendar(self.date)),
            "image": ORDER["image"],
            "visible_at": visible_at,
            **({"spot": True} if spot else {}),
            **more,
        }
        self.rows.append(row)
        return int(row["id"])

    def _once(
        self, request: httpx2.Request, do: Callable[[dict[str, Any]], dict[str, Any]]
    ) -> dict[str, Any]:
        key = request.headers.get(IDEMPOTENCY_HEADER)
        if self.dialect != "open" or key is None:
            return do(json.loads(request.content))
        if key in self.answers:
            content, answer = self.answers[key]
            same = content == request.content
            return answer if same else {"code": 2, "error": "Idempotency-Key: was used for another request"}
        answer = do(json.loads(request.content))
        if answer["code"] == 0:
            self.answers[key] = (request.content, answer)
        return answer

    def _create(self, wish: dict[str, Any]) -> dict[str, Any]:
        spot = wish["type"] == "spot"
        held = any(
            row["si"] == wish["renting_server"] and bool(row.get("spot")) == spot and not row.get("freed")
            for row in self.rows
        )
        if held or (self.clock.now >= self.rival_at and not spot):
            return {"code": 6, "error": "you_already_have_spot_order" if spot else "server-already-rented"}
        self.add(
            wish["renting_server"],
            spot=spot,
            image=wish["image"],
            visible_at=self.clock.now + (0 if self.dialect == "open" else self.row_delay),
        )
        row = self._shown(self.rows[-1])
        if "spend_max" in wish or "lease_seconds" in wish:
            return {"code": 0, "order": {"order": row, "charged": 0, "history": []}}
        return {"code": 0, "order": row} if self.dialect == "open" else {"code": 0}

    def _my_orders(self, with_ended: bool) -> dict[str, Any]:
        rows = [row for row in self.rows if row["visible_at"] <= self.clock.now]
        return {
            "code": 0,
            "orders": [self._shown(row) for row in rows if with_ended or not row.get("expired")],
        }

    def _shown(self, row: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in row.items() if name not in ("visible_at", "freed")}

    def _reply(self, content: dict[str, Any]) -> httpx2.Response:
        headers = {"Date": formatdate(self.date, usegmt=True)}
        if self.dialect != "public":
            headers[DIALECT_HEADER] = self.dialect
        status = {2: 400}.get(content["code"], 200)
        return reply(content, status, headers)


def lost(market: FakeMarket, request: httpx2.Request) -> httpx2.Response:
    raise httpx2.ReadTimeout("slow")


def unreachable(market: FakeMarket, request: httpx2.Request) -> httpx2.Response:
    raise httpx2.ConnectError("refused")


def bad_gateway(market: FakeMarket, request: httpx2.Request) -> httpx2.Response:
    return reply(b"<html>Bad gateway", 502)


def too_fast(market: FakeMarket, request: httpx2.Request) -> httpx2.Response:
    return reply({"code": 5}, 429)


def well(market: FakeMarket, request: httpx2.Request) -> httpx2.Response:
    return market(request)


def answer_lost(market: FakeMarket, request: httpx2.Request) -> httpx2.Response:
    market(request)
    raise httpx2.ReadError("reset")


def failed_after(market: FakeMarket, request: httpx2.Request) -> httpx2.Response:
    market(request)
    return reply({"code": 1}, 500)


def page_after(market: FakeMarket, request: httpx2.Request) -> httpx2.Response:
    market(request)
    return reply(b"<html>Welcome", 200)


def gateway_after(market: FakeMarket, request: httpx2.Request) -> httpx2.Response:
    market(request)
    return reply({"error": "upstream timed out"}, 504)


def twice(market: FakeMarket, request: httpx2.Request) -> httpx2.Response:
    first = market(request)
    market(request)
    return first


def answer_to_the_copy(market: FakeMarket, request: httpx2.Request) -> httpx2.Response:
    market(request)
    return market(request)


def copy_came_too_fast(market: FakeMarket, request: httpx2.Request) -> httpx2.Response:
    market(request)
    return reply({"code": 5}, 429)


HARMLESS = [well, lost, unreachable, bad_gateway, too_fast]
AFTER = [answer_lost, failed_after, page_after, gateway_after]
COPYING = [twice, answer_to_the_copy, copy_came_too_fast]

Accident = Callable[[FakeMarket, httpx2.Request], httpx2.Response]


class Way:
    """Brings requests to a market; each meets with the next accident, and then all goes well.

    A number is an accident too: no answer in time, and the request arrives so many seconds later.
    """

    def __init__(self, market: FakeMarket, accidents: Iterable[Accident | float] = ()) -> None:
        self.market = market
        self.requests: list[httpx2.Request] = []
        self._accidents = list(accidents)
        self._late: list[tuple[float, httpx2.Request]] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        self.deliver()
        accident = self._accidents.pop(0) if self._accidents else well
        if callable(accident):
            return accident(self.market, request)
        self._late.append((self.market.clock.now + accident, request))
        self.market.clock.now += 1.0
        raise httpx2.ReadTimeout("slow")

    def deliver(self, *, all_of_them: bool = False) -> None:
        """Late requests whose time has come, at their time."""
        now = self.market.clock.now
        due = [late for late in self._late if all_of_them or late[0] <= now]
        self._late = [late for late in self._late if late not in due]
        for at, request in sorted(due, key=lambda late: late[0]):
            self.market.clock.now = at
            self.market(request)
        self.market.clock.now = now

    @property
    def paths(self) -> list[str]:
        return [request.url.path.rpartition("/v1/")[2] for request in self.requests]

    @property
    def keys(self) -> list[str]:
        writes = [request for request in self.requests if request.method == "POST"]
        return [request.headers[IDEMPOTENCY_HEADER] for request in writes]

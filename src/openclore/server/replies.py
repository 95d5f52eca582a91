"""How the market answers: every reply has a `code`, every code an HTTP status, every dialect its own."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from litestar import Response
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

from ..api.base import Failure, Reply
from ..api.codes import HTTP_STATUS, Code, Refusal
from ..api.complaints import FORBIDDEN_CHARACTERS
from ..api.dialects import DIALECT_HEADER, Dialect
from ..api.gigaspot import CancelOrdersReply, CreateGigaspotOrdersReply, EditGigaspotOrdersReply
from ..api.orders import CreateOrderReply, MyOrdersReply, Order
from ..api.servers import MyServersReply
from ..rules.refused import Refused
from .settings import Live

_encode = msgspec.json.Encoder().encode


class Answer(Response[Sequence[bytes]]):
    """A JSON reply in parts, which are sent from where they lie: joining large ones takes longer.

    It knows the code it stands for, which the live dialect may hide.
    """

    __slots__ = ("code",)

    def __init__(self, code: Code, status: int, headers: Mapping[str, str], *parts: bytes) -> None:
        super().__init__(parts, status_code=status, headers=headers)
        self.code = code

    def to_asgi_response(self, *_: Any, **__: Any) -> ASGIResponse:
        return _Sent(self)


class _Sent(ASGIResponse):
    """The framework's own spends more time on its headers than most replies take to be made."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = self._answer
        *first, last = answer.content
        length = str(sum(map(len, answer.content))).encode()
        headers = [(name.lower().encode(), value.encode()) for name, value in answer.headers.items()]
        headers += [(b"content-type", b"application/json"), (b"content-length", length)]
        await send({"type": "http.response.start", "status": answer.status_code or 200, "headers": headers})
        for part in first:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": last, "more_body": False})


@dataclass(frozen=True)
class Voice:
    """How one caller is spoken to. `business_status` is the HTTP status of code 6 in the open dialect."""

    dialect: Dialect = Dialect.OPEN
    live: Live = field(default_factory=Live)
    business_status: int = HTTP_STATUS[Code.BUSINESS]

    def success(self, reply: Reply) -> Answer:
        if self.dialect is Dialect.LIVE:
            reply = _as_recorded(reply)
        return self.encoded(_encode(reply))

    def encoded(self, body: bytes, headers: dict[str, str] | None = None) -> Answer:
        """A successful reply that is JSON already."""
        return self._answer(Code.OK, HTTP_STATUS[Code.OK], body, headers)

    def failure(self, code: Code, error: str | None = None) -> Answer:
        if self.dialect is Dialect.LIVE and error and error.endswith(FORBIDDEN_CHARACTERS):
            as_recorded = _encode(Failure(code=Code.DATABASE_ERROR))
            return self._answer(code, HTTP_STATUS[Code.DATABASE_ERROR], as_recorded)
        return self._answer(code, HTTP_STATUS[code], _encode(Failure(code=code, error=error)))

    def refusal(self, refused: Refused) -> Answer:
        facts: Mapping[str, Any] = refused.facts
        status = self.business_status
        if self.dialect is Dialect.LIVE:
            facts = {name: fact for name, fact in facts.items() if name != "message"}
            if refused.refusal is Refusal.SERVER_ALREADY_RENTED:
                facts = {"status": self.live.status_member, **facts}
            status = self.live.business_statuses.get(refused.refusal, self.live.business_status)
        body = {"code": Code.BUSINESS, "error": refused.refusal, **facts}
        return self._answer(Code.BUSINESS, status, _encode(body))

    def too_fast(self, wait_seconds: float, error: str | None = None) -> Answer:
        headers = {} if self.dialect is Dialect.LIVE else {"Retry-After": str(math.ceil(wait_seconds))}
        body = _encode(Failure(code=Code.RATE_EXCEEDED, error=error))
        return self._answer(Code.RATE_EXCEEDED, HTTP_STATUS[Code.RATE_EXCEEDED], body, headers)

    def _answer(self, code: Code, status: int, body: bytes, headers: dict[str, str] | None = None) -> Answer:
        own = {"Cache-Control": "no-store", DIALECT_HEADER: self.dialect, **(headers or {})}
        return Answer(code, status, own, body)


def _as_recorded(reply: Reply) -> Reply:
    """A reply with the members that the public service was seen to send."""
    match reply:
        case CreateOrderReply():
            return Reply(code=reply.code)
        case MyOrdersReply():
            return msgspec.structs.replace(reply, orders=[_recorded_row(row) for row in reply.orders])
        case MyServersReply():
            rows = [s if s.connected else msgspec.structs.replace(s, id=None) for s in reply.servers]
            return msgspec.structs.replace(reply, servers=rows)
        case CreateGigaspotOrdersReply() | EditGigaspotOrdersReply() | CancelOrdersReply():
            return msgspec.structs.replace(reply, reasons=msgspec.UNSET)
    return reply


_OURS: dict[str, None] = dict.fromkeys(("status", "paused", "order_end", "state", "end_reason", "end_detail"))
_NETWORK: dict[str, None] = dict.fromkeys(("pub_cluster", "tcp_ports", "http_port", "http_pub"))


def _recorded_row(row: Order) -> Order:
    gone = _OURS | _NETWORK if row.expired else _OURS
    return msgspec.structs.replace(row, spot=row.spot or None, **gone)

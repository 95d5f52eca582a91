"""Every request of every door: its id, which goes back to the caller, its count, and its line in the log."""

import re
import secrets
import time
import traceback
from dataclasses import dataclass
from typing import Any

import structlog
from litestar import Litestar, Request
from sqlalchemy.exc import SQLAlchemyError
from structlog.contextvars import bind_contextvars

from ..api.codes import Code
from ..api.open.orders import OrderReply
from ..api.orders import CancelOrder, CreateOrderReply, Order
from ..store.failures import cause, for_the_log
from .service import Service

REQUEST_ID_HEADER = "X-Request-Id"
UNKNOWN = "unknown"
"""The endpoint of whatever leads nowhere, so that callers can't make up names."""
_HEADER = REQUEST_ID_HEADER.lower().encode()
_SANE = re.compile(rb"[A-Za-z0-9._:-]{1,40}")
"""Too short for an API key, which would else be logged when somebody sends one here."""

log = structlog.get_logger()


@dataclass(slots=True)
class Asked:
    """One request, as far as is known. `query` is what it asks for, of which only ids are ever logged."""

    id: str
    endpoint: str | None = None
    code: Code | None = None
    key_id: int | None = None
    ids: dict[str, int] | None = None
    query: Any = None
    reply: Any = None
    error: Exception | None = None


def asked(request: Request[Any, Any, Any]) -> Asked:
    """What is known of a request; who knows more notes it there."""
    found: Asked = request.scope["asked"]  # type: ignore[typeddict-item]
    return found


class Watched(Litestar):
    """An application whose requests have ids, are counted, and are logged where the settings say so.

    Whatever is logged while a request is answered carries its `request_id`. One that fails within the market
    (code 1) is always logged, with the traceback.
    """

    def __init__(self, service: Service, **options: Any) -> None:
        super().__init__(**options)
        self._service = service

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await super().__call__(scope, receive, send)
            return
        started = time.perf_counter()
        asked = scope["asked"] = Asked(_request_id(scope["headers"]))
        header = (_HEADER, asked.id.encode())

        async def answer(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], header]
                self._answered(asked, scope, message["status"], time.perf_counter() - started)
            await send(message)

        bind_contextvars(request_id=asked.id)  # each request has a context of its own
        await super().__call__(scope, receive, answer)

    def _answered(self, asked: Asked, scope: Any, status: int, seconds: float) -> None:
        endpoint = asked.endpoint or scope.get("path_template") or UNKNOWN
        self._service.metrics.answered(endpoint, asked.code, status, seconds)
        if asked.error is not None:
            say = log.error
        elif self._service.settings.log_requests:
            say = log.info
        else:
            return
        event, trouble = _trouble(asked.error)
        facts = {
            "request_id": asked.id,
            "endpoint": endpoint,
            "code": None if asked.code is None else int(asked.code),
            "status": status,
            "seconds": round(seconds, 6),
            "key": asked.key_id,
            "orders": _orders(asked),
            **trouble,
        }
        say(event, **{name: fact for name, fact in facts.items() if fact not in (None, "", [])})


def _request_id(headers: Any) -> str:
    """The caller's own, if it is one that can stand in a log, or a new one."""
    for name, value in headers:
        if name == _HEADER and _SANE.fullmatch(value):
            return str(value, "ascii")
    return secrets.token_hex(8)


def _trouble(error: Exception | None) -> tuple[str, dict[str, Any]]:
    """What to call it, and what is known of it. A database's error may quote what a caller sent."""
    if error is None:
        return "request", {}
    if isinstance(error, SQLAlchemyError):
        where = "" if cause(error) else "".join(traceback.format_tb(error.__traceback__))
        return "database error", {"error": for_the_log(error), "exception": where}
    return "request failed", {"exc_info": error}


def _orders(asked: Asked) -> list[int]:
    """Ids of the orders that a request names, or has made."""
    query, reply = asked.query, asked.reply
    found = [(asked.ids or {}).get("order_id")]
    for part in query if isinstance(query, list) else [query]:
        found += [getattr(part, "order_id", None), *getattr(part, "order_ids", ())]
    if isinstance(query, CancelOrder):
        found.append(int(query.id))
    if isinstance(reply, CreateOrderReply) and isinstance(reply.order, Order):
        found.append(reply.order.id)
    elif isinstance(reply, OrderReply):
        found.append(reply.order.order.id)
    return list(dict.fromkeys(order_id for order_id in found if isinstance(order_id, int)))

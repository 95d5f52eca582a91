# Generated from _async/orders.py by tools/unasync.py: change that one.
"""Exactly one order for one call, whatever becomes of requests and answers on the way.

In the open dialect the call's idempotency key sees to that: the same request is simply sent again. Elsewhere
an order is asked for once, and if the reply does not carry it, it is looked for in `my_orders`, where it may
take 20 s to appear.
"""

import threading
import uuid
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from openclore.api.endpoints import MY_ORDERS, Endpoint
from openclore.api.orders import CreateOrder, MyOrders, Order

from .. import _requests, _wire
from .._retry import too_soon
from .._seek import Attempt, During, Sought, newest_match
from .._wire import Speaks
from ..errors import CloreError, NetworkError, OutcomeUnknownError, SignInError
from .caller import Caller

SEEK_SECONDS = 30.0
SEEK_PAUSE_SECONDS = 1.5
REFUSED_SEEK_SECONDS = 5.0
"""After a refusal that a copy of the request, made on the way, could have caused. Where a key may order once
in 5 s, the next order does not wait for this.
"""
REFUSED_PAUSE_SECONDS = 2.5
LOOK_LASTS_SECONDS = 60.0
"""How long a look at the orders counts as what was there before."""


class OrderMaker:
    """Makes the orders of one client, and knows which it has seen."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._known: set[int] = set()
        self._told: set[int] = set()
        self._looked_at: float | None = None
        self._looking = threading.Lock()
        self._locks: dict[int, threading.Lock] = {}
        self._unclear: dict[int, Attempt] = {}

    def look(self, request: MyOrders) -> list[Order]:
        """`my_orders`, for a caller."""
        orders, _ = self._look(request)
        self._told.update(order.id for order in orders)
        return orders

    def make(self, endpoint: Endpoint[Any, Any], order: CreateOrder, idempotency_key: str | None) -> Order:
        """Ask for an order and find it; one at a time per server, so that no two callers get the same.

        Who asks for the same again after an unclear outcome goes on where that ended, and gets the order of
        before if it has come to light.

        Raises:
            OutcomeUnknownError: it may have been made, and is not to be seen.
        """
        server = order.renting_server
        with self._locks.setdefault(server, threading.Lock()):
            attempt = self._begin(order, idempotency_key, self._unclear.get(server))
            try:
                made = attempt.found or self._made(endpoint, attempt)
            except OutcomeUnknownError:
                self._unclear[server] = attempt
                raise
            except CloreError:
                self._unclear.pop(server, None)
                raise
            self._unclear.pop(server, None)
            self._known.add(made.id)
            self._told.add(made.id)
            return made

    def _begin(self, order: CreateOrder, idempotency_key: str | None, before: Attempt | None) -> Attempt:
        """What there is to know before asking."""
        again = before if before is not None and before.sought.order == order else None
        with self._looking:
            if again:
                rows, answer = self._look(MyOrders())
            elif self._should_look():
                self._look(MyOrders())
        if again:
            again.sought = replace(again.sought, known=again.sought.known | self._told)
            again.found = newest_match(
                rows, again.sought, During.of(again.sent, answer, self._caller.clock())
            )
            again.idempotency_key = idempotency_key or again.idempotency_key
            return again
        ours = self._caller.speaks in (Speaks.OPEN, Speaks.LIVE)
        sought = Sought(order, frozenset(self._known), by_id_alone=ours and self._looked_lately())
        return Attempt(sought, idempotency_key or uuid.uuid4().hex)

    def _made(self, endpoint: Endpoint[Any, Any], attempt: Attempt) -> Order:
        order, sent = attempt.sought.order, attempt.sent
        carried: Order | int | None = None
        problem: CloreError | None = None
        seconds, pause = SEEK_SECONDS, SEEK_PAUSE_SECONDS
        try:
            carried = self._caller.tried(
                endpoint,
                order,
                lambda answer: _wire.order_in(self._caller.parsed(endpoint, answer)),
                idempotency_key=attempt.idempotency_key,
                sent=sent,
            )
        except CloreError as error:
            if not self._may_be_made(error, attempt):
                raise
            problem = error
            if not (error.ambiguous or error.repeated or sent.times > 1):
                seconds, pause = REFUSED_SEEK_SECONDS, REFUSED_PAUSE_SECONDS
        if isinstance(carried, Order):
            return carried
        found, looked = self._seek(attempt, carried, seconds, pause)
        if found is not None:
            return found
        if carried is not None:
            return Order(id=carried, si=order.renting_server, currency=order.currency, image=order.image)
        if problem is None or problem.ambiguous:
            raise _unknown_outcome(endpoint, order, problem) from problem
        if not looked and (problem.repeated or problem.error == attempt.sought.occupied):
            raise _unknown_outcome(endpoint, order, problem) from problem
        raise problem

    def _should_look(self) -> bool:
        """Whether to see which orders there are before asking for one.

        A market's first answer tells its dialect. Where a sandbox may turn the calendar, what is new can only
        be told by what was there before.
        """
        speaks = self._caller.speaks
        return speaks is Speaks.UNKNOWN or (speaks is Speaks.LIVE and not self._looked_lately())

    def _looked_lately(self) -> bool:
        at = self._looked_at
        return at is not None and self._caller.clock() - at <= LOOK_LASTS_SECONDS

    def _may_be_made(self, error: CloreError, attempt: Attempt) -> bool:
        """Whether the order may exist although the call failed.

        The answer may be to a copy of the request, made on the way: it came too soon after the first, or
        found the place taken by it. Where keys are known the place is never taken by a copy, but an earlier
        attempt may still be on its way.
        """
        if error.ambiguous or isinstance(error, NetworkError) or too_soon(error):
            return attempt.sent.times > 0
        if self._caller.speaks is Speaks.OPEN:
            return error.repeated
        return error.error == attempt.sought.occupied

    def _seek(
        self, attempt: Attempt, order_id: int | None, seconds: float, pause: float
    ) -> tuple[Order | None, bool]:
        """Look in `my_orders` until the order is there, and whether that could be seen in the end.

        The last look includes finished ones; while it fails there is another.
        """
        caller = self._caller
        deadline = caller.clock() + seconds
        end = caller.clock() + SEEK_SECONDS
        last = False
        while True:
            try:
                message = _requests.outgoing(MY_ORDERS, MyOrders(return_completed=last), caller.base_url)
                rows, answer = caller.once(MY_ORDERS, message, self._read)
            except SignInError:
                return None, False
            except CloreError:
                seen = False
            else:
                seen = True
                found = (
                    _with_id(rows, order_id)
                    if order_id is not None
                    else newest_match(rows, attempt.sought, During.of(attempt.sent, answer, caller.clock()))
                )
                if found is not None:
                    return found, True
            if last and (seen or caller.clock() >= end):
                return None, seen
            last = caller.clock() + pause >= deadline
            caller.sleep(pause)

    def _look(self, request: MyOrders) -> tuple[list[Order], _wire.Answer]:
        rows, answer = self._caller.tried(MY_ORDERS, request, self._read)
        self._known.update(row.id for row in rows)
        self._looked_at = self._caller.clock()
        return rows, answer

    def _read(self, answer: _wire.Answer) -> tuple[list[Order], _wire.Answer]:
        return self._caller.decoded(MY_ORDERS, answer).orders, answer


def _with_id(rows: Iterable[Order], order_id: int) -> Order | None:
    return next((row for row in rows if row.id == order_id), None)


def _unknown_outcome(
    endpoint: Endpoint[Any, Any], order: CreateOrder, problem: CloreError | None
) -> OutcomeUnknownError:
    happened = (
        f"it is unclear whether the order was made ({problem})" if problem else "the order was accepted"
    )
    return OutcomeUnknownError(
        f"{endpoint.name}: {happened}, but my_orders shows none for server {order.renting_server} after"
        f" {SEEK_SECONDS:.0f} s. It would cost money: look in my_orders again, or ask this client again for"
        " the same.",
        endpoint=endpoint.name,
        status=problem.status if problem else None,
        code=problem.code if problem else 0,
        error=problem.error if problem else None,
        ambiguous=True,
    )

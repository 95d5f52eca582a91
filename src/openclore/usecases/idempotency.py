"""Doing what was asked once, however often it is asked."""

from collections.abc import Callable
from typing import Concatenate, NamedTuple, ParamSpec

import msgspec
from sqlalchemy import Connection

from ..api.base import Reply
from ..api.open.endpoints import IDEMPOTENCY_HEADER
from ..rules.refused import InvalidInput
from ..store import idempotency
from .market import Market

P = ParamSpec("P")


class Once(NamedTuple):
    """Whose request it is, the key it came with, and the hash of what it asks for."""

    account_id: int
    key: str
    request_hash: str
    now: int


class Answered(Exception):
    """It was done before; `reply` is the JSON of the answer it got."""

    def __init__(self, reply: bytes) -> None:
        super().__init__()
        self.reply = reply


def once(
    market: Market,
    once: Once,
    use_case: Callable[Concatenate[Market, P], Reply | None],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> Reply:
    """Run a use case and keep its reply in the same transaction. One that refuses leaves nothing behind.

    Raises:
        Answered: it was done before.
        InvalidInput: the key came with another request.
    """
    with market.store.writing() as tx:
        _check(tx, once)
        made = use_case(market, *args, **kwargs) or Reply(code=0)
        idempotency.keep(
            tx, once.account_id, once.key, once.request_hash, msgspec.json.encode(made), once.now
        )
        return made


def check(market: Market, once: Once) -> None:
    """For what leaves the market and so is no part of a transaction: look before it is done.

    Raises:
        Answered, InvalidInput: as `once`.
    """
    with market.store.reading() as tx:
        _check(tx, once)


def _check(tx: Connection, once: Once) -> None:
    before = idempotency.find(tx, once.account_id, once.key)
    if before is not None:
        request_hash, reply = before
        if request_hash != once.request_hash:
            raise InvalidInput(f"{IDEMPOTENCY_HEADER}: was used for another request, choose a new one")
        raise Answered(reply)


def prune(market: Market, now: int) -> None:
    """Forget the answers that are older than the policy keeps them."""
    with market.store.writing() as tx:
        idempotency.prune(tx, now - market.policy.idempotency_seconds)

"""Spend limits: what an account, or one of its keys, may spend."""

from sqlalchemy import Connection

from ..api.open.limits import SetSpendLimit, SpendLimitReply, SpendLimitsReply
from ..api.open.limits import SpendLimit as SpendLimitRow
from ..rules import billing, money
from ..rules.refused import InvalidInput, NotFound
from ..store import accounts, events, limits, orders
from ..store.accounts import ApiKey
from ..store.limits import SpendLimit
from . import settlement
from .market import Market


def list_spend_limits(market: Market, account_id: int, now: int) -> SpendLimitsReply:
    """The account's own limits and those of its keys."""
    with market.store.writing() as tx:
        for currency in sorted({limit.currency for limit in limits.of_account(tx, account_id)}):
            settlement.settle(tx, market.policy, account_id, currency, now)
        rows = [_row(tx, limit, now) for limit in limits.of_account(tx, account_id)]
    return SpendLimitsReply(code=0, limits=rows)


def set_spend_limit(market: Market, caller: ApiKey, request: SetSpendLimit, now: int) -> SpendLimitReply:
    """Limit what the caller's account or one of its keys may spend from now on.

    Raises:
        InvalidInput: no such key, an amount that is none, or a caller that is limited itself.
    """
    amount = money.of_member("amount", request.amount)
    if amount <= 0:
        raise InvalidInput("amount: must be at least 0.00000001")
    with market.store.writing() as tx:
        _may_change(tx, caller)
        keys = {key.name: key.id for key in accounts.keys_of(tx, caller.account_id)}
        if request.key is not None and request.key not in keys:
            raise InvalidInput("key: the account has no API key of this name")
        settlement.settle(tx, market.policy, caller.account_id, request.currency, now)
        key_id = keys[request.key] if request.key is not None else None
        limit = limits.put(
            tx,
            SpendLimit(
                id=0,
                account_id=caller.account_id,
                key_id=key_id,
                currency=request.currency,
                amount=amount,
                period=request.period,
                since=now,
                spent_before=orders.charged(tx, caller.account_id, request.currency, key_id),
            ),
        )
        settlement.settle(tx, market.policy, caller.account_id, request.currency, now)
        _tell(tx, events.Kind.SPEND_LIMIT_SET, limit, now)
        return SpendLimitReply(code=0, limit=_row(tx, limit, now))


def remove_spend_limit(market: Market, caller: ApiKey, limit_id: int, now: int) -> None:
    """Lift a limit.

    Raises:
        NotFound: the account has no such limit.
        InvalidInput: the caller is limited itself.
    """
    with market.store.writing() as tx:
        _may_change(tx, caller)
        found = [limit for limit in limits.of_account(tx, caller.account_id) if limit.id == limit_id]
        if not found:
            raise NotFound(f"you have no spend limit {limit_id}")
        limits.remove(tx, limit_id)
        _tell(tx, events.Kind.SPEND_LIMIT_REMOVED, found[0], now)
        settlement.settle(tx, market.policy, caller.account_id, found[0].currency, now)


def _may_change(tx: Connection, caller: ApiKey) -> None:
    """A key with a limit of its own could lift it otherwise."""
    if any(limit.key_id == caller.id for limit in limits.of_account(tx, caller.account_id)):
        raise InvalidInput("this API key has a spend limit of its own and can't change limits, use another")


def _tell(tx: Connection, kind: events.Kind, limit: SpendLimit, now: int) -> None:
    events.append(
        tx,
        kind,
        now,
        account_id=limit.account_id,
        currency=limit.currency,
        amount=money.to_text(limit.amount),
        period=limit.period,
    )


def _row(tx: Connection, limit: SpendLimit, now: int) -> SpendLimitRow:
    running = [
        order
        for order in orders.active_of(tx, [limit.account_id])
        if order.currency is limit.currency and limit.key_id in (None, order.key_id)
    ]
    posted = orders.charged(tx, limit.account_id, limit.currency, limit.key_id)
    names = {key.id: key.name for key in accounts.keys_of(tx, limit.account_id)}
    return SpendLimitRow(
        id=limit.id,
        currency=limit.currency,
        amount=money.to_wire(limit.amount),
        period=limit.period,
        spent=money.to_wire(posted + billing.accrued(running, now) - limit.spent_before),
        since=limit.since,
        key=names.get(limit.key_id) if limit.key_id is not None else None,
    )

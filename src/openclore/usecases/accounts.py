"""Accounts, keys, wallets: what an operator does to them, and what an owner reads."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection

from ..api.account import (
    CreationFees,
    FeeTable,
    PohBalance,
    PohBalanceReply,
    PohConfig,
    PohOffers,
    RenterFees,
    RenterFeesReply,
)
from ..api.currencies import Currency
from ..api.dialects import Dialect
from ..api.wallets import Wallet, WalletsReply
from ..rules import billing, money
from ..rules.orders import Order
from ..rules.refused import InvalidInput
from ..store import accounts, events, ledger, orders
from ..store.accounts import Account, ApiKey
from . import settlement
from .market import Market
from .secrets import hashed, new_key

_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,189}")
_CURRENCIES = tuple(Currency)
_LIMIT_MAX = 1_000_000
_KEY_NAME = re.compile(r"[\w .@+-]{1,64}")


def create_account(market: Market, email: str, now: int) -> Account:
    """Open an account.

    Raises:
        InvalidInput: the address is no e-mail address, or has an account.
    """
    email = email.strip().lower()
    if not _EMAIL.fullmatch(email):
        raise InvalidInput(f"{email!r} is not an e-mail address")
    with market.store.writing() as tx:
        if accounts.by_email(tx, email):
            raise InvalidInput(f"{email} has an account already")
        account = accounts.add(tx, email, now)
        events.append(tx, events.Kind.ACCOUNT_CREATED, now, account_id=account.id)
        return account


def set_account(
    market: Market,
    email: str,
    now: int,
    *,
    poh_stake: int | None = None,
    orders_max: int | None = None,
    servers_max: int | None = None,
) -> Account:
    """Set what is given; the account afterwards. A stake (10⁻⁸ CLORE) lowers the fees of new orders.

    Raises:
        InvalidInput: no such account, or a number out of bounds.
    """
    for name, number, most in (
        ("orders_max", orders_max, _LIMIT_MAX),
        ("servers_max", servers_max, _LIMIT_MAX),
        ("the stake", poh_stake, money.AMOUNT_MAX),
    ):
        if number is not None and not 0 <= number <= most:
            raise InvalidInput(f"{name} must be 0 to {most}, got {number}")
    given = {"poh_stake": poh_stake, "orders_max": orders_max, "servers_max": servers_max}
    changes = {name: number for name, number in given.items() if number is not None}
    with market.store.writing() as tx:
        account = account_named(tx, email)
        changed = msgspec.structs.replace(account, **changes)
        if changed != account:
            accounts.save(tx, changed)
            events.append(tx, events.Kind.ACCOUNT_CHANGED, now, account_id=account.id, **changes)
        return changed


def create_key(
    market: Market, email: str, name: str, now: int, dialect: Dialect | None = None
) -> tuple[ApiKey, str]:
    """Make an API key; the key and its secret, which is not kept and can't be shown again.

    One that is pinned to a dialect is spoken to in it, whatever the server's own is.

    Raises:
        InvalidInput: no such account, or the name is unusable or taken.
    """
    if not _KEY_NAME.fullmatch(name):
        raise InvalidInput(f"a key's name is 1 to 64 letters, digits or .@+-_ and spaces, got {name!r}")
    with market.store.writing() as tx:
        account = account_named(tx, email)
        if any(key.name == name for key in accounts.keys_of(tx, account.id)):
            raise InvalidInput(f"{account.email} has a key named {name!r} already, choose another name")
        secret = new_key()
        key = accounts.add_key(tx, account.id, name, hashed(secret), now, dialect)
        events.append(tx, events.Kind.KEY_CREATED, now, account_id=account.id, key_id=key.id)
        return key, secret


def list_keys(market: Market, email: str) -> list[ApiKey]:
    """An account's keys, revoked ones too."""
    with market.store.reading() as tx:
        return accounts.keys_of(tx, account_named(tx, email).id)


def revoke_key(market: Market, email: str, name: str, now: int) -> None:
    """Make a key worthless.

    Raises:
        InvalidInput: no such account or key.
    """
    with market.store.writing() as tx:
        account = account_named(tx, email)
        key = next((key for key in accounts.keys_of(tx, account.id) if key.name == name), None)
        if key is None:
            raise InvalidInput(f"{account.email} has no key named {name!r}")
        if key.revoked_at is None:
            accounts.revoke_key(tx, key.id, now)
            events.append(tx, events.Kind.KEY_REVOKED, now, account_id=account.id, key_id=key.id)


def credit(
    market: Market, email: str, currency: Currency, amount: int, now: int, idempotency_key: str
) -> int:
    """Put money into a wallet from outside; the wallet's balance afterwards. Once per idempotency key.

    Raises:
        InvalidInput: no such account, an amount that is not above zero, or a key used for another credit.
    """
    if not 0 < amount <= money.AMOUNT_MAX:
        raise InvalidInput(f"an amount must be above 0 and at most {money.to_text(money.AMOUNT_MAX)}")
    with market.store.writing() as tx:
        account = account_named(tx, email)
        settlement.settle(tx, market.policy, account.id, currency, now)
        wallet = ledger.wallet(tx, account.id, currency)
        if wallet.balance + amount > money.AMOUNT_MAX:
            raise InvalidInput(f"a wallet can't hold more than {money.to_text(money.AMOUNT_MAX)}")
        transfer = ledger.Transfer(
            debit_id=ledger.outside(tx, currency).id,
            credit_id=wallet.id,
            amount=amount,
            kind="credit",
            reference=f"account:{account.id}",
            idempotency_key=f"credit:{idempotency_key}",
            at=now,
        )
        try:
            made = ledger.post(tx, transfer)
        except ledger.IdempotencyConflict:
            raise InvalidInput("this idempotency key was used for another credit") from None
        except ledger.LedgerOverflow:
            raise InvalidInput(f"the market can't hold so much {currency}") from None
        if made:
            settlement.settle(tx, market.policy, account.id, currency, now)
            events.append(
                tx,
                events.Kind.WALLET_CREDITED,
                now,
                account_id=account.id,
                currency=currency,
                amount=money.to_text(amount),
            )
        return ledger.by_id(tx, wallet.id).balance


class Position(NamedTuple):
    """What an account's wallets hold as posted, and its orders that are not over: all that its wallets show,
    but for the time.
    """

    posted: Mapping[Currency, int]
    running: Sequence[Order]


def wallets(market: Market, account_id: int, now: int) -> WalletsReply:
    """What the account can spend now, in every currency: posted balances less what its orders accrued."""
    return wallets_at(position(market, account_id), now)


def position(market: Market, account_id: int) -> Position:
    """The account's, as it is until somebody changes something."""
    with market.store.reading() as tx:
        held = ledger.wallets_of(tx, account_id)
        running = orders.of_renter(tx, account_id, with_ended=False)
    return Position({currency: wallet.balance for currency, wallet in held.items()}, running)


def wallets_at(position: Position, now: int) -> WalletsReply:
    """`wallets` from a position that still holds."""
    left = {currency: position.posted.get(currency, 0) for currency in _CURRENCIES}
    for order in position.running:
        left[order.currency] -= billing.outstanding(order, now)
    return WalletsReply(
        code=0,
        wallets=[
            Wallet(name=currency, deposit="", balance=money.to_wire(max(0, amount)), withdrawal_fee=0)
            for currency, amount in left.items()
        ],
    )


def renter_fees(market: Market, account_id: int) -> RenterFeesReply:
    """What renting costs beyond the price, before the account's stake takes some off."""
    fees = market.policy.fees
    with market.store.reading() as tx:
        stake = accounts.by_id(tx, account_id).poh_stake
    creation: dict[str, float | None] = {str(name): amount for name, amount in fees.creation.items()}
    return RenterFeesReply(
        code=0,
        renter_fees=RenterFees(
            on_demand=FeeTable(base=dict.fromkeys(Currency, fees.renter_percent)),
            spot=FeeTable(base=dict.fromkeys(Currency, fees.spot_renter_percent)),
        ),
        creation_fees=CreationFees(on_demand=creation, spot=creation),
        poh_config=PohConfig(
            max_reduction_percent=fees.poh_max_reduction_percent, max_poh_amount=fees.poh_max_amount
        ),
        poh_balance=money.to_wire(stake),
    )


def poh_balance(market: Market, account_id: int) -> PohBalanceReply:
    """The stake, as the operator set it: the market knows of no addresses and no leases."""
    with market.store.reading() as tx:
        stake = money.to_wire(accounts.by_id(tx, account_id).poh_stake)
    offers = PohOffers(
        rented_amount=0,
        rented_on_marketplace_amount=0,
        rented_finished_amount=0,
        leased_amount=0,
        leased_finished_amount=0,
    )
    balance = PohBalance(total=stake, free_amount=stake, reward_amount=0, offers=offers)
    return PohBalanceReply(code=0, items=[], balance=balance, count=0)


def account_named(tx: Connection, email: str) -> Account:
    """The account with this address.

    Raises:
        InvalidInput: there is none.
    """
    account = accounts.by_email(tx, email.strip().lower())
    if account is None:
        raise InvalidInput(f"there is no account {email.strip().lower()}")
    return account

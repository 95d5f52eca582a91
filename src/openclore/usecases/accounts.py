"""Accounts, keys, wallets: what an operator does to them, and what an owner reads."""

import re

from sqlalchemy import Connection

from ..api.currencies import Currency
from ..api.wallets import Wallet, WalletsReply
from ..rules import billing, money
from ..rules.refused import InvalidInput
from ..store import accounts, events, ledger, orders
from ..store.accounts import Account, ApiKey
from . import settlement
from .market import Market
from .secrets import hashed, new_key

_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,189}")
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


def create_key(market: Market, email: str, name: str, now: int) -> tuple[ApiKey, str]:
    """Make an API key; the key and its secret, which is not kept and can't be shown again.

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
        key = accounts.add_key(tx, account.id, name, hashed(secret), now)
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


def wallets(market: Market, account_id: int, now: int) -> WalletsReply:
    """What the account can spend now, in every currency: posted balances less what its orders accrued."""
    with market.store.reading() as tx:
        held = ledger.wallets_of(tx, account_id)
        running = orders.of_renter(tx, account_id, with_ended=False)
    return WalletsReply(
        code=0,
        wallets=[
            Wallet(
                name=currency,
                deposit="",
                balance=money.to_wire(
                    max(
                        0,
                        (held[currency].balance if currency in held else 0)
                        - billing.accrued([o for o in running if o.currency is currency], now),
                    )
                ),
                withdrawal_fee=0,
            )
            for currency in Currency
        ],
    )


def account_named(tx: Connection, email: str) -> Account:
    """The account with this address.

    Raises:
        InvalidInput: there is none.
    """
    account = accounts.by_email(tx, email.strip().lower())
    if account is None:
        raise InvalidInput(f"there is no account {email.strip().lower()}, create it first")
    return account

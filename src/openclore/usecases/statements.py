"""What an account's wallets received and paid, line by line."""

from collections.abc import Iterator

from sqlalchemy import Connection

from ..api.open.statements import (
    STATEMENT_PAGE_MAX,
    ReadStatement,
    StatementLine,
    StatementReply,
    StatementWallet,
)
from ..rules import money
from ..rules.refused import InvalidInput
from ..store import ledger
from ..store.ledger import LedgerAccount, Line
from .accounts import account_named
from .market import Market


def read_statement(market: Market, account_id: int, request: ReadStatement) -> StatementReply:
    """A page of an account's statement.

    Raises:
        InvalidInput: it would end before it begins.
    """
    with market.store.reading() as tx:
        return _page(tx, account_id, request)


def statement_pages(market: Market, email: str, request: ReadStatement) -> Iterator[StatementReply]:
    """The whole statement of the account with this address as it is at one moment, page by page.

    Raises:
        InvalidInput: there is no such account, or it would end before it begins.
    """
    with market.store.reading() as tx:
        account = account_named(tx, email)
        after, more = request.after, True
        while more:
            page = _page(
                tx,
                account.id,
                ReadStatement(
                    currency=request.currency,
                    since=request.since,
                    until=request.until,
                    after=after,
                    limit=STATEMENT_PAGE_MAX,
                ),
            )
            yield page
            after, more = page.after, page.more


def _page(tx: Connection, account_id: int, request: ReadStatement) -> StatementReply:
    if request.since is not None and request.until is not None and request.until < request.since:
        raise InvalidInput("until: must not be before since")
    wallets = {
        wallet.id: wallet
        for wallet in ledger.wallets_of(tx, account_id).values()
        if request.currency in (None, wallet.currency)
    }
    found = sorted(
        (
            line
            for wallet_id in wallets
            for line in ledger.lines(
                tx,
                wallet_id,
                after=request.after,
                limit=request.limit + 1,
                since=request.since,
                until=request.until,
            )
        ),
        key=lambda line: line.id,
    )
    more, found = len(found) > request.limit, found[: request.limit]
    return StatementReply(
        code=0,
        lines=list(_told(tx, wallets, found)),
        wallets=[
            StatementWallet(
                currency=wallet.currency, balance=money.to_text(wallet.balance), hash=wallet.head.hex()
            )
            for wallet in sorted(wallets.values(), key=lambda wallet: wallet.currency)
        ],
        after=found[-1].id if found else request.after,
        more=more,
    )


def _told(tx: Connection, wallets: dict[int, LedgerAccount], found: list[Line]) -> Iterator[StatementLine]:
    previous: dict[int, Line] = {}
    for line in found:
        wallet_id = line.ledger_account_id
        before = previous.get(wallet_id) or ledger.line_before(tx, wallet_id, line.id)
        yield StatementLine(
            id=line.id,
            at=line.at,
            currency=wallets[wallet_id].currency,
            kind=line.kind,
            amount=money.to_text(line.amount),
            balance=money.to_text(line.balance),
            reference=line.reference,
            how=line.how,
            previous=before.hash.hex() if before else "",
            hash=line.hash.hex(),
            order_id=line.order_id,
        )
        previous[wallet_id] = line

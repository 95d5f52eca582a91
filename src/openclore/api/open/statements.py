"""Statements: every transfer of an account's wallets, and how it was computed."""

from typing import Annotated

import msgspec

from ..base import Part, Reply, Request
from ..currencies import Currency

STATEMENT_PAGE_MAX = 1_000
MOMENT_MAX = 2**40


class ReadStatement(Request):
    """Lines from `since` on, before `until` (Unix s), of one `currency` or of all, oldest first.

    Whoever goes on with the `after` of each reply gets every line once.
    """

    currency: Currency | None = None
    since: Annotated[int, msgspec.Meta(ge=0, le=MOMENT_MAX)] | None = None
    until: Annotated[int, msgspec.Meta(ge=0, le=MOMENT_MAX)] | None = None
    after: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=STATEMENT_PAGE_MAX)] = 200


class StatementLine(Part):
    """One transfer to or from a wallet at `at` (Unix s). Amounts are decimal texts, exact.

    `amount` is below zero where the wallet paid; `balance` is what it held afterwards. `kind` is credit (from
    outside), rental (from a renter to a host) or fees (from a renter to the market). `how` says what the
    amount of a rental or fees is computed from; the formula is in docs/money.md. `hash` is SHA-256, in hex,
    over `previous`, `currency`, `at`, `kind`, `reference`, `amount`, `balance` and `how`, with `|` between
    them; `previous` is the hash of the wallet's line before, empty for the first.
    """

    id: int
    at: int
    currency: str
    kind: str
    amount: str
    balance: str
    reference: str
    how: str
    previous: str
    hash: str
    order_id: int | None = None


class StatementWallet(Part):
    """What a wallet holds now, as posted, and the hash of its last line.

    Whoever keeps the hash sees any later change: no line before it can become another, or go, and still lead
    to it.
    """

    currency: str
    balance: str
    hash: str


class StatementReply(Reply):
    """`wallets` are as of now. What running orders cost since it was last posted, at most an hour ago unless
    the market says otherwise, is not among the lines yet. `after` is the cursor for the next page; `more`
    says whether there is one.
    """

    lines: list[StatementLine] = []
    wallets: list[StatementWallet] = []
    after: int = 0
    more: bool = False

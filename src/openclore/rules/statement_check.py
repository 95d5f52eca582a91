"""A statement computed anew from nothing but itself: amounts, balances and the chain of hashes."""

from collections.abc import Iterable

import msgspec

from ..api.open.statements import StatementLine, StatementWallet
from . import money, statements


class WrongLine(msgspec.Struct, frozen=True, kw_only=True):
    """The first line that does not follow from what it says and from those before; which member of it."""

    id: int
    currency: str
    member: str
    expected: str
    found: str

    def __str__(self) -> str:
        return (
            f"Line {self.id} ({self.currency}): {self.member} should be {self.expected}, it is {self.found}."
        )


class CheckedWallet(msgspec.Struct, kw_only=True):
    """What the lines of a wallet lead to. `whole`: from its first transfer on, not from somewhere on.

    `last_id` is of its last line. `paid` is what each order's lines of a kind come to, by reference and kind.
    """

    currency: str
    whole: bool
    lines: int
    balance: int
    hash: str
    last_id: int
    paid: dict[tuple[str, str], int]


def check_statement(lines: Iterable[StatementLine]) -> list[CheckedWallet] | WrongLine:
    """Compute each line anew, oldest first; its wallets by name, or the first line that is wrong.

    What came before the first line of a wallet is taken from that line.
    """
    wallets: dict[str, CheckedWallet] = {}
    for line in lines:
        try:
            amount, balance = money.from_text(line.amount), money.from_text(line.balance)
        except money.AmountError as problem:
            return _wrong(line, "amount and balance", "decimal numbers", str(problem))
        wallet = wallets.get(line.currency)
        if wallet is None:
            whole = not line.previous
            wallet = CheckedWallet(
                currency=line.currency,
                whole=whole,
                lines=0,
                balance=0 if whole else balance - amount,
                hash=line.previous,
                last_id=0,
                paid={},
            )
            wallets[line.currency] = wallet
        wrong = (
            _wrong_purpose(line)
            or _wrong_charge(line, amount, wallet)
            or _wrong_place(line, amount, balance, wallet)
        )
        if wrong is not None:
            return wrong
        wallet.lines, wallet.balance, wallet.hash = wallet.lines + 1, balance, line.hash
        wallet.last_id = line.id
    return sorted(wallets.values(), key=lambda wallet: wallet.currency)


def check_wallets(checked: Iterable[CheckedWallet], told: Iterable[StatementWallet]) -> WrongLine | None:
    """Whether what is told of wallets follows from the lines that lead to it.

    A wallet that went on after its last line here, as one with `until` does, can't be told from a forged one.
    """
    found = {wallet.currency: wallet for wallet in checked}
    for wallet in told:
        last = found.get(wallet.currency)
        if last is not None and last.hash == wallet.hash and money.to_text(last.balance) != wallet.balance:
            return WrongLine(
                id=last.last_id,
                currency=wallet.currency,
                member="the balance of the wallet after it",
                expected=money.to_text(last.balance),
                found=wallet.balance,
            )
    return None


def _wrong_purpose(line: StatementLine) -> WrongLine | None:
    """What is wrong with what a line says it is for."""
    if line.kind not in (statements.CREDIT, statements.RENTAL, statements.FEES):
        return _wrong(line, "kind", "credit, rental or fees", line.kind)
    if line.kind == statements.CREDIT:
        account = line.reference.removeprefix("account:")
        if account == line.reference or not account.isdecimal():
            return _wrong(line, "reference", "account: and a number", line.reference)
        if line.order_id is not None:
            return _wrong(line, "order_id", "empty", str(line.order_id))
        return _wrong(line, "how", "empty", line.how) if line.how else None
    if line.reference != f"order:{line.order_id}":
        return _wrong(line, "reference", f"order:{line.order_id}", line.reference)
    return None


def _wrong_charge(line: StatementLine, amount: int, wallet: CheckedWallet) -> WrongLine | None:
    """What is wrong with an amount that is computed from figures; otherwise it counts as paid from now on."""
    if line.kind == statements.CREDIT:
        return _wrong(line, "amount", "above zero", line.amount) if amount <= 0 else None
    basis = statements.parsed(line.how)
    if basis is None:
        return _wrong(line, "how", "the figures of a rental or of fees", line.how or "empty")
    due = statements.amount(line.kind, basis)
    received = amount >= 0 and line.kind == statements.RENTAL
    if amount != (due if received else -due):
        return _wrong(line, "amount", money.to_text(due if received else -due), line.amount)
    of = (line.reference, line.kind)
    before = wallet.paid.get(of, 0 if wallet.whole else basis.paid_before)
    if basis.paid_before != before:
        return _wrong(line, "paid_before", money.to_text(before), money.to_text(basis.paid_before))
    wallet.paid[of] = before + due
    return None


def _wrong_place(line: StatementLine, amount: int, balance: int, wallet: CheckedWallet) -> WrongLine | None:
    """What is wrong with the balance a line leads to, or its link of the chain."""
    if line.id <= wallet.last_id:
        return _wrong(line, "id", f"above {wallet.last_id}", str(line.id))
    if line.previous != wallet.hash:
        return _wrong(line, "previous", wallet.hash or "empty", line.previous or "empty")
    if balance != wallet.balance + amount:
        return _wrong(line, "balance", money.to_text(wallet.balance + amount), line.balance)
    expected = statements.line_hash(
        line.previous,
        currency=line.currency,
        at=line.at,
        kind=line.kind,
        reference=line.reference,
        amount=line.amount,
        balance=line.balance,
        how=line.how,
    ).hex()
    if line.hash != expected:
        return _wrong(line, "hash", expected, line.hash)
    return None


def _wrong(line: StatementLine, member: str, expected: str, found: str) -> WrongLine:
    return WrongLine(id=line.id, currency=line.currency, member=member, expected=expected, found=found)

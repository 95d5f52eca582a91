"""GET /wallets."""

from .base import Part, Reply


class Wallet(Part):
    """One account's balance in one currency. `balance` is what can be spent now; null for legacy wallets."""

    name: str | None = None
    deposit: str | None = None
    balance: float | None = None
    withdrawal_fee: float | None = None
    # Spellings that tolerant clients also accept.
    currency: str | None = None
    amount: float | None = None

    @property
    def wire_name(self) -> str:
        """The currency, whichever member carried it; empty if none did."""
        return self.name or self.currency or ""

    @property
    def available(self) -> float | None:
        """The balance, whichever member carried it."""
        return self.balance if self.balance is not None else self.amount


class WalletsReply(Reply):
    wallets: list[Wallet] = []

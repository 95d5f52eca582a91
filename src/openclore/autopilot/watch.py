"""Watching a wallet: one alert of the autopilot's, without a file.

What was decided is on disk before it is delivered, and leaves only when it was: a message is not lost by a
restart or a failed delivery, and is said twice only if the machine stops between a delivery and noting it.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import msgspec

from openclore.api.wallets import Wallet
from openclore.client.errors import CloreError, NotFoundError, SetupError, SignInError

from .alerts import missing_wallets, plan_alerts
from .checks import contradictions
from .file import Coin, File, Messages, Span, WalletBelow
from .memory import AlertsMemory
from .notify import EXAMPLES, Postman, targets_of
from .observation import WALLETS, Failed, Observation, Reading
from .remember import Keeper, NotKeptError, digest, state_directory
from .words import plain

IMPATIENT_SECONDS = 60.0
"""While something fails, the next try comes no later than this."""
NAME = "wallet"


class WalletReader(Protocol):
    """The part of `Clore` a watch needs."""

    def wallets(self) -> list[Wallet]: ...


def file_for(
    wallet: str, below: float, back_above: float | None, notify: tuple[str, ...], every: float = 300
) -> File:
    """What to watch, as a file would say it.

    Raises:
        SetupError: the marks make no sense, an address can't be used, or there is none.
    """
    file = File(
        notify=notify,
        every=Span(every),
        stale_after=Span(max(every, 300)),
        messages=Messages(digest=Span(0)),
        alerts={NAME: WalletBelow(wallet=Coin(wallet), below=below, back_above=back_above)},
    )
    if not notify:
        raise SetupError(f"Nobody to tell: give --notify URL or OPENCLORE_NOTIFY, such as {EXAMPLES}.")
    for path, problem in contradictions(file):
        raise SetupError(f"--{path[-1].replace('_', '-')} {problem}.")
    targets_of(notify)
    return file


def memory_path(directory: Path | None, wallet: str, below: float, base_url: str, key_digest: str) -> Path:
    """Where a watch keeps its memory: one file per wallet, threshold, address and key."""
    name = "".join(c if c.isalnum() else "-" for c in wallet)[:40]
    file = f"{name}-{digest(wallet, below, base_url, key_digest)}.sqlite"
    return (directory or state_directory() / "watch") / file


class Watch:
    """One wallet.

    Args:
        tell: hears what happens, for a log.
        date: Unix seconds.
    """

    def __init__(
        self,
        clore: WalletReader,
        file: File,
        keeper: Keeper,
        *,
        tell: Callable[[str], None],
        date: Callable[[], float] = time.time,
    ) -> None:
        self._clore = clore
        self._file = file
        self._keeper = keeper
        self._memory = keeper.memory.alerts
        self._seen = Observation()
        self._postman = Postman(tell, date=date)
        self._tell = tell
        self._date = date

    def once(self) -> bool:
        """Read, decide, write down, deliver. Whether all went well.

        Raises:
            SignInError: the key is not accepted; said to the targets if it was before.
            NotFoundError: the account has no such wallet, and never had as far as this watch knows.
        """
        refused = self._look()
        ever_read = bool(self._memory.seen)
        if refused and not ever_read:
            raise refused
        planned = plan_alerts(self._file, self._seen, self._memory, (), int(self._date()))
        if not ever_read and (missing := missing_wallets(self._file, self._seen, int(self._date()))):
            raise NotFoundError(f"There is {'; '.join(missing.values())}.")
        self._keep(planned)
        self._postman.deliver(self._file, self._memory, self._keep)
        if refused:
            raise refused
        return not (self._memory.outbox or self._memory.gathering or self._memory.blind)

    def run(self, sleep: Callable[[float], None] = time.sleep) -> None:
        """Watch until something raises; a failed round is followed by an earlier one."""
        while True:
            well = self.once()
            sleep(self._file.every if well else min(self._file.every, IMPATIENT_SECONDS))

    def _look(self) -> SignInError | None:
        """Read the wallets; what went wrong if trying again won't help."""
        at = int(self._date())
        try:
            found = {wallet.wire_name: wallet.available for wallet in self._clore.wallets()}
        except CloreError as error:
            refused = error if isinstance(error, SignInError) else None
            failed = {WALLETS: Failed(str(error), final=refused is not None)}
            self._seen = msgspec.structs.replace(self._seen, failed=failed)
            self._tell(f"Can't read the wallets: {error}")
            return refused
        balances = {name: balance for name, balance in found.items() if balance is not None}
        self._seen = Observation(wallets=Reading(balances, at))
        for alert in self._file.alerts.values():
            if isinstance(alert, WalletBelow) and alert.wallet in balances:
                self._tell(f"{alert.wallet}: {plain(balances[alert.wallet])}")
        return None

    def _keep(self, alerts: AlertsMemory) -> None:
        if alerts == self._memory:
            return
        self._memory = alerts
        try:
            self._keeper.keep(msgspec.structs.replace(self._keeper.memory, alerts=alerts))
        except NotKeptError as problem:
            self._tell(f"{self._keeper.path} can't be written ({problem.__cause__}); a restart would forget.")

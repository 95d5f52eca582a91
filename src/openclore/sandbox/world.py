"""A market with everybody on it, whose time passes as fast as it is told to.

`turn_to` lives through every second at which something is due: a wallet of the market, an outage, a step of
a deployment, a rival's whim, a mark of the exchange rates. Between two of them nothing can happen, so nothing
is missed by jumping there; heartbeats are written down on arrival.
"""

from collections.abc import Callable, Sequence
from functools import partial
from random import Random

from sqlalchemy import bindparam, func, select

from ..api.currencies import Currency
from ..rules import money
from ..rules.refused import InvalidInput, Refused
from ..rules.servers import DAY_SECONDS
from ..store.events import Kind
from ..store.tables import deliveries, events, ledger_accounts
from ..usecases import rates, settlement
from ..usecases.market import Market
from .agenda import Agenda, Happening, liveliness
from .changes import Changes
from .founding import Founded
from .hosts import Hosts
from .machines import Machine
from .pricing import reprice
from .replay import Replay, Script
from .rivals import Rivals

RATES_EVERY_SECONDS = 14_400
VOLATILITY = {Currency.BITCOIN: 0.007, Currency.CLORE: 0.02}
"""By how much a rate wanders in that time: the standard deviation, as a share."""
SECONDS_BETWEEN_REPRICINGS = 1_500_000
"""Divided by the number of machines: how often a host changes its prices."""


class World:
    """Everything happens at `now` (Unix s). With a `script` nothing happens by whim."""

    def __init__(
        self,
        market: Market,
        founded: Founded,
        machines: Sequence[Machine],
        usd: dict[Currency, float],
        seed: int,
        now: int,
        script: Script | None = None,
    ) -> None:
        self.market = market
        self.now = now
        self.agenda = Agenda()
        self.hosts = Hosts(market, self.agenda, machines, seed, now, outages=script is None)
        self._repriced = [machine.id for machine in machines if machine.owner != founded.host]
        self._usd = dict(usd)
        self._dice = Random(f"{seed}/world")
        self._cursor = 0
        self._news = Changes(market.store)
        self._dates = Changes(market.store)
        self._wallet_due_at: int | None = None
        self._message_at: int | None = None
        self.rivals: Rivals
        if script is None:
            self.rivals = Rivals(market, self.agenda, self.hosts.vouch, founded.rivals, machines, usd, seed)
        else:
            self.rivals = Replay(market, self.agenda, self.hosts, founded, script, seed)
        self.rivals.open(now)
        self.each(DAY_SECONDS, self.hosts.credit)
        if script is None:
            self._expect_rates(now)
            self._expect_repricing(now)
        self.follow()

    def turn_to(self, until: int, stop: Callable[[], bool] = lambda: False) -> bool:
        """Live through all that happens until then; False if `stop` said to, after one of the moments."""
        while (at := self._next_at()) is not None and at <= until:
            self._live(at)
            if stop():
                return False
        self.now = max(self.now, until)
        self.hosts.vouch(self.now)
        return True

    def each(self, seconds: int, happening: Happening) -> None:
        """Let something happen at every multiple of so many seconds."""

        def happen(now: int) -> None:
            self.each(seconds, happening)
            happening(now)

        self._at_next(seconds, happen)

    def follow(self) -> None:
        """Let those concerned learn of what happened on the market since the last time."""
        while self._news.any():
            with self.market.store.reading() as tx:
                happened = tx.execute(_EVENTS, {"cursor": self._cursor}).all()
            if not happened:
                return
            self._cursor = happened[-1].id
            for event in happened:
                if event.kind == Kind.RATES_SET:
                    self._at_next(rates.PEG_SECONDS, partial(rates.repeg, self.market))
                elif event.kind == Kind.SERVER_REMOVED:
                    self.hosts.forget(event.server_id)
                    self.rivals.forget(event.server_id)
                elif event.account_id not in self.rivals:
                    self.hosts.look(event.server_id, self.now)
                elif event.kind == Kind.ORDER_ENDED:
                    self.rivals.heard_end(event.account_id, event.order_id)
                elif event.kind == Kind.ORDER_OUTBID:
                    self.rivals.heard_outbid(event.order_id, self.now)

    def _next_at(self) -> int | None:
        """The next moment at which anything happens."""
        self._look_up_dates()
        dates = (self._wallet_due_at, self._message_at, self.agenda.next_at)
        times = [at for at in dates if at is not None]
        return max(self.now, min(times)) if times else None

    def _look_up_dates(self) -> None:
        """When a wallet of the market is due, and its next message."""
        is_past = self._message_at is not None and self._message_at <= self.now
        if self._dates.any() or is_past:
            with self.market.store.reading() as tx:
                self._wallet_due_at = tx.execute(_NEXT_DUE).scalar()
                self._message_at = tx.execute(_NEXT_MESSAGE, {"now": self.now}).scalar()

    def _live(self, at: int) -> None:
        self.now = at
        for happening in self.agenda.due(at):
            happening(at)
        self._look_up_dates()
        if self._wallet_due_at is not None and self._wallet_due_at <= at:
            self.hosts.vouch(at)
            settlement.settle_due(self.market, at)
        self.follow()

    def _at_next(self, seconds: int, happening: Happening) -> None:
        self.agenda.put((self.now // seconds + 1) * seconds, happening)

    def _expect_rates(self, now: int) -> None:
        seconds = RATES_EVERY_SECONDS * self._dice.uniform(0.8, 1.2)
        self.agenda.put(now + seconds, self._rates_wander)

    def _rates_wander(self, now: int) -> None:
        self._expect_rates(now)
        self.hosts.vouch(now)
        for currency, volatility in VOLATILITY.items():
            self._usd[currency] *= self._dice.lognormvariate(0, volatility)
            rates.set_rate(self.market, currency, money.from_wire(round(self._usd[currency], 8)), now)

    def _expect_repricing(self, now: int) -> None:
        if self._repriced:
            count = len(self._repriced) * liveliness(len(self._repriced))
            seconds = self._dice.expovariate(count / SECONDS_BETWEEN_REPRICINGS)
            self.agenda.put(now + 1 + seconds, self._a_host_reprices)

    def _a_host_reprices(self, now: int) -> None:
        self._expect_repricing(now)
        factor = self._dice.uniform(0.9, 1.1)
        server_id = self._dice.choice(self._repriced)
        try:
            reprice(self.market, server_id, factor, factor, now)
        except (Refused, InvalidInput):
            return  # a recorded price that nobody could set today, or a machine that is gone


_EVENTS = (
    select(events.c.id, events.c.kind, events.c.account_id, events.c.server_id, events.c.order_id)
    .where(
        events.c.id > bindparam("cursor"),
        events.c.order_id.is_not(None) | events.c.kind.in_([Kind.RATES_SET, Kind.SERVER_REMOVED]),
    )
    .order_by(events.c.id)
)
_NEXT_DUE = select(func.min(ledger_accounts.c.due_at))
_NEXT_MESSAGE = select(func.min(deliveries.c.next_at)).where(deliveries.c.next_at > bindparam("now"))

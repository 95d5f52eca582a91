"""A rehearsal: an autopilot's file carried out on a market that follows a history, and what came of it.

The plans, the client, the billing are the real ones; only the notifiers are not called, machines pass every
check, and a fleet that scales has its largest size.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from ..api.offers import Offer
from ..api.orders import Order as OrderRow
from ..api.specs import Specs
from ..autopilot.actions import Change, Outcome, SetSettings, without_figures
from ..autopilot.file import Check, File, Fleet, PriceAbove, PriceBelow, Scale, Span
from ..autopilot.history import History
from ..autopilot.memory import AlertsMemory, Memory, Message
from ..autopilot.observation import Failed, Probe
from ..autopilot.reading import Given
from ..autopilot.remember import Known
from ..autopilot.runner import Runner
from ..autopilot.servers import named
from ..rules.orders import Order
from .book import HOUR_SECONDS, Book
from .founding import RENTER_MONEY
from .replay import Script, script_of
from .sandbox import Sandbox

DEFAULT_HISTORY = Path(__file__).with_name("made-up.history")
"""`tools/default_history.py` makes it."""
ROUND_SECONDS_MIN = 600
"""Rounds are no closer than this, nor than observations, unless told: nothing moves between two of those."""
MESSAGES_MAX = 200


class ServerReport(msgspec.Struct, frozen=True, kw_only=True):
    """One of our servers. Dollars; prices per day on demand; `occupancy` is the share of time it was rented.

    `recorded_*` is what comes of it at the prices it had in the history. `price_changes` are those by the
    file, `price_first` is the price before the first of them. Prices in coins move with the rates besides.
    """

    gpu: str
    usd: float
    recorded_usd: float
    occupancy: float
    recorded_occupancy: float
    price_changes: int
    price_first: float | None
    price_last: float | None


class HostReport(msgspec.Struct, frozen=True, kw_only=True):
    """All of our servers together; `earned` by currency, after the market's fee."""

    earned: dict[str, float]
    usd: float
    recorded_usd: float
    occupancy: float
    recorded_occupancy: float
    price_changes: int
    servers: dict[str, ServerReport]


class FleetReport(msgspec.Struct, frozen=True, kw_only=True):
    """A fleet. `cost` by currency, with fees; `machine_hours` were paid for, `wanted_hours` wanted.

    `share` is the machine time there was of what was wanted, None if none was. `ended`: why orders ended, and
    how many did.
    """

    cost: dict[str, float]
    usd: float
    usd_per_machine_hour: float | None
    orders: int
    machine_hours: float
    wanted_hours: float
    share: float | None
    ended: dict[str, int]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a rehearsal came to.

    Attributes:
        history: how the history came to be.
        servers, left_out: how many machines of the history were on the market, and how many were not.
        every_seconds: between two rounds.
        host, fleets: what our servers earned, and what each fleet cost.
        alerts: kind to how many were said; `messages` are the first of them.
        notes: what the file could not do or mean, and in how many rounds that was so.
        not_done: why actions were not carried out, and how many.
        times, curves: figures at each round by name: dollars so far, shares, prices, machines.
    """

    history: str
    start: int
    until: int
    observations: int
    servers: int
    left_out: int
    every_seconds: int
    rounds: int
    host: HostReport | None
    fleets: dict[str, FleetReport]
    alerts: dict[str, int]
    messages: list[Message]
    notes: dict[str, int]
    not_done: dict[str, int]
    times: list[int]
    curves: dict[str, list[float | None]]


def backtest(
    file: File, history: History, *, names: Mapping[str, int] | None = None, every: int | None = None
) -> Report:
    """
    Args:
        names: further servers of the history that are to be ours, by the names they get.
        every: seconds between two rounds; by default the file's, but no less than between two observations,
            nor than ROUND_SECONDS_MIN.

    Raises:
        RecordingError: the history can't be followed.
    """
    # A renter's file is rehearsed by somebody who has no servers, which he could not rent.
    hosting = bool(names or file.pricing or file.settings or not file.fleets)
    sees = _Sees(file, history, names or {})
    script = script_of(history, names=names, own=hosting, wanted=sees)
    every = max(file.every, ROUND_SECONDS_MIN, script.spacing) if every is None else every
    file = _paced(file, every)
    notebook, postman = _Notebook(), _Postman()
    with _sandbox(script) as sandbox, sandbox.client("host") as clore:
        runner = Runner(
            clore,
            Given(file),
            notebook,
            prober=_Prober(),
            postman=postman,
            date=sandbox.clock.time,
            sleep=sandbox.sleep,
        )
        book = Book(sandbox.market, script, file)

        def round_() -> None:
            runner.once()
            book.fleet_of |= notebook.orders()

        _live(sandbox, script, every, round_, book)
    recorded = _as_recorded(history, names, sees, every, file) if script.mine else None
    return Report(
        history=(history.header.note or f"recorded at {history.header.market}") if history.header else "",
        start=script.start,
        until=script.until,
        observations=len(script.steps),
        servers=len(script.machines),
        left_out=script.left_out,
        every_seconds=every,
        rounds=len(book.times),
        host=_host_report(script, book, recorded, notebook) if recorded else None,
        fleets={name: _fleet_report(name, book) for name in file.fleets},
        alerts=dict(sorted(Counter(message.kind for message in postman.messages).items())),
        messages=postman.messages[:MESSAGES_MAX],
        notes={notebook.note_texts[key]: count for key, count in notebook.notes.most_common()},
        not_done=dict(notebook.not_done.most_common()),
        times=book.times,
        curves=book.curves | ({"earned at recorded prices": recorded.curves["earned"]} if recorded else {}),
    )


def _paced(file: File, every: int) -> File:
    """The file with rounds so far apart."""
    fleets = {
        name: msgspec.structs.replace(fleet, ready_within=Span(max(fleet.ready_within, 2 * every)))
        for name, fleet in file.fleets.items()
    }
    stale_after = Span(max(file.stale_after, every))
    return msgspec.structs.replace(file, every=Span(every), stale_after=stale_after, fleets=fleets)


def _sandbox(script: Script) -> Sandbox:
    return Sandbox(history=script, money=script.wallets or RENTER_MONEY, request_seconds=0)


def _as_recorded(
    history: History, names: Mapping[str, int] | None, sees: "_Sees", every: int, file: File
) -> Book:
    """The same without the file: our servers have the prices they had."""
    script = script_of(history, names=names, wanted=sees, as_recorded=True)
    with _sandbox(script) as sandbox:
        book = Book(sandbox.market, script, msgspec.structs.replace(file, fleets={}))
        _live(sandbox, script, every, lambda: None, book)
    return book


def _live(sandbox: Sandbox, script: Script, every: int, act: Callable[[], None], book: Book) -> None:
    for at in [*range(script.start, script.until, every), script.until]:
        sandbox.clock.turn(max(0, at - sandbox.clock.now))
        act()
        book.look(sandbox.clock.now)


class _Sees:
    """Which offers a file can tell from nothing: those like our servers, and those it asks for."""

    def __init__(self, file: File, history: History, names: Mapping[str, int]) -> None:
        patterns = [pattern for group in file.pricing.values() for pattern in group.servers]
        ids = {server_id: name for name, server_id in names.items()}
        seen: list[tuple[str, Specs | None]] = []
        for scene in history.scenes:
            ids |= {server.id: name for name, server in scene.servers.items() if server.id is not None}
            seen += [(name, server.specs) for name, server in scene.servers.items()]
            seen += [(name, scene.offers[one].specs) for one, name in ids.items() if one in scene.offers]
        self._like = {specs.gpu for name, specs in seen if specs and named(patterns, name)}
        alerts = [one for one in file.alerts.values() if isinstance(one, PriceAbove | PriceBelow)]
        self._gpus = [alert.gpu.lower() for alert in alerts]
        self._fleets = list(file.fleets.values())

    def __call__(self, offer: Offer) -> bool:
        specs = offer.specs or Specs()
        model = specs.gpu_model.lower()
        return (
            specs.gpu in self._like
            or any(gpu in model for gpu in self._gpus)
            or any(_fits(fleet, specs, model) for fleet in self._fleets)
        )


def _fits(fleet: Fleet, specs: Specs, model: str) -> bool:
    return (
        (fleet.gpu or "").lower() in model
        and fleet.gpu_count in (None, specs.gpu_count)
        and specs.gpu_count >= (fleet.gpu_count_min or 0)
        and (specs.vram_gb or 0) >= (fleet.vram_gb_min or 0)
        and (specs.ram or 0) >= (fleet.ram_gb_min or 0)
    )


def _host_report(script: Script, book: Book, recorded: Book, notebook: "_Notebook") -> HostReport:
    changes = notebook.price_changes
    gpus = {machine.id: machine.specs.gpu or "" for machine in script.machines}
    return HostReport(
        earned=book.hosted.amounts(),
        usd=book.hosted.usd(),
        recorded_usd=recorded.hosted.usd(),
        occupancy=book.occupancy(script.mine),
        recorded_occupancy=recorded.occupancy(script.mine),
        price_changes=changes.total(),
        servers={
            name: ServerReport(
                gpu=gpus[server_id],
                usd=book.hosted.usd(_on(server_id)),
                recorded_usd=recorded.hosted.usd(_on(server_id)),
                occupancy=book.occupancy([server_id]),
                recorded_occupancy=recorded.occupancy([server_id]),
                price_changes=changes[name],
                price_first=recorded.curves[f"price of {name}"][0],
                price_last=book.curves[f"price of {name}"][-1],
            )
            for server_id, name in sorted(script.mine.items(), key=lambda one: one[1])
        },
    )


def _on(server_id: int) -> Callable[[Order], bool]:
    return lambda order: order.server_id == server_id


def _fleet_report(name: str, book: Book) -> FleetReport:
    def ours(order: Order) -> bool:
        return book.fleet_of.get(order.id) == name

    orders = [order for order in book.rented.orders() if ours(order)]
    usd = book.rented.usd(ours)
    machine_hours = book.rented.active_seconds(ours) / HOUR_SECONDS
    wanted_hours = book.wanted_seconds[name] / HOUR_SECONDS
    return FleetReport(
        cost=book.rented.amounts(ours),
        usd=usd,
        usd_per_machine_hour=usd / machine_hours if machine_hours else None,
        orders=len(orders),
        machine_hours=machine_hours,
        wanted_hours=wanted_hours,
        share=min(1.0, machine_hours / wanted_hours) if wanted_hours else None,
        ended=dict(sorted(Counter(str(order.end_reason) for order in orders if order.end_reason).items())),
    )


# What stands in for the world outside ---------------------------------------------------------------


class _Notebook:
    """Keeps the memory nowhere but here, and counts."""

    def __init__(self) -> None:
        self.memory = Memory(name="backtest")
        self.price_changes: Counter[str] = Counter()
        self.not_done: Counter[str] = Counter()
        self.notes: Counter[str] = Counter()
        self.note_texts: dict[str, str] = {}

    def keep(self, memory: Memory, outcome: Outcome | None = None, known: Known | None = None) -> None:
        self.memory = memory
        for note in known.notes if known else ():
            if not note.drift:
                self._note(f"{note.for_}: {note.text}")
        if outcome is None:
            return
        action = outcome.action
        if not outcome.done:
            self.not_done[outcome.error or outcome.detail] += 1
        elif isinstance(action, SetSettings) and any(map(_is_price, action.changes)):
            self.price_changes[action.server] += 1

    def _note(self, text: str) -> None:
        """Those in which only figures differ are one, told by the first of them."""
        key = without_figures(text)
        self.note_texts.setdefault(key, text)
        self.notes[key] += 1

    def orders(self) -> dict[int, str]:
        """Order id to fleet, of those that fleets hold."""
        fleets = self.memory.fleets
        return {order_id: name for name, fleet in fleets.items() for order_id in fleet.machines}


def _is_price(change: Change) -> bool:
    return change.member == "usd_pricing" or change.member.endswith(("_on_demand", "_spot"))


class _Postman:
    """Takes every message, and sends none."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._next_id = 0

    def deliver(self, file: File, memory: AlertsMemory, keep: Callable[[AlertsMemory], None]) -> None:
        said = [*(message for parcel in memory.outbox for message in parcel.messages), *memory.gathering]
        self.messages += [message for message in said if message.id >= self._next_id]
        self._next_id = memory.next_id
        if memory.outbox:
            keep(msgspec.structs.replace(memory, outbox=()))


class _Prober:
    """Passes every machine; asks nobody for numbers."""

    def check(self, machines: Mapping[int, tuple[OrderRow, tuple[Check, ...]]]) -> Mapping[int, Probe]:
        return {order_id: Probe(passed=True) for order_id in machines}

    def numbers(self, scales: Mapping[str, Scale]) -> Mapping[str, int | Failed]:
        return {name: scale.maximum for name, scale in scales.items()}

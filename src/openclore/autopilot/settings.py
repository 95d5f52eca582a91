"""Settings of a host's servers as a file says them: what differs, and what exists written as a file."""

import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Literal, NamedTuple

import msgspec

from openclore.api.complaints import complaint
from openclore.api.currencies import PRICE_BOUNDS, Currency
from openclore.api.open.servers import SetBackgroundJob as JobRequest
from openclore.api.orders import OrderType
from openclore.api.servers import MRL_HOURS_MAX, MRL_HOURS_MIN, ServerConfig
from openclore.api.servers import BackgroundJob as ShownJob

from .actions import AnyAction, Change, Note, Part, SetBackgroundJob, SetSettings
from .file import BackgroundJob, Dollars, File, Settings
from .observation import Observation, fresh
from .servers import (
    KINDS,
    PREFIXES,
    because,
    joined,
    member_of,
    named,
    pegged_mode,
    price_in,
    pricing_of,
    together,
    unmatched,
    unread,
    usd_pricing_of,
)
from .words import plain


def plan_settings(file: File, seen: Observation, now: int) -> Part[None]:
    """What to set so that servers are as the file says, and notes of what differs and is only reported."""
    if not file.settings:
        return Part((), None)
    servers = fresh(seen.servers, now, file.stale_after)
    if servers is None:
        text = f"the servers can't be read just now{because(seen, 'servers')}; they stay as they are"
        return Part((), None, tuple(Note(for_=f"settings.{name}", text=text) for name in file.settings))
    actions: list[AnyAction] = []
    notes: list[Note] = []
    for name, table in file.settings.items():
        members = [server for server in servers if named(table.servers, server)]
        configs = {server: fresh(seen.configs.get(server), now, file.stale_after) for server in members}
        old = [server for server, config in configs.items() if config is None]
        notes += unmatched(f"settings.{name}", table.servers, tuple(servers))
        notes += unread(f"settings.{name}", seen, members, old, "they stay as they are")
        said: list[tuple[str, Note]] = []
        for server, config in configs.items():
            if config is not None:
                id_ = config.id or servers[server].id
                done, found = _server(file, name, server, config, id_, has_open=seen.has_open)
                actions += done
                said += [(server, note) for note in found]
        notes += together(said)
    return Part(tuple(actions), None, tuple(notes))


def problems_of_settings(name: str, table: Settings) -> list[tuple[str, str]]:
    """What can't be meant in [settings.`name`]: the member, and a sentence."""
    return list(_problems(table))


def claimed_twice(file: File, names: Iterable[str]) -> list[tuple[str, str]]:
    """Members that two tables name for one server: the member ("settings.b.public"), and a sentence."""
    found = []
    for server in sorted(names):
        for name, table in file.settings.items():
            if named(table.servers, server):
                found += [
                    (f"settings.{name}.{member}", f"for {server} {text}; name it in one of them")
                    for member, text in _claimed(file, name, server).items()
                ]
    return found


def as_toml(configs: Iterable[ServerConfig]) -> str:
    """The present settings as [settings.NAME] tables, one for all servers that are set alike.

    Whoever plans with them at once finds no difference. What a file can't say, such as a price that the
    market would not take, is left out, and so stays as it is.
    """
    alike: dict[str, list[str]] = {}
    for config in configs:
        if config.name:
            alike.setdefault(_body(config), []).append(config.name)
    taken: set[str] = set()
    tables = []
    for body, names in alike.items():
        table = _table_name(names[0], taken)
        taken.add(table)
        head = f"[settings.{_key(table)}]\nservers = [{', '.join(map(_text, names))}]\n"
        tables.append(head + body.replace(_TABLE, _key(table)))
    return "\n".join(tables)


# What differs ---------------------------------------------------------------------------------------


class _Difference(NamedTuple):
    """A member of the file, what it is and should be in words, and the changes that make it so."""

    member: str
    before: str
    after: str
    changes: tuple[Change, ...]

    def __str__(self) -> str:
        return f"{self.member}: {self.before} -> {self.after}"


def _server(
    file: File, name: str, server: str, config: ServerConfig, server_id: int | None, *, has_open: bool
) -> tuple[list[AnyAction], list[Note]]:
    def note(text: str, *, drift: bool = False) -> Note:
        return Note(for_=f"settings.{name}", text=text, drift=drift)

    table = file.settings[name]
    claimed = _claimed(file, name, server)
    notes = [note(f"{member} is not set from here: {text}") for member, text in claimed.items()]
    different = [d for d in _differences(table, config) if d.member not in claimed]
    job_before, job_after = _job(config.background_job), _job(table.background_job)
    job_differs = (
        table.background_job is not None and job_before != job_after and "background_job" not in claimed
    )
    if table.drift == "report":
        reported = [str(d) for d in different]
        if job_differs:
            reported.append(f"background_job: {_job_words(job_before, job_after)}")
        notes += [note(f"differs from the file, {text}", drift=True) for text in reported]
        return [], notes
    actions: list[AnyAction] = []
    different, unready = _ready(file, server, config, different)
    notes += map(note, unready)
    if different:
        text = f"differs from the file, {'; '.join(map(str, different))}; the file's is set"
        notes.append(note(text, drift=True))
        actions.append(
            SetSettings(
                for_=f"settings.{name}",
                reason="; ".join(map(str, different)),
                server=server,
                changes=joined(change for d in different for change in d.changes),
            )
        )
    if job_differs and not has_open:
        notes.append(note("this market offers no way to set the background job"))
    elif job_differs and server_id is None:
        notes.append(note("the market does not tell the id, which setting the background job needs"))
    elif job_differs and server_id is not None:
        words = _job_words(job_before, job_after)
        text = f"differs from the file, background_job: {words}; the file's is set"
        notes.append(note(text, drift=True))
        actions.append(
            SetBackgroundJob(
                for_=f"settings.{name}",
                reason=f"background_job: {words}",
                server=server,
                server_id=server_id,
                job=table.background_job or None,
            )
        )
    return actions, notes


def _claimed(file: File, name: str, server: str) -> dict[str, str]:
    """Members of the table that something else says for this server, and in words who does."""
    table = file.settings[name]
    found: dict[str, str] = {}
    for other_name, other in file.settings.items():
        if other_name == name:
            break
        if named(other.servers, server):
            both = [member for member in _members(table) if member in _members(other)]
            found |= dict.fromkeys(both, f"[settings.{other_name}] says it, too")
    for kind in KINDS:
        groups = pricing_of(file, server, kind)
        if groups:
            mine = [m for m in _members(table) if m.startswith((f"{member_of(kind)}.", "dollars."))]
            found |= dict.fromkeys(mine, f"[pricing.{groups[0]}] sets the {kind} price")
    return found


def _members(table: Settings) -> list[str]:
    """The members that a table names, prices by currency."""
    alone = ("public", "mrl_hours", "currencies", "background_job")
    return [
        *(member for member in alone if getattr(table, member) is not None),
        *(
            f"{prices}.{coin}"
            for prices in ("on_demand", "spot", "dollars")
            for coin in getattr(table, prices)
        ),
    ]


def _differences(table: Settings, config: ServerConfig) -> Iterator[_Difference]:
    if table.public is not None:
        public = None if config.visibility is None else config.visibility == "public"
        if public is not table.public:
            change = Change("availability", public, table.public)
            yield _Difference("public", _said(public), _said(table.public), (change,))
    if table.mrl_hours is not None and table.mrl_hours != config.mrl:
        change = Change("mrl", config.mrl, table.mrl_hours)
        yield _Difference("mrl_hours", _said(config.mrl), str(table.mrl_hours), (change,))
    if table.currencies is not None:
        coins = config.allowed_coins
        wanted = {str(coin) for coin in table.currencies}
        changes = tuple(
            Change(f"{PREFIXES[c]}_enabled", None if coins is None else c in coins, c in wanted)
            for c in Currency
            if coins is None or (c in coins) is not (c in wanted)
        )
        if changes:
            before = "unknown" if coins is None else ", ".join(coins) or "none"
            yield _Difference("currencies", before, ", ".join(table.currencies), changes)
    for kind in KINDS:
        for name, amount in getattr(table, member_of(kind)).items():
            yield from _price_differs(table, config, kind, Currency(name), amount)
    for name, pair in table.dollars.items():
        yield from _dollars_differ(config, Currency(name), pair)


def _price_differs(
    table: Settings, config: ServerConfig, kind: OrderType, currency: Currency, amount: float
) -> Iterator[_Difference]:
    """A price set by hand is no longer kept in dollars; a lacking partner becomes the same."""
    present = price_in(config, kind, currency)
    changes = []
    pegged = pegged_mode(config, currency)
    if pegged:
        changes.append(_autoprice(config, currency, False))
    if pegged or not _same(present, amount, currency):
        changes.append(Change(f"{PREFIXES[currency]}_{member_of(kind)}", present, amount))
    other: OrderType = "spot" if kind == "on-demand" else "on-demand"
    if changes and not price_in(config, other, currency) and currency not in getattr(table, member_of(other)):
        changes.append(Change(f"{PREFIXES[currency]}_{member_of(other)}", None, amount))
    if changes:
        before = f"{_said(present)} ({pegged})" if pegged else _said(present)
        yield _Difference(f"{member_of(kind)}.{currency}", before, plain(amount), tuple(changes))


def _dollars_differ(config: ServerConfig, currency: Currency, wanted: Dollars) -> Iterator[_Difference]:
    changes = []
    if pegged_mode(config, currency) != "usd":
        changes.append(_autoprice(config, currency, "usd"))
    before = usd_pricing_of(config)
    pair = before.get(currency, {"on_demand": None, "spot": None})
    if not all(_same(pair[kind], getattr(wanted, kind), Currency.USD) for kind in ("on_demand", "spot")):
        after = {**before, str(currency): {"on_demand": wanted.on_demand, "spot": wanted.spot}}
        changes.append(Change("usd_pricing", before or None, after))
    if changes:
        was = (
            f"{_said(pair['on_demand'])}/{_said(pair['spot'])}"
            if pegged_mode(config, currency)
            else "by hand"
        )
        now = f"{plain(wanted.on_demand)}/{plain(wanted.spot)}"
        yield _Difference(f"dollars.{currency}", was, now, tuple(changes))


def _autoprice(config: ServerConfig, currency: Currency, mode: str | bool) -> Change:
    before = dict(config.autoprice) if isinstance(config.autoprice, dict) else {}
    return Change("autoprice", before or None, {**before, str(currency): mode})


def _ready(
    file: File, server: str, config: ServerConfig, different: list[_Difference]
) -> tuple[list[_Difference], list[str]]:
    """The differences that the market will take: a currency is accepted only with both of its prices."""
    members = {change.member for d in different for change in d.changes}
    coming = {c for d in different for c in Currency if d.member == f"dollars.{c}"}
    kept, notes = [], []
    for difference in different:
        lacking = [
            f"{currency} has no {kind} price"
            for currency in Currency
            if Change(f"{PREFIXES[currency]}_enabled", False, True) in difference.changes
            and not pegged_mode(config, currency)
            and currency not in coming
            for kind in KINDS
            if not price_in(config, kind, currency)
            and f"{PREFIXES[currency]}_{member_of(kind)}" not in members
            and not any(pricing_of(file, server, k) for k in KINDS)
        ]
        if lacking:
            notes.append(f"{difference.member} stays: {', '.join(lacking)}; name it under on_demand and spot")
        else:
            kept.append(difference)
    return kept, notes


def _same(present: float | None, wanted: float, currency: Currency) -> bool:
    """Whether the market, which rounds to the decimals of the currency, would keep them as one price."""
    return present is not None and abs(present - wanted) < 0.5 * 10.0 ** -PRICE_BOUNDS[currency].decimals


def _said(value: object) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return str(value).lower()
    return plain(value) if isinstance(value, float) else str(value)


# Background jobs ------------------------------------------------------------------------------------


def _job(job: ShownJob | BackgroundJob | Literal[False] | None) -> BackgroundJob | None:
    """As the market or the file says it; None: nothing runs."""
    if not isinstance(job, ShownJob):
        return job or None
    return BackgroundJob(image=job.image, command=job.command or "", env=job.env or {}) if job.image else None


def _job_words(before: BackgroundJob | None, after: BackgroundJob | None) -> str:
    """Images only: commands and environments may hold secrets."""
    if before and after and before.image == after.image:
        return f"another {'command' if before.command != after.command else 'environment'} for {after.image}"
    return f"{before.image if before else 'none'} -> {after.image if after else 'none'}"


# What can't be meant --------------------------------------------------------------------------------


def _problems(table: Settings) -> Iterator[tuple[str, str]]:
    if not table.servers:
        yield "servers", 'name at least one pattern, such as "rig-*"'
    if table.mrl_hours is not None and not MRL_HOURS_MIN <= table.mrl_hours <= MRL_HOURS_MAX:
        yield "mrl_hours", f"must be {MRL_HOURS_MIN} to {MRL_HOURS_MAX} hours"
    if table.currencies is not None:
        if not table.currencies:
            yield "currencies", "names none; to take a server off the market, write public = false"
        yield from (("currencies", _no_currency(coin)) for coin in table.currencies if not _known(coin))
    for member in ("on_demand", "spot"):
        for name, amount in getattr(table, member).items():
            yield from _price_problems(member, name, amount, name)
            if name in table.dollars:
                yield member, f"{name} is priced in dollars, too; name it under {member} or dollars"
    for name, pair in table.dollars.items():
        for amount in (pair.on_demand, pair.spot):
            yield from _price_problems("dollars", name, amount, Currency.USD)
    if isinstance(table.background_job, BackgroundJob):
        yield from _job_problems(table.background_job)


def _job_problems(job: BackgroundJob) -> Iterator[tuple[str, str]]:
    """What the market would refuse."""
    if not job.image:
        yield "background_job", "needs an image; for none, write background_job = false"
        return
    members = {"image": job.image, "command": job.command or None, "env": job.env or None}
    try:
        msgspec.convert(members, JobRequest)
    except msgspec.ValidationError as error:
        yield "background_job", str(complaint(error))


def _price_problems(member: str, name: str, amount: float, bounded_as: str) -> Iterator[tuple[str, str]]:
    if not _known(name):
        yield member, _no_currency(name)
    elif not _allowed(amount, Currency(bounded_as)):
        lowest, highest, _ = PRICE_BOUNDS[Currency(bounded_as)]
        yield member, f"{name}: {plain(amount)} is outside {lowest} to {highest} per day"


def _known(name: str) -> bool:
    return name in list(Currency)


def _no_currency(name: str) -> str:
    return f"{name} is no currency of the market; there are {', '.join(Currency)}"


def _allowed(amount: float, currency: Currency) -> bool:
    lowest, highest, _ = PRICE_BOUNDS[currency]
    return float(lowest) <= amount <= float(highest)


# Written as TOML ------------------------------------------------------------------------------------

_TABLE = "\x00"
"""Stands for the table's name until that is chosen; no text in TOML may hold it."""
_BARE = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


def _body(config: ServerConfig) -> str:
    lines = []
    if config.visibility is not None:
        lines.append(f"public = {'true' if config.visibility == 'public' else 'false'}")
    if config.mrl is not None and MRL_HOURS_MIN <= config.mrl <= MRL_HOURS_MAX:
        lines.append(f"mrl_hours = {config.mrl}")
    coins = [currency for currency in Currency if currency in (config.allowed_coins or ())]
    if coins:
        lines.append(f"currencies = [{', '.join(map(_text, coins))}]")
    for kind in KINDS:
        prices = {
            str(currency): _number(amount)
            for currency in Currency
            if not pegged_mode(config, currency)
            and (amount := price_in(config, kind, currency)) is not None
            and _allowed(amount, currency)
        }
        if prices:
            lines.append(f"{member_of(kind)} = {_inline(prices)}")
    dollars = {
        name: _inline({kind: _number(amount) for kind, amount in pair.items() if amount is not None})
        for name, pair in usd_pricing_of(config).items()
        if _known(name)
        and pegged_mode(config, Currency(name)) == "usd"
        and all(amount is not None and _allowed(amount, Currency.USD) for amount in pair.values())
    }
    if dollars:
        lines.append(f"dollars = {_inline(dollars)}")
    job = _job(config.background_job)
    if job is not None and not any(_job_problems(job)):
        lines += ["", f"[settings.{_TABLE}.background_job]", f"image = {_text(job.image)}"]
        lines += [f"command = {_text(job.command)}"] if job.command else []
        lines += (
            [f"env = {_inline({key: _text(value) for key, value in job.env.items()})}"] if job.env else []
        )
    return "".join(f"{line}\n" for line in lines)


def _table_name(server: str, taken: set[str]) -> str:
    """The first server's name, as far as a table may have it and no other table has."""
    stem = server.lstrip("_- ")[:60] or "server"
    return next(
        name for n in range(1, len(taken) + 2) if (name := stem if n == 1 else f"{stem}-{n}") not in taken
    )


def _inline(members: dict[str, str]) -> str:
    return "{ " + ", ".join(f"{_key(name)} = {value}" for name, value in members.items()) + " }"


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _quoted(name)


def _text(text: str) -> str:
    """Files take "${NAME}" from the environment; a doubled dollar is one."""
    return _quoted(text.replace("${", "$${"))


def _quoted(text: str) -> str:
    """TOML writes strings as JSON does, but for one character."""
    return msgspec.json.encode(text).decode().replace("\x7f", "\\u007f")


def _number(amount: float) -> str:
    """Without an exponent: 0.00003."""
    return f"{Decimal(repr(float(amount))).normalize():f}"

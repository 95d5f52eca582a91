"""Servers as rows, and how long each was heard of."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, Integer, Result, bindparam, func, select, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from ..api.specs import Specs
from ..rules.servers import (
    DAY_SECONDS,
    BackgroundJob,
    GigaspotTerms,
    Server,
    Settings,
    first_reliability_day,
)
from .orders import ACTIVE
from .rows import among, as_structs
from .tables import orders, servers, uptimes


class Presence(NamedTuple):
    """Whose machine it is, whether it counts as there, and until when it was heard of."""

    id: int
    account_id: int
    online: bool
    seen_until: int


def add(tx: Connection, account_id: int, name: str, init_token: str, now: int) -> Server:
    new = Server(id=0, account_id=account_id, name=name, created_at=now, init_token=init_token)
    values = _values(new)
    del values["id"]
    server_id = tx.execute(servers.insert().values(**values).returning(servers.c.id)).scalar_one()
    return msgspec.structs.replace(new, id=server_id)


def put(tx: Connection, found: Sequence[Server]) -> None:
    """Keep servers with the ids they bring."""
    tx.execute(servers.insert(), [_values(server) for server in found])


def save_settings(tx: Connection, server_id: int, settings: Settings) -> None:
    _update(tx, server_id, settings=msgspec.json.encode(settings).decode())


def save_facts(tx: Connection, server: Server) -> None:
    """Keep what the agent says of the machine, and that it has connected."""
    names = ("init_token", "connected_at", "public_address", "port_low", "port_high", "specs", "gpu_array")
    values = _values(server)
    _update(tx, server.id, cuda_version=server.cuda_version, **{name: values[name] for name in names})


def next_link(tx: Connection, server_id: int) -> int:
    """The number of a new connection of its agent."""
    counted = update(servers).where(servers.c.id == server_id).values(link=servers.c.link + 1)
    return int(tx.execute(counted.returning(servers.c.link)).scalar_one())


def save_gigaspot(tx: Connection, server_id: int, terms: GigaspotTerms | None) -> None:
    _update(tx, server_id, gigaspot=msgspec.json.encode(terms).decode() if terms else None)


def save_background_job(tx: Connection, server_id: int, job: BackgroundJob | None) -> None:
    encoded = msgspec.json.encode(job).decode() if job else None
    updates = servers.c.background_updates + 1
    _update(tx, server_id, background_job=encoded, background_updates=updates)


def on_gigaspot(tx: Connection) -> list[Server]:
    return _servers(tx.execute(select(*_COLUMNS).where(servers.c.gigaspot.is_not(None))))


def set_presence(tx: Connection, server_id: int, *, online: bool, seen_until: int) -> None:
    _update(tx, server_id, online=online, seen_until=seen_until)


def assignments_changed(tx: Connection, server_id: int, last_port: int | None = None) -> None:
    """What should run on the machine is another list now; `last_port` is the public port given away last."""
    tx.execute(_NEXT_GENERATION, {"of": server_id, "port": last_port})


def set_last_port(tx: Connection, server_id: int, port: int) -> None:
    tx.execute(_SET_LAST_PORT, {"of": server_id, "port": port})


def remove(tx: Connection, server: Server, now: int) -> None:
    """Keep a server for its orders only: its name is free again, its agent a stranger."""
    _update(
        tx,
        server.id,
        removed_at=now,
        # No name that a host may choose has parentheses.
        name=f"{server.name} (removed {server.id})",
        init_token=None,
        credential_hash=None,
        online=False,
        gigaspot=None,
        background_job=None,
    )


def by_id(tx: Connection, server_id: int) -> Server | None:
    """A server that is not removed."""
    return _one(tx.execute(_BY_ID, {"of": server_id}))


def by_ids(tx: Connection, server_ids: Sequence[int]) -> list[Server]:
    """These servers, removed ones too."""
    return _servers(tx.execute(_BY_IDS, {"servers": server_ids}))


def presences(tx: Connection, server_ids: Sequence[int]) -> list[Presence]:
    """Of those of these servers that are not removed."""
    return [Presence(*row) for row in tx.execute(_PRESENCES, {"servers": server_ids})]


def by_name(tx: Connection, account_id: int, name: str) -> Server | None:
    query = select(*_COLUMNS).where(servers.c.account_id == account_id, servers.c.name == name)
    return _one(tx.execute(query))


def by_init_token(tx: Connection, init_token: str) -> Server | None:
    return _one(tx.execute(select(*_COLUMNS).where(servers.c.init_token == init_token)))


def by_credential_hash(tx: Connection, credential_hash: str) -> Server | None:
    return _one(tx.execute(select(*_COLUMNS).where(servers.c.credential_hash == credential_hash)))


def set_credential_hash(tx: Connection, server_id: int, credential_hash: str) -> None:
    tx.execute(update(servers).where(servers.c.id == server_id).values(credential_hash=credential_hash))


def of_host(tx: Connection, account_id: int) -> list[Server]:
    """An account's servers that are not removed, oldest first."""
    query = select(*_COLUMNS).where(servers.c.account_id == account_id, _THERE).order_by(servers.c.id)
    return _servers(tx.execute(query))


def every(tx: Connection) -> list[Server]:
    """All servers that are not removed, oldest first."""
    return _servers(tx.execute(select(*_COLUMNS).where(_THERE).order_by(servers.c.id)))


def silent(tx: Connection, since: int, until: int) -> list[int]:
    """Ids of the servers that count as online but were not heard of between these times."""
    heard_then = servers.c.seen_until.between(since, until)
    return list(tx.execute(select(servers.c.id).where(servers.c.online, ~heard_then)).scalars())


def lost(tx: Connection, since: int) -> list[int]:
    """Ids of the offline servers that hold an order and were last heard of before `since`."""
    held = select(orders.c.server_id).where(ACTIVE)
    query = select(servers.c.id).where(
        servers.c.online.is_(False), servers.c.seen_until < since, servers.c.id.in_(held)
    )
    return list(tx.execute(query).scalars())


def heard(tx: Connection, seen: dict[int, tuple[int, int]]) -> None:
    """Move the evidence of many servers forward: server id to the (since, until) it was heard of.

    The time is credited to the days it lies in, once: what is written down already does not count again.
    """
    rows = tx.execute(select(servers.c.id, servers.c.seen_until).where(servers.c.id.in_(seen)))
    known = {row.id: row.seen_until for row in rows}
    tx.execute(
        update(servers)
        .where(servers.c.id == bindparam("server"), servers.c.seen_until < bindparam("until"))
        .values(seen_until=bindparam("until")),
        [{"server": server_id, "until": until} for server_id, (_, until) in seen.items()],
    )
    stretches = [
        {"server_id": server_id, "day": day, "seconds": seconds}
        for server_id, (since, until) in seen.items()
        for day, seconds in _by_day(max(since, known.get(server_id, since)), until)
    ]
    if stretches:
        insert = sqlite_insert if tx.dialect.name == "sqlite" else postgresql_insert
        row = insert(uptimes)
        more = {"seconds": uptimes.c.seconds + row.excluded.seconds}
        tx.execute(row.on_conflict_do_update(index_elements=["server_id", "day"], set_=more), stretches)


def _by_day(since: int, until: int) -> Iterator[tuple[int, int]]:
    """Each day that a stretch of time touches, with the seconds of it."""
    while since < until:
        day = since // DAY_SECONDS
        end = min(until, (day + 1) * DAY_SECONDS)
        yield day, end - since
        since = end


def uptime_seconds(tx: Connection, server_ids: Sequence[int] | None, now: int) -> dict[int, int]:
    """How long each of these servers (or of all) was heard of in the days that count for its reliability."""
    query = _UPTIMES if server_ids is None else _UPTIMES_OF
    rows = tx.execute(query, {"first": first_reliability_day(now), "servers": server_ids})
    return {server_id: int(seconds) for server_id, seconds in rows}


def _update(tx: Connection, server_id: int, **values: object) -> None:
    tx.execute(update(servers).where(servers.c.id == server_id).values(**values))


def _values(server: Server) -> dict[str, object]:
    values = msgspec.structs.asdict(server)
    values["settings"] = msgspec.json.encode(server.settings).decode()
    values["specs"] = msgspec.json.encode(server.specs).decode() if server.specs else None
    values["gpu_array"] = msgspec.json.encode(server.gpu_array).decode()
    values["gigaspot"] = msgspec.json.encode(server.gigaspot).decode() if server.gigaspot else None
    job = server.background_job
    values["background_job"] = msgspec.json.encode(job).decode() if job else None
    return values


def _one(found: Result[*tuple[Any, ...]]) -> Server | None:
    return next(iter(_servers(found)), None)


def _servers(found: Result[*tuple[Any, ...]]) -> list[Server]:
    return as_structs(found, Server, **_DECODE)


def _decoding(kind: Any) -> Callable[[str | None], object]:
    decode = msgspec.json.Decoder(kind).decode
    return lambda text: decode(text) if text is not None else None


_DECODE = {
    "settings": _decoding(Settings),
    "specs": _decoding(Specs),
    "gpu_array": _decoding(list[str]),
    "gigaspot": _decoding(GigaspotTerms),
    "background_job": _decoding(BackgroundJob),
}


_COLUMNS = tuple(column for column in servers.c if column.name != "credential_hash")
_THERE = servers.c.removed_at.is_(None)

# What every change of an order asks. They are built once: building takes longer than running.
_BY_ID = select(*_COLUMNS).where(servers.c.id == bindparam("of"), _THERE)
_BY_IDS = select(*_COLUMNS).where(among(servers.c.id, "servers"))
_UPTIMES = (
    select(uptimes.c.server_id, func.sum(uptimes.c.seconds))
    .where(uptimes.c.day >= bindparam("first"))
    .group_by(uptimes.c.server_id)
)
_UPTIMES_OF = _UPTIMES.where(among(uptimes.c.server_id, "servers"))
_PRESENCES = select(*(servers.c[name] for name in Presence._fields)).where(
    among(servers.c.id, "servers"), _THERE
)
_SET_LAST_PORT = update(servers).where(servers.c.id == bindparam("of")).values(last_port=bindparam("port"))
_NEXT_GENERATION = (
    update(servers)
    .where(servers.c.id == bindparam("of"))
    .values(
        generation=servers.c.generation + 1,
        last_port=func.coalesce(bindparam("port", type_=Integer), servers.c.last_port),
    )
)

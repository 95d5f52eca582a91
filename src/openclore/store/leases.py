"""Leases: of several processes, which one does what must be done once."""

import time

from sqlalchemy import Connection, select, text, update

from .tables import leases


def held_by_another(tx: Connection, name: str, holder: str) -> bool:
    """Whether somebody else has this lease now."""
    row = tx.execute(select(leases).where(leases.c.name == name)).one_or_none()
    return row is not None and row.holder != holder and row.until > _now(tx)


def any_is_held(tx: Connection) -> bool:
    """Whether anybody has a lease now."""
    return tx.execute(select(leases.c.name).where(leases.c.until > _now(tx)).limit(1)).first() is not None


def take(tx: Connection, name: str, holder: str, seconds: float) -> int | None:
    """Take a lease, or go on holding it: its token, which rises with every new holder.

    None while another has it.
    """
    row = tx.execute(select(leases).where(leases.c.name == name)).one_or_none()
    until = _now(tx) + seconds
    if row is None:
        tx.execute(leases.insert().values(name=name, holder=holder, token=1, until=until))
        return 1
    if row.holder != holder and row.until > _now(tx):
        return None
    token: int = row.token if row.holder == holder else row.token + 1
    tx.execute(update(leases).where(leases.c.name == name).values(holder=holder, token=token, until=until))
    return token


def is_current(tx: Connection, name: str, token: int) -> bool:
    """Whether nobody has taken the lease since it was given with this token."""
    return tx.execute(select(leases.c.token).where(leases.c.name == name)).scalar() == token


def prolong(tx: Connection, name: str, token: int, seconds: float) -> bool:
    """Hold a lease for longer; False if somebody has taken it."""
    held = (leases.c.name == name) & (leases.c.token == token)
    return tx.execute(update(leases).where(held).values(until=_now(tx) + seconds)).rowcount == 1


def release(tx: Connection, name: str, token: int) -> None:
    """Let whoever comes next have it at once."""
    prolong(tx, name, token, 0.0)


def _now(tx: Connection) -> float:
    """Unix seconds by the one clock that all processes share: the database's."""
    if tx.dialect.name == "sqlite":
        return time.time()
    return float(tx.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())

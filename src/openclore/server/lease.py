"""The one process of several that acts for the whole market, and how it is kept from acting too late."""

import os
import secrets
import socket
import time

import structlog
from sqlalchemy import Connection

from ..store import leases
from ..usecases.market import Market

LEASE_SECONDS = 5.0
"""How long a process that died is waited for."""

log = structlog.get_logger()


class LeaseLost(Exception):
    """Another process acts for the market by now; nothing was done."""


class Lease:
    """A lease in the database, with fencing: every writing transaction on the market it hands out checks, in
    that transaction, that nobody has taken over. So a process that was paused can't write when it wakes.
    """

    def __init__(self, market: Market, name: str) -> None:
        self._market = market
        self._name = name
        self._holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._token: int | None = None
        self._prolonged_at = 0.0

    def hold(self) -> Market | None:
        """The market to act on; None while another process does. A market of one process needs no lease."""
        store = self._market.store
        if not store.shared:
            return self._market
        if self._token is None or self._is_ageing():
            self._take()
        return None if self._token is None else Market(store.guarded(self._check), self._market.policy)

    def release(self) -> None:
        """Let another process act at once."""
        if self._token is not None:
            with self._market.store.writing() as tx:
                leases.release(tx, self._name, self._token)
            self._token = None

    def _take(self) -> None:
        before, store = self._token, self._market.store
        with store.reading() as tx:
            taken = leases.held_by_another(tx, self._name, self._holder)
        self._token = None
        if not taken:
            asked_at = time.monotonic()
            with store.writing() as tx:
                self._token = leases.take(tx, self._name, self._holder, LEASE_SECONDS)
            self._prolonged_at = asked_at
        if self._token is not None and self._token != before:
            log.info("this process acts for the market", lease=self._name, token=self._token)
        elif self._token is None and before is not None:
            log.warning("another process acts for the market", lease=self._name)

    def _check(self, tx: Connection) -> None:
        """What begins each transaction.

        Raises:
            LeaseLost: somebody has taken over.
        """
        token = self._token
        if token is not None and self._is_ageing():
            held = leases.prolong(tx, self._name, token, LEASE_SECONDS)
            self._prolonged_at = time.monotonic()
        else:
            held = token is not None and leases.is_current(tx, self._name, token)
        if not held:
            self._token = None
            raise LeaseLost

    def _is_ageing(self) -> bool:
        return time.monotonic() - self._prolonged_at > LEASE_SECONDS / 3

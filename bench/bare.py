"""The floor: the framework with one route, on the same HTTP server, wired as ours.

`python -m bench.bare PORT`. Imports nothing of ours, so that its start is its own.
"""

import asyncio
import signal
import sys

from granian.constants import Interfaces
from granian.server.embed import Server
from litestar import Litestar, get


@get("/readyz")
async def readyz() -> dict[str, str]:
    return {"status": "ready"}


async def serve(app: Litestar, port: int) -> None:
    """Serve until SIGTERM."""
    server = Server(
        app,
        address="127.0.0.1",
        port=port,
        interface=Interfaces.ASGINL,
        websockets=True,
        log_enabled=False,
    )
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, server.stop)
    await server.serve()


if __name__ == "__main__":
    app = Litestar([readyz], openapi_config=None, request_max_body_size=None, logging_config=None)
    asyncio.run(serve(app, int(sys.argv[1])))

"""The floor of /wallets: the same framework on the same HTTP server, answering bytes it was given.

`python -m bench.constant PORT FILE` answers /v1/wallets with what is in FILE.
"""

import asyncio
import sys
from pathlib import Path

from litestar import Litestar, Response, get

from .bare import readyz, serve


def application(reply: bytes) -> Litestar:
    @get("/v1/wallets")
    async def wallets() -> Response[bytes]:
        return Response(reply, media_type="application/json")

    return Litestar([readyz, wallets], openapi_config=None, request_max_body_size=None, logging_config=None)


if __name__ == "__main__":
    asyncio.run(serve(application(Path(sys.argv[2]).read_bytes()), int(sys.argv[1])))

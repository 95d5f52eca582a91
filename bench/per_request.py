"""The peer of the marketplace reply: typed rows that the framework encodes and compresses for every request.

`python -m bench.per_request PORT FILE` answers /v1/marketplace with the reply in FILE, held as the same
types ours has. Encoding and gzip are Litestar's own, gzip at the level of ours (its default, 9, is slower).
"""

import asyncio
import sys
from pathlib import Path

import msgspec
from litestar import Litestar, get
from litestar.config.compression import CompressionConfig

from openclore.api.offers import MarketplaceReply

from .bare import readyz, serve

GZIP_LEVEL = 5


def application(reply: MarketplaceReply) -> Litestar:
    @get("/v1/marketplace")
    async def marketplace() -> MarketplaceReply:
        return reply

    return Litestar(
        [readyz, marketplace],
        compression_config=CompressionConfig(backend="gzip", gzip_compress_level=GZIP_LEVEL),
        openapi_config=None,
        request_max_body_size=None,
        logging_config=None,
    )


if __name__ == "__main__":
    held = msgspec.json.decode(Path(sys.argv[2]).read_bytes(), type=MarketplaceReply)
    asyncio.run(serve(application(held), int(sys.argv[1])))

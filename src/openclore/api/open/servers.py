"""Adding and removing servers, and what GigaSPOT may do with them."""

from typing import Annotated

import msgspec

from ..base import Reply, Request
from ..gigaspot import Bid
from ..servers import ServerName


class AddServer(Request):
    """A new server: hidden and without prices until its settings are set."""

    name: ServerName


class AddServerReply(Reply):
    """`init_token` is for the agent's first start."""

    server_id: int
    name: str
    init_token: str


class SetGigaspot(Request):
    """Puts a server on GigaSPOT with the lowest bid, CLORE per day; `min_bid` null takes it off.

    Whichever way it moves, the bids of the market it leaves end, charged to that second. An order on demand
    goes on; until it is over, GigaSPOT bids wait. A new `min_bid` is for new bids and new prices.
    `energy_price` is the host's own figure, dollars per kWh, for bidders to see.
    """

    min_bid: Bid | None
    energy_price: Annotated[float, msgspec.Meta(ge=0, le=1_000)] | None = None

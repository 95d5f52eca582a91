"""Adding and removing servers, what GigaSPOT may do with them, and what they run while they are free."""

from typing import Annotated

import msgspec

from ..base import Reply, Request
from ..gigaspot import Bid
from ..orders import Command, Env, Image, check_env
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


class SetBackgroundJob(Request):
    """A container for the server to run while nobody rents it; an `image` of null removes it.

    It gets the GPUs, no ports, and stops when an order comes; when the machine is free again it goes on, and
    when it ends it is started again, with growing pauses. `command` is a script that runs instead of what the
    image starts, by `/bin/sh` or its own `#!` line. Names and values of `env` are as in an order's. Setting
    what is set already changes nothing; anything else replaces the job as a whole.
    """

    image: Image | None
    command: Command | None = None
    env: Env | None = None

    def __post_init__(self) -> None:
        check_env(self.env)

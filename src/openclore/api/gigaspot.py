"""GigaSPOT: GET /get_gigaspot, POST /create_gigaspot_orders, /edit_gigaspot_orders, /cancel_orders.

An auction of machines apart from the market, in CLORE per day: the highest bid runs, with the power
limits and clocks it asks for, without ports.
"""

from typing import Annotated, Any

import msgspec

from .base import Id, Part, Reply, Request
from .orders import Env, check_env

BATCH_MAX = 1_000
BID_MIN = 0.0001
BID_MAX = 5_000.0
"""CLORE per day."""

GPUS_MAX = 64
Watts = Annotated[int, msgspec.Meta(ge=1, le=10_000)]
Megahertz = Annotated[int, msgspec.Meta(ge=0, le=100_000)]
Offset = Annotated[int, msgspec.Meta(ge=-10_000, le=10_000)]
Bid = Annotated[float, msgspec.Meta(ge=BID_MIN, le=BID_MAX)]
ImageId = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{24}\Z")]


class GpuClocks(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a GPU should run at: power limit in W, locked clocks and offsets in MHz; None: the card's own."""

    pl: Watts
    core_lock: Megahertz | None = None
    mem_lock: Megahertz | None = None
    core_offset: Offset | None = None
    mem_offset: Offset | None = None


class CreateGigaspotOrder(Request):
    """One bid. `image` is a 24-digit hexadecimal id; `oc` has one entry per GPU."""

    renting_server: Id
    image: ImageId
    price: Bid
    oc: Annotated[list[GpuClocks], msgspec.Meta(min_length=1, max_length=GPUS_MAX)]
    currency: Annotated[str, msgspec.Meta(max_length=64)] = "CLORE-Blockchain"
    env: Env | None = None

    def __post_init__(self) -> None:
        check_env(self.env)


class EditGigaspotOrder(Request):
    """A bid's new price and, if given, its new clocks, which a running container keeps running through.

    A price may be lowered at any time and by any step, but not under the host's lowest bid.
    """

    order_id: Id
    price: Bid
    oc: Annotated[list[GpuClocks], msgspec.Meta(min_length=1, max_length=GPUS_MAX)] | None = None


CreateGigaspotOrders = Annotated[list[CreateGigaspotOrder], msgspec.Meta(min_length=1, max_length=BATCH_MAX)]
EditGigaspotOrders = Annotated[list[EditGigaspotOrder], msgspec.Meta(min_length=1, max_length=BATCH_MAX)]


class CancelOrders(Request):
    """Ends many orders."""

    order_ids: Annotated[list[Id], msgspec.Meta(min_length=1, max_length=BATCH_MAX)]


class GigaspotReply(Reply):
    """Where the snapshot is: its URL changes when its content does. `clore_price` is dollars per CLORE."""

    my_user_id: int | None = None
    v1_snapshot_url: str | None = None
    clore_price: float | None = None
    creation_fees: dict[str, float | None] | None = None


Reasons = dict[int, str]
"""Id to the name of the refusal, as in `create_order`, or to a sentence. OpenClore's own."""


class CreateGigaspotOrdersReply(Reply):
    """Ids of servers; on all others the bid stands. What is in `too_low_bids_servers` is in
    `failed_to_rent_servers` too.

    No order ids: the next snapshot has them, under the caller's `my_user_id`. `reasons`, by server id, are
    OpenClore's own.
    """

    status: str = "ok"
    failed_to_oc_servers: list[int] = []
    failed_to_rent_servers: list[int] = []
    too_low_bids_servers: list[int] = []
    reasons: Reasons | msgspec.UnsetType = msgspec.UNSET


class EditGigaspotOrdersReply(Reply):
    """Ids of orders. What is in `too_low_bid_ids` is in `failed_to_update_ids` too; nothing of it changed.

    `reasons`, by order id, are OpenClore's own.
    """

    success_to_update_ids: list[int] = []
    failed_to_update_ids: list[int] = []
    too_low_bid_ids: list[int] = []
    reasons: Reasons | msgspec.UnsetType = msgspec.UNSET


class CancelOrdersReply(Reply):
    """Ids of orders: not the caller's, or over already. `reasons`, by order id, are OpenClore's own."""

    failed_to_cancel: list[int] = []
    reasons: Reasons | msgspec.UnsetType = msgspec.UNSET


# The snapshot ---------------------------------------------------------------------------------------


class SnapshotBid(Part):
    """`price` per day; `active` runs; `cached` and `to_cache` tell whether the host holds the image."""

    owner: int | None = None
    id: int | None = None
    active: bool | None = None
    to_cache: bool | None = None
    cached: bool | None = None
    price: float | None = None
    currency: str | None = None
    pl: list[int] | None = None


class SnapshotGpu(Part):
    """`pl` is [least, most] W; the others are what the card allows, in MHz."""

    model: str | None = None
    pl: list[float] | None = None
    mem_lock: Any = None
    core_lock: Any = None
    mem_offset: Any = None
    core_offset: Any = None


class SnapshotServer(Part):
    """`max_rental_length` in **seconds**, `min_bid` in CLORE per day, `reliability` 0 to 1."""

    bids: list[SnapshotBid] | None = None
    on_demand_rented: bool | None = None
    online: bool | None = None
    working_properly: bool | None = None
    cpu: str | None = None
    cores: int | None = None
    threads: int | None = None
    ram: float | None = None
    host: int | None = None
    cc: str | None = None
    cuda: str | None = None
    gpus: list[SnapshotGpu] | None = None
    max_rental_length: int | None = None
    reliability: float | None = None
    min_bid: float | None = None
    energy_price: float | None = None


Snapshot = dict[str, SnapshotServer]
"""By server id, as text."""

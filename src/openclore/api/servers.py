"""GET /my_servers, GET /server_config, POST /set_server_settings."""

from typing import Annotated, Any

import msgspec

from .base import NO_NUL, Part, Reply, Request
from .offers import PricePair
from .specs import Specs

ServerName = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9 _-]+\Z")]

MRL_HOURS_MIN = 6
MRL_HOURS_MAX = 3_000


class MyServer(Part):
    """A server as its host sees it. Prices per day by currency; `init_token` until the first connection."""

    id: int | None = None
    name: str | None = None
    connected: bool | None = None
    online: bool | None = None
    visibility: str | None = None
    pricing: dict[str, float | None] | None = None
    min_spot_pricing: dict[str, float | None] | None = None
    init_token: str | None = None
    specs: Specs | None = None
    allowed_currencies: list[str] | None = None
    usd_pricing: dict[str, PricePair] | None = None
    autoprice: Any = None
    gpu_array: list[Any] | None = None
    gpu_count: int | None = None
    max_fair_price_usd: float | None = None
    oc_gpus: str | None = None
    lock_balance: float | None = None
    lock_balance_initial_update: Any = None
    working_properly: bool | None = None
    mass_price_changeable: bool | None = None
    is_vpn_enabled: bool | None = None
    monitoring: int | None = None


class MyServersReply(Reply):
    """`limit` is how many servers the account may register."""

    servers: list[MyServer] = []
    limit: int | None = None


class ServerConfigRequest(Request):
    server_name: Annotated[str, msgspec.Meta(max_length=256, pattern=NO_NUL)]


class BackgroundJob(Part):
    """A container that a server runs while nobody rents it.

    `command` is a script that runs instead of what the image starts. `times_updated` counts its changes.
    """

    image: str | None = None
    command: str | None = None
    env: dict[str, str] | None = None
    times_updated: int | None = None


class ServerConfig(Part):
    """A server's settings and state.

    `mrl` in hours; `rental_status`: 0 free, 1 spot, 2 on demand, 3 rented at a fixed dollar price.
    """

    name: str | None = None
    id: int | None = None
    connected: bool | None = None
    online: bool | None = None
    initialized: bool | None = None
    visibility: str | None = None
    pricing: dict[str, float | None] | None = None
    spot_pricing: dict[str, float | None] | None = None
    usd_pricing: dict[str, PricePair] | None = None
    mrl: int | None = None
    rental_status: int | None = None
    remaining_time: float | None = None
    allowed_coins: list[str] | None = None
    autoprice: Any = None
    background_job: BackgroundJob | None = None
    mfp_usd: float | None = None
    monitoring: int | None = None
    gpu_array: list[Any] | None = None
    specs: Specs | None = None
    is_vpn_enabled: bool | None = None
    is_partner_enabled: bool | None = None
    allow_oc: bool | None = None
    xorg_valid: bool | None = None
    oc_gpus: Any = None
    clock_lock_ranges: Any = None
    kernel: Any = None
    onboard_type: Any = None


class ServerConfigReply(Reply):
    config: ServerConfig = msgspec.field(default_factory=ServerConfig)
    creation_completed: bool | None = None


class SetServerSettings(
    Request,
    rename={
        "bitcoin_enabled": "enabled-bitcoin",
        "clore_on_demand": "CLORE-Blockchain_on_demand",
        "clore_spot": "CLORE-Blockchain_spot",
        "clore_enabled": "enabled-CLORE-Blockchain",
        "usd_on_demand": "USD-Blockchain_on_demand",
        "usd_spot": "USD-Blockchain_spot",
        "usd_enabled": "enabled-USD-Blockchain",
    },
):
    """Replace a server's settings as a whole. `mrl` in hours, prices per day.

    Two generations of the body: the older names the bitcoin prices `on_demand` and `spot`, the newer
    `bitcoin_on_demand` and `bitcoin_spot`; the newer also says which currencies are accepted.
    Members that must be there are optional in the type, since their absence has an error of its own.
    """

    name: Annotated[str, msgspec.Meta(max_length=256, pattern=NO_NUL)] | None = None
    availability: bool | None = None
    mrl: int | None = None
    on_demand: float | None = None
    spot: float | None = None
    bitcoin_on_demand: float | None = None
    bitcoin_spot: float | None = None
    bitcoin_enabled: bool | None = None
    clore_on_demand: float | None = None
    clore_spot: float | None = None
    clore_enabled: bool | None = None
    usd_on_demand: float | None = None
    usd_spot: float | None = None
    usd_enabled: bool | None = None
    autoprice: dict[str, str | bool | None] | None = None
    usd_pricing: dict[str, PricePair] | None = None

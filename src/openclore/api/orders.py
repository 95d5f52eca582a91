"""GET /my_orders, POST /create_order, POST /cancel_order."""

from typing import Annotated, Any, Literal

import msgspec

from .base import NO_NUL, Id, Part, Reply, Request
from .offers import Rating
from .specs import Specs

OrderType = Literal["on-demand", "spot"]
PortKind = Literal["tcp", "http"]

Image = Annotated[
    str,
    msgspec.Meta(
        min_length=1, max_length=128, pattern=r"^(?!.*:.*:)(?!.*/.*/.*/)[A-Za-z0-9][A-Za-z0-9:@/._-]*\Z"
    ),
]
"""At most 128 of `A-Z a-z 0-9 : @ / . _ -`, at most one colon and two slashes."""

PortNumber = Annotated[str, msgspec.Meta(pattern=r"^[1-9][0-9]{0,4}\Z")]
ENV_TEXT_PATTERN = r"^[A-Za-z0-9\s\-_:=.@+/]*\Z"
"""What names and values of `env` may hold; the live service fails without a reason on anything else."""
EnvName = Annotated[str, msgspec.Meta(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9\-_:.@+/]+\Z")]
EnvValue = Annotated[str, msgspec.Meta(max_length=1_536, pattern=ENV_TEXT_PATTERN)]
Env = dict[EnvName, EnvValue]
Command = Annotated[str, msgspec.Meta(max_length=16_384, pattern=NO_NUL)]

PORTS_MAX = 5
ENV_JSON_LENGTH_MAX = 12_288
ISSUE_LENGTH_MAX = 2_048


def check_env(env: Env | None) -> None:
    """Raises `ValueError`: it is too long as a whole."""
    if env and len(msgspec.json.encode(env)) >= ENV_JSON_LENGTH_MAX:
        raise ValueError(f"env: as JSON it must be shorter than {ENV_JSON_LENGTH_MAX} bytes")


class CreateOrder(Request):
    """Prices are per day in `currency`; `spotprice` is the bid of a spot order.

    `ports` maps container ports ("22") to "tcp" or "http", at most five and at most one "http". Names and
    values of `env` hold letters, digits and `- _ : = . @ + /`, values white space too; as JSON it is shorter
    than 12,288 bytes. `command` is a start-up script, run once. `required_price` refuses the order unless the
    current price is exactly this. `dockerhub_auth` is "user:token" for a private image.
    """

    renting_server: Id
    type: OrderType
    currency: Annotated[str, msgspec.Meta(max_length=64)]
    image: Image
    spotprice: float | None = None
    ports: dict[PortNumber, PortKind] | None = None
    env: Env | None = None
    jupyter_token: Annotated[str, msgspec.Meta(max_length=32, pattern=NO_NUL)] | None = None
    ssh_password: Annotated[str, msgspec.Meta(max_length=32, pattern=NO_NUL)] | None = None
    ssh_key: Annotated[str, msgspec.Meta(max_length=3_072, pattern=NO_NUL)] | None = None
    command: Command | None = None
    required_price: float | None = None
    autossh_entrypoint: bool | str | None = None
    remember_password: bool | str | None = None
    dockerhub_auth: Annotated[str, msgspec.Meta(max_length=512, pattern=NO_NUL)] | None = None

    def __post_init__(self) -> None:
        ports = self.ports or {}
        if any(int(port) > 65_535 for port in ports):
            raise ValueError("ports: container ports are 1 to 65535")
        if len(ports) > PORTS_MAX:
            raise ValueError(f"ports: at most {PORTS_MAX} ports, got {len(ports)}")
        if list(ports.values()).count("http") > 1:
            raise ValueError("ports: at most one port can be http")
        check_env(self.env)


class Order(Part):
    """A rental. `mrl` in **seconds**, `price` per day in `currency`, `spend` consumed so far without fees.

    `mon_container`: 0 deploying, 1 deployment failed, 2 and above deployed. `tcp_ports` hold
    "<container port>:<public port>" on each host of `pub_cluster`. The live service has no `state` and
    `end_*` members; OpenClore sends them, and then they are to be trusted.
    """

    id: Id
    si: int | None = None
    ct: int | None = None
    mrl: int | None = None
    price: float | None = None
    original_price_usd: float | None = None
    currency: str | None = None
    spend: float | None = None
    creation_fee: float | None = None
    fee: float | None = None
    image: str | None = None
    spot: bool | None = None
    expired: bool | None = None
    online: bool | None = None
    mon_container: int | None = None
    status: Any = None
    paused: bool | None = None
    pub_cluster: list[str] | None = None
    tcp_ports: list[str] | None = None
    http_port: str | None = None
    http_pub: str | None = None
    p: int | None = None
    auto_login: str | None = None
    specs: Specs | None = None
    rating: Rating | None = None
    reliability: float | None = None
    owner: int | None = None
    cuda_version: str | None = None
    gpu_array: list[Any] | None = None
    my_past_rating: float | None = None
    order_end: int | None = None
    oc_price: float | None = None
    state: str | None = None
    end_reason: str | None = None
    end_detail: str | None = None

    @property
    def endpoints(self) -> dict[int, tuple[str, int]]:
        """Container port to (public host, public port), for the TCP ports and the HTTP forward."""
        found: dict[int, tuple[str, int]] = {}
        host = (self.pub_cluster or [""])[0]
        for pair in self.tcp_ports or ():
            inner, _, outer = pair.partition(":")
            if host and inner.isdecimal() and outer.isdecimal():
                found[int(inner)] = (host, int(outer))
        if self.http_pub and (self.http_port or "").isdecimal():
            name, _, port = (
                self.http_pub.rpartition(":") if ":" in self.http_pub else (self.http_pub, "", "443")
            )
            if port.isdecimal():
                found[int(self.http_port or 0)] = (name, int(port))
        return found


class MyOrders(Request):
    """`return_completed` includes finished orders."""

    return_completed: bool = False


class MyOrdersReply(Reply):
    """`limit` is the largest number of simultaneous orders."""

    orders: list[Order] = []
    limit: int | None = None


class CreateOrderReply(Reply):
    """The live service sends `code` alone; OpenClore's open dialect adds the order."""

    order: Order | msgspec.UnsetType = msgspec.UNSET
    order_id: int | msgspec.UnsetType = msgspec.UNSET
    id: int | msgspec.UnsetType = msgspec.UNSET


class CancelOrder(Request):
    """`issue` is a problem report to the platform, at most 2,048 characters."""

    id: Id | Annotated[str, msgspec.Meta(pattern=r"^[1-9][0-9]{0,17}\Z")]
    issue: Annotated[str, msgspec.Meta(pattern=NO_NUL)] | None = None

"""The link between a host's agent and the market.

The agent exchanges a server's init token once for a credential (`Register`), then keeps one outbound
WebSocket open with `Authorization: Bearer <credential>`. Each message is one JSON text frame whose
`type` names it.

The link is level-triggered: the market says what **should** run (`Assignments`, with a generation that
changes whenever the list does), the agent says what **does** (`Beat`). Either side recovers from any
loss by comparing again, so no message needs an acknowledgement of its own:

    agent                                   market
      | Hello (facts, containers)  ──────────> |   first frame on every connection
      | <──────────  Assignments (generation)  |   the whole list, at once and on every change
      | Beat (generation, containers)  ──────> |   every BEAT_SECONDS, and at once on a change
      | <──────  Paid  or  Assignments         |   the answer to every Beat: Paid if the generation
                                                   is the current one, else Assignments again
"""

from typing import Annotated, Literal

import msgspec

from .base import NO_NUL, Id
from .gigaspot import GpuClocks
from .specs import Specs

PROTOCOL = 1
REGISTER_PATH = "/host/register"
LINK_PATH = "/host/link"
BEAT_SECONDS = 5
INIT_TOKEN_LENGTH = 48
MESSAGE_BYTES_MAX = 1_048_576
CREDENTIAL_REFUSED_CLOSE = 4_401
"""Closes the link of an agent whose credential is unknown, or whose server is being removed.

HTTP 401 to its handshake says the same.
"""

Port = Annotated[int, msgspec.Meta(ge=1, le=65_535)]
Detail = Annotated[str, msgspec.Meta(max_length=2_048, pattern=NO_NUL)]
ContainerState = Literal["pulling", "creating", "running", "exited", "failed"]


class Register(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """POST REGISTER_PATH. The init token works until a credential made from it has connected once."""

    init_token: Annotated[str, msgspec.Meta(max_length=256, pattern=NO_NUL)]


class Registered(msgspec.Struct, frozen=True, kw_only=True):
    """The reply: HTTP 200. A token that is unknown or used gives HTTP 401 and code 3."""

    server_id: int
    server_name: str
    credential: str


class Container(msgspec.Struct, frozen=True, kw_only=True):
    """What the agent has for one order.

    `failed` is final: the deployment can't succeed, and `detail` says why in a sentence a renter
    understands. `exited` is a container that ran and stopped by itself; it is left for the renter to
    see and counts as deployed.
    """

    order_id: Id
    state: ContainerState
    detail: Detail = ""


class Hello(msgspec.Struct, frozen=True, kw_only=True, tag="hello"):
    """The first frame. `public_address` is the name or IP that renters connect to; ports both inclusive."""

    protocol: int
    agent_version: Annotated[str, msgspec.Meta(max_length=64)]
    specs: Specs
    gpu_array: list[Annotated[str, msgspec.Meta(max_length=128, pattern=NO_NUL)]]
    cuda_version: Annotated[str, msgspec.Meta(max_length=32, pattern=NO_NUL)]
    public_address: Annotated[str, msgspec.Meta(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9.:_-]+\Z")]
    port_low: Port
    port_high: Port
    containers: list[Container] = []


class Beat(msgspec.Struct, frozen=True, kw_only=True, tag="beat"):
    """I am here; this is what runs; I hold the assignments of this generation (0: none yet)."""

    generation: int
    containers: list[Container] = []


class PortMap(msgspec.Struct, frozen=True, kw_only=True):
    """A TCP port of the container on a TCP port of the machine."""

    container: Port
    public: Port


class Assignment(msgspec.Struct, frozen=True, kw_only=True):
    """A container that should run.

    `paid_until` (Unix s, by the market's clock): a cut-off agent keeps the container until then and removes
    it afterwards.
    `registry_auth` is "user:token" for a private image. `env` already holds SSH_PASSWORD, SSH_KEY and
    JUPYTER_TOKEN where the renter gave them. `command` is a start-up script for the container, run once
    on its first start after the image's own entry point. With `autossh`, SSH is brought into the image and
    started instead of its entry point. `clocks` are for the GPUs in their order while the container runs;
    empty: their own.
    """

    order_id: Id
    image: str
    ports: list[PortMap]
    env: dict[str, str]
    command: str
    paid_until: int
    registry_auth: str = ""
    autossh: bool = False
    clocks: list[GpuClocks] = []


class BackgroundJob(msgspec.Struct, frozen=True, kw_only=True):
    """A container of the host's own, for the time in which no order is assigned.

    It has no ports. `command` is a script that runs instead of what the image starts. `revision` (from 1) is
    another whenever anything else of it is.
    """

    image: str
    revision: int
    command: str = ""
    env: dict[str, str] = {}


class Assignments(msgspec.Struct, frozen=True, kw_only=True, tag="assignments"):
    """All that should run on this machine; whatever else carries our label should not.

    `background` is what should run while `orders` is empty; None: nothing.

    `now` (Unix s) is the market's clock when it sent this, so that an agent whose own clock is wrong still
    knows when a `paid_until` is over. 0: unknown, and the agent goes by its own clock.
    """

    generation: int
    orders: list[Assignment]
    now: int = 0
    background: BackgroundJob | None = None


class Paid(msgspec.Struct, frozen=True, kw_only=True, tag="paid"):
    """Nothing changed but time: order id to the new `paid_until`; `now` as in `Assignments`."""

    paid_until: dict[int, int]
    now: int = 0


class Refused(msgspec.Struct, frozen=True, kw_only=True, tag="refused"):
    """The market closes the link after this. `reason` is for the host's log."""

    reason: str


FromAgent = Hello | Beat
FromMarket = Assignments | Paid | Refused

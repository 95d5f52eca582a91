"""What the agent needs from whatever runs the orders: a Docker Engine, or the simulation."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from openclore.api.hostlink import Assignment, Container, ContainerState

RuntimeName = Literal["docker", "simulated", "auto"]
"""auto: docker where an engine answers, else simulated."""

Progress = Callable[[ContainerState], None]


class HostError(Exception):
    """The agent cannot go on and waiting would not help. The message is for the host's owner.

    ├── CredentialRefused   the market knows this server no more: register it again
    └── RuntimeMissing      nothing here runs containers: start one, or choose another runtime
    """


class CredentialRefused(HostError):
    """The market answered 401 to this server's credential."""


class RuntimeMissing(HostError):
    """No container engine answers."""


class DeploymentFailed(Exception):
    """This order can never run here. The message is a sentence for the renter."""


class RuntimeTrouble(Exception):
    """The runtime could not do it now; nothing is known about the order itself. Try again later."""


@dataclass(frozen=True)
class Found:
    """What the runtime holds for one order.

    `unfinished`: `deploy` has something left to do, because the agent was interrupted while creating it
    or because the machine stopped it, not the container itself. `public_ports`: those it holds now.
    """

    container: Container
    unfinished: bool = False
    public_ports: frozenset[int] = frozenset()


class Runtime(Protocol):
    """Runs the orders of one server. Everything it shows or touches belongs to that server."""

    @property
    def name(self) -> str:
        """What `specs.runtime` says: "docker" or "simulated"."""

    async def look(self) -> dict[int, Found]:
        """Order id to what is there now. Raises `RuntimeTrouble`."""

    async def deploy(self, order: Assignment, progress: Progress) -> str:
        """Bring the order's container up, from nothing or from where an interrupted call left off.

        Calling it for a container that runs already changes nothing. `progress` hears "pulling" and
        "creating". The result is a remark for the renter, usually empty. After `DeploymentFailed`
        nothing of the order is left, unless the runtime broke down while cleaning up.

        Raises:
            DeploymentFailed: It can't succeed.
            RuntimeTrouble: It may succeed later.
        """

    async def remove(self, order_id: int) -> None:
        """Remove all that the order has here; nothing there is fine. Raises `RuntimeTrouble`."""

    async def close(self) -> None:
        """Let go of connections, never of containers that would outlive the agent."""

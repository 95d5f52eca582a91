"""What the agent needs of what runs orders and sets GPUs: a Docker Engine and NVML, or the simulation."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from openclore.api.gigaspot import GpuClocks
from openclore.api.hostlink import Assignment, BackgroundJob, Container, ContainerState

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


class ClocksRefused(Exception):
    """The GPUs can't be made to run so. The message is a sentence for the renter."""


@dataclass(frozen=True)
class Found:
    """What the runtime holds for one order.

    `unfinished`: `deploy` has something left to do, because the agent was interrupted while creating it
    or because the machine stopped it, not the container itself. `public_ports`: those it holds now.
    A container of state `failed` gave up by itself, and `detail` says why.
    """

    container: Container
    unfinished: bool = False
    public_ports: frozenset[int] = frozenset()


@dataclass(frozen=True)
class FoundBackground:
    """What the runtime holds of the background job, of this `revision`.

    `unknown`: work on it was cut short, so it may yet start. `detail` says how a stopped one ended.
    """

    state: Literal["absent", "stopped", "running", "unknown"] = "absent"
    revision: int = 0
    detail: str = ""

    @property
    def may_run(self) -> bool:
        return self.state in ("running", "unknown")


class Runtime(Protocol):
    """Runs the orders and the background job of one server. It shows and touches only what belongs to it."""

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

    async def look_background(self) -> FoundBackground:
        """What is there of the background job now; never `unknown`. Raises `RuntimeTrouble`."""

    async def run_background(self, job: BackgroundJob) -> None:
        """Start the container of this very job, made anew if there is none; it may run already.

        Raises:
            DeploymentFailed: It can't succeed as things are.
            RuntimeTrouble: It may succeed later.
        """

    async def stop_background(self) -> None:
        """Stop it quickly, files kept; nothing there is fine. No start under way outlives this.

        Raises `RuntimeTrouble`.
        """

    async def remove_background(self) -> None:
        """Stop it and remove all of it; nothing there is fine. Raises `RuntimeTrouble`."""

    async def close(self) -> None:
        """Let go of connections, never of containers that would outlive the agent."""


class Tuner(Protocol):
    """Sets the power limits and clocks of the machine's GPUs."""

    def hold(self, clocks: list[GpuClocks]) -> None:
        """Make the GPUs run so, in their order; [] as they did before any order.

        May block. Calling it again costs little, and sets right what something else has changed meanwhile.
        Where it is refused, what was held before still holds.

        Raises:
            ClocksRefused: The machine can't, or may not.
        """

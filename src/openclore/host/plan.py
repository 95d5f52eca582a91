"""What to do next, decided from values alone: no clock, no I/O.

    wanted and not there, or unfinished ──> Deploy, once nothing that leaves holds its ports
    wanted no more, still deploying     ──> Abandon, and Remove once it has stopped
    wanted no more, or failed           ──> Remove

"Wanted no more" needs the market's word. An agent that is cut off has only the last word it heard, so it
removes nothing but what has outlived the time paid for, and deploys nothing that has.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field

from openclore.api.hostlink import Assignment, Container, ContainerState

from .runtime import Found

CUT_OFF_GRACE_SECONDS = 15
"""An agent that just started, or lost the link a moment ago, lets the market speak before it removes."""


@dataclass(frozen=True)
class Moment:
    """`market`: Unix s by the market's clock. `steady`: s by a clock that nobody sets."""

    market: float
    steady: float


@dataclass(frozen=True)
class Wanted:
    """What the market wanted when it last spoke.

    `cut_off_since` (steady s) is None while the market has spoken on the present connection.
    """

    orders: Mapping[int, Assignment] = field(default_factory=dict)
    cut_off_since: float | None = 0.0

    def unwanted(self, order_id: int, now: Moment) -> bool:
        """Whether what runs for this order must go."""
        order = self.orders.get(order_id)
        if self.cut_off_since is None:
            return order is None
        grace_is_over = now.steady >= self.cut_off_since + CUT_OFF_GRACE_SECONDS
        return order is not None and now.market >= order.paid_until and grace_is_over

    def may_deploy(self, order: Assignment, now: Moment) -> bool:
        """Whether work on this order may begin: the market wants it, or it is paid for while cut off."""
        return self.cut_off_since is None or now.market < order.paid_until


@dataclass(frozen=True)
class Actual:
    """What there is.

    `settled`: orders whose deployment this agent has seen complete. `failed`: order id to the reason.
    `deploying` and `removing`: orders being worked on right now.
    """

    found: Mapping[int, Found] = field(default_factory=dict)
    settled: Set[int] = frozenset()
    failed: Mapping[int, str] = field(default_factory=dict)
    deploying: Set[int] = frozenset()
    removing: Set[int] = frozenset()


@dataclass(frozen=True)
class Deploy:
    """Bring the order's container up, or check and complete the one that is there."""

    order: Assignment


@dataclass(frozen=True)
class Abandon:
    """Stop deploying; the next plan removes what it left."""

    order_id: int


@dataclass(frozen=True)
class Remove:
    """Take away all that the order has here."""

    order_id: int


Action = Deploy | Abandon | Remove


def plan(wanted: Wanted, actual: Actual, now: Moment) -> list[Action]:
    """The steps to take now, removals first.

    Orders being worked on are left alone, but for deployments that are wanted no more. An order gets at
    most one action.
    """
    busy = actual.deploying | actual.removing
    leaving = {
        order_id
        for order_id in actual.found
        if order_id in actual.removing or order_id in actual.failed or wanted.unwanted(order_id, now)
    }
    idle_found = [order_id for order_id in sorted(actual.found) if order_id not in busy]
    return [
        *(Abandon(order_id) for order_id in sorted(actual.deploying) if wanted.unwanted(order_id, now)),
        *(Remove(order_id) for order_id in idle_found if order_id in leaving),
        *(
            Deploy(order)
            for order_id, order in sorted(wanted.orders.items())
            if order_id not in busy
            and order_id not in actual.failed
            and wanted.may_deploy(order, now)
            and _needs_work(order_id, actual)
            and not _ports_held(order, leaving, actual)
        ),
    ]


def whose_clocks(wanted: Wanted, actual: Actual, now: Moment) -> Assignment | None:
    """The order at whose clocks the GPUs are to run: of those that run and set some, the newest."""
    return next(
        (
            order
            for order_id, order in sorted(wanted.orders.items(), reverse=True)
            if order.clocks
            and order_id not in actual.failed
            and not wanted.unwanted(order_id, now)
            and order_id in actual.found
            and actual.found[order_id].container.state == "running"
        ),
        None,
    )


def report(
    actual: Actual, progress: Mapping[int, ContainerState], remarks: Mapping[int, str]
) -> list[Container]:
    """What a beat says, by order id: the outcome where there is one, else how far the deployment is.

    `remarks` are what `deploy` returned; they complete the detail of a container that runs.
    """
    containers = {order_id: Container(order_id=order_id, state=state) for order_id, state in progress.items()}
    for order_id, found in actual.found.items():
        if order_id not in containers or not found.unfinished:
            containers[order_id] = _with_remark(found.container, remarks.get(order_id, ""))
    for order_id, reason in actual.failed.items():
        containers[order_id] = Container(order_id=order_id, state="failed", detail=reason)
    return [containers[order_id] for order_id in sorted(containers)]


def _needs_work(order_id: int, actual: Actual) -> bool:
    found = actual.found.get(order_id)
    return found is None or found.unfinished or order_id not in actual.settled


def _ports_held(order: Assignment, leaving: Set[int], actual: Actual) -> bool:
    ports = {port.public for port in order.ports}
    return any(ports & actual.found[order_id].public_ports for order_id in leaving)


def _with_remark(container: Container, remark: str) -> Container:
    if not remark or container.detail:
        return container
    return Container(order_id=container.order_id, state=container.state, detail=remark)

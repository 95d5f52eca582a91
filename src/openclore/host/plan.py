"""What to do next, decided from values alone: no clock, no I/O.

    wanted and not there, or unfinished ──> Deploy, once nothing that leaves holds its ports
    wanted no more, still deploying     ──> Abandon, and Remove once it has stopped
    wanted no more, or failed           ──> Remove

The background job has the machine while no order is wanted and none is left; an order waits for its stop:

    free, and it rests no more          ──> RunBackground
    an order is wanted                  ──> StopBackground, or AbandonBackground while it is being started
    another revision, or none, wanted   ──> RemoveBackground

"Wanted no more" needs the market's word. An agent that is cut off has only the last word it heard, so it
removes nothing but what has outlived the time paid for, and deploys nothing that has.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field

from openclore.api.hostlink import Assignment, BackgroundJob, Container, ContainerState

from .runtime import Found, FoundBackground

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

    `cut_off_since` (steady s) is None while the market has spoken on the present connection. `background` is
    for the time without orders.
    """

    orders: Mapping[int, Assignment] = field(default_factory=dict)
    cut_off_since: float | None = 0.0
    background: BackgroundJob | None = None

    def unwanted(self, order_id: int, now: Moment) -> bool:
        """Whether what runs for this order must go."""
        order = self.orders.get(order_id)
        if self.cut_off_since is None:
            return order is None
        return order is not None and now.market >= order.paid_until and self.had_its_say(now)

    def had_its_say(self, now: Moment) -> bool:
        """Whether the market has spoken, or had time enough to."""
        return self.cut_off_since is None or now.steady >= self.cut_off_since + CUT_OFF_GRACE_SECONDS

    def may_deploy(self, order: Assignment, now: Moment) -> bool:
        """Whether work on this order may begin: the market wants it, or it is paid for while cut off."""
        return self.cut_off_since is None or now.market < order.paid_until


@dataclass(frozen=True)
class RunBackground:
    """Have the background job run: start its container, or make it first."""

    job: BackgroundJob


@dataclass(frozen=True)
class AbandonBackground:
    """Stop starting it; the next plan stops or removes what it left."""


@dataclass(frozen=True)
class StopBackground:
    """Stop its container at once, and keep it."""


@dataclass(frozen=True)
class RemoveBackground:
    """Stop its container and take it away."""


BackgroundAction = RunBackground | AbandonBackground | StopBackground | RemoveBackground


@dataclass(frozen=True)
class Actual:
    """What there is.

    `settled`: orders whose deployment this agent has seen complete. `failed`: order id to the reason.
    `deploying` and `removing`: orders being worked on right now. `background_work`: what is being done about
    the background job. It is not started again before `background_rests_until` (steady s).
    """

    found: Mapping[int, Found] = field(default_factory=dict)
    settled: Set[int] = frozenset()
    failed: Mapping[int, str] = field(default_factory=dict)
    deploying: Set[int] = frozenset()
    removing: Set[int] = frozenset()
    background: FoundBackground = field(default_factory=FoundBackground)
    background_work: BackgroundAction | None = None
    background_rests_until: float = 0.0


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


Action = Deploy | Abandon | Remove | BackgroundAction


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
    background = _background_step(wanted, actual, now)
    machine_is_clear = not actual.background.may_run and actual.background_work is None
    return [
        *([background] if background else []),
        *(Abandon(order_id) for order_id in sorted(actual.deploying) if wanted.unwanted(order_id, now)),
        *(Remove(order_id) for order_id in idle_found if order_id in leaving),
        *(
            Deploy(order)
            for order_id, order in sorted(wanted.orders.items())
            if machine_is_clear
            and order_id not in busy
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


def _background_step(wanted: Wanted, actual: Actual, now: Moment) -> BackgroundAction | None:
    job, found, work = wanted.background, actual.background, actual.background_work
    if work is not None:
        in_vain = isinstance(work, RunBackground) and (wanted.orders or work.job != job)
        return AbandonBackground() if in_vain else None
    outdated = found.state != "absent" and (job is None or job.revision != found.revision)
    if outdated and wanted.cut_off_since is None:
        return RemoveBackground()
    if wanted.orders:
        return StopBackground() if found.may_run else None
    orders_are_gone = not (actual.found or actual.deploying or actual.removing)
    rested = now.steady >= actual.background_rests_until
    if job and not outdated and found.state != "running" and orders_are_gone and rested:
        return RunBackground(job) if wanted.had_its_say(now) else None
    return None


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

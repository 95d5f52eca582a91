"""Waiting until an order can be used.

A deployed container does not yet answer: an order is ready when the market says deployed and its TCP ports
accept connections.
"""

import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from openclore.api.orders import Order

from .errors import DeployError

if TYPE_CHECKING:
    from openclore.client import Clore

POLL_SECONDS = 2.0
APPEARS_SECONDS = 30.0
"""A new order may take so long to be listed."""
PROBE_SECONDS = 2.0

Probe = Callable[[str, int], bool]


def answers(host: str, port: int) -> bool:
    """Whether a TCP connection is accepted."""
    try:
        with socket.create_connection((host, port), timeout=PROBE_SECONDS):
            return True
    except (OSError, UnicodeError):
        return False


def wait_until_ready(
    clore: "Clore",
    order: Order,
    *,
    timeout: float,
    tell: Callable[[str], None],
    probe: Probe = answers,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Order:
    """The order's row once it can be used. `tell` hears what is being waited for.

    Raises:
        DeployError: the order ended, or is not ready in time; it may go on and cost money.
    """
    from openclore.client.errors import CloreError, SignInError

    started = clock()
    row = order
    while True:
        if ready(row, probe):
            return row
        tell(progress(row))
        if clock() - started > timeout:
            raise DeployError(
                f"Order {order.id} is not ready after {timeout:.0f} s ({progress(row)}). It goes on and costs"
                f" money; end it with: openclore cancel {order.id}",
                order.id,
            )
        sleep(POLL_SECONDS)
        try:
            row = _latest(clore, order, row, hidden_is_fine=clock() - started < APPEARS_SECONDS)
        except SignInError:
            raise
        except CloreError as trouble:
            tell(f"the market can't be asked: {trouble}")


def _latest(clore: "Clore", order: Order, row: Order, *, hidden_is_fine: bool) -> Order:
    found = _find(clore.my_orders(), order) or _find(clore.my_orders(return_completed=True), order)
    if found is None:
        if hidden_is_fine and not row.mon_container:
            return row
        raise DeployError(f"Order {order.id} is not listed any more: it ended.", order.id)
    if over(found):
        raise DeployError(f"Order {order.id} {ending(found)}.", order.id)
    if exited(found):
        raise DeployError(
            f"Order {order.id}: its container ended by itself ({found.status}). It is kept, and costs money;"
            f" end it with: openclore cancel {order.id}",
            order.id,
        )
    if found.mon_container == 1:
        reason = f": {found.end_detail}" if found.end_detail else ""
        raise DeployError(
            f"Order {order.id} failed to deploy{reason}. If it is still listed, end it with:"
            f" openclore cancel {order.id}",
            order.id,
        )
    return found


def _find(rows: list[Order], order: Order) -> Order | None:
    return next((row for row in rows if row.id == order.id), None)


def over(row: Order) -> bool:
    return bool(row.expired) or row.state == "ended"


def exited(row: Order) -> bool:
    """The container ran and ended by itself; OpenClore's markets say so."""
    return isinstance(row.status, str) and row.status.startswith("exited")


def ending(row: Order) -> str:
    """ "ended: failed (the image does not exist)"."""
    reason = f": {row.end_reason}" if row.end_reason else ""
    return f"ended{reason}{f' ({row.end_detail})' if row.end_detail else ''}"


def simulated(row: Order) -> bool:
    """No container engine runs this order, so nobody may ever answer."""
    return row.specs is not None and row.specs.runtime == "simulated"


def ready(row: Order, probe: Probe) -> bool:
    deployed = (row.mon_container or 0) >= 2 and not over(row)
    return deployed and (simulated(row) or all(probe(host, port) for host, port in row.endpoints.values()))


def progress(row: Order) -> str:
    if (row.mon_container or 0) >= 2:
        return "deployed, waiting for its ports to answer"
    if row.state == "waiting":
        return "outbid, waiting for the machine"
    return "deploying"

"""What a machine runs while nobody rents it. It is no order: it costs nothing and delays none."""

from ..api.open.servers import SetBackgroundJob
from ..rules.servers import BackgroundJob
from ..store import events, servers
from .market import Market
from .orders import check_bounds
from .servers import own


def set_background_job(
    market: Market, account_id: int, server_id: int, request: SetBackgroundJob, now: int
) -> None:
    """Replace a server's background job, or remove it. Setting what is set already changes nothing.

    Raises:
        NotFound: the account has no such server.
        InvalidInput: this market allows no container so.
    """
    job = None
    if request.image is not None:
        check_bounds(market.policy.order_bounds, request.env, request.command)
        job = BackgroundJob(image=request.image, command=request.command or "", env=request.env or {})
    with market.store.writing() as tx:
        server = own(tx, account_id, server_id)
        if job == server.background_job:
            return
        servers.save_background_job(tx, server_id, job)
        servers.assignments_changed(tx, server_id)
        events.append(
            tx, events.Kind.SERVER_BACKGROUND_JOB_CHANGED, now, account_id=account_id, server_id=server_id
        )

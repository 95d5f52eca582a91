"""Carrying actions out, each through one call of the client, and telling what became of it."""

from collections.abc import Callable
from typing import Any, Protocol, assert_never

import msgspec

from openclore.api.offers import PricePair
from openclore.api.orders import Order
from openclore.api.servers import ServerConfig, SetServerSettings
from openclore.client.errors import CloreError, InputError, NotFoundError, OutcomeUnknownError, RefusedError
from openclore.client.settings import settings_of

from .actions import (
    AnyAction,
    CancelOrder,
    Outcome,
    PlaceOrder,
    Rebid,
    RenewLease,
    SetBackgroundJob,
    SetSettings,
)
from .file import File


class MarketWriter(Protocol):
    """The part of `Clore` that actions need."""

    @property
    def has_open(self) -> bool | None: ...
    @property
    def create_order(self) -> Callable[..., Order]: ...
    @property
    def set_background_job(self) -> Callable[..., None]: ...
    def cancel_order(self, id: int, issue: str | None = None) -> None: ...  # noqa: A002
    def set_spot_price(self, order_id: int, desired_price: float) -> None: ...
    def renew_lease(self, order_id: int, lease_seconds: int | None) -> Any: ...
    def server_config(self, name: str) -> ServerConfig: ...
    def set_server_settings(self, settings: SetServerSettings) -> None: ...


def carry_out(clore: MarketWriter, file: File, action: AnyAction, date: Callable[[], float]) -> Outcome:
    """Do it now. Whatever the market answers is in the outcome."""
    try:
        order = _do(clore, file, action)
    except CloreError as error:
        return Outcome(
            action=action,
            at=int(date()),
            done=False,
            detail=str(error),
            error=error.error,
            refused=isinstance(error, InputError | NotFoundError | RefusedError),
            unknown=error.ambiguous or isinstance(error, OutcomeUnknownError),
        )
    return Outcome(action=action, at=int(date()), done=True, order=order)


def _do(clore: MarketWriter, file: File, action: AnyAction) -> Order | None:
    match action:
        case PlaceOrder():
            return _place(clore, file, action)
        case CancelOrder():
            _cancel(clore, action)
        case Rebid():
            clore.set_spot_price(action.order_id, action.price)
        case RenewLease():
            clore.renew_lease(action.order_id, action.seconds)
        case SetSettings():
            _set(clore, action)
        case SetBackgroundJob():
            _set_background_job(clore, action)
        case _:
            assert_never(action)
    return None


def _place(clore: MarketWriter, file: File, action: PlaceOrder) -> Order:
    fleet = file.fleets[action.fleet]
    bid = action.type == "spot"
    caught = {"spend_max": action.spend_max, "lease_seconds": action.lease_seconds} if clore.has_open else {}
    return clore.create_order(
        renting_server=action.server_id,
        type=action.type,
        currency=action.currency,
        image=action.image,
        spotprice=action.price if bid else None,
        required_price=None if bid else action.price,
        ports=fleet.ports or None,
        env=fleet.env or None,
        command=fleet.command,
        ssh_key=fleet.ssh_key,
        ssh_password=fleet.ssh_password,
        jupyter_token=fleet.jupyter_token,
        autossh_entrypoint=fleet.autossh_entrypoint,
        dockerhub_auth=fleet.dockerhub_auth,
        idempotency_key=action.key,
        **caught,
    )


def _cancel(clore: MarketWriter, action: CancelOrder) -> None:
    """Over already is as good."""
    try:
        clore.cancel_order(action.order_id, action.issue)
    except NotFoundError:
        return


def _set(clore: MarketWriter, action: SetSettings) -> None:
    """Read, change, write as a whole; what the change does not name stays as it is at this moment."""
    present = settings_of(clore.server_config(action.server))
    changes = {change.member: change.after for change in action.changes}
    if isinstance(changes.get("usd_pricing"), dict):
        changes["usd_pricing"] = msgspec.convert(changes["usd_pricing"], dict[str, PricePair])
    clore.set_server_settings(msgspec.structs.replace(present, **changes))


def _set_background_job(clore: MarketWriter, action: SetBackgroundJob) -> None:
    job = action.job
    if job is None:
        clore.set_background_job(action.server_id, image=None)
    else:
        clore.set_background_job(
            action.server_id, image=job.image, command=job.command or None, env=job.env or None
        )

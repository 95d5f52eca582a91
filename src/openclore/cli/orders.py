"""openclore rent, orders, order, lease, cancel."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from openclore.api.offers import Offer
from openclore.api.open.orders import OrderDetail
from openclore.api.orders import Order

from . import options, sandbox
from .errors import INTERRUPTED, exit_code, guarded, report
from .events import EVENT_COLUMNS, event_row
from .marketplace import UNITS, gpu_model, gpu_name
from .output import Column, busy, interactive, local_time, price, say, show_facts, show_json, show_table
from .waiting import exited, over, simulated, wait_until_ready

if TYPE_CHECKING:
    from openclore.client import Clore

WAIT_SECONDS = 900


@guarded
def rent(
    server_id: Annotated[int, typer.Argument(min=1, help="Server id, from openclore marketplace.")],
    image: Annotated[str, typer.Option(metavar="IMAGE", help="Container image, Docker Hub short name.")],
    currency: Annotated[str, typer.Option(metavar="NAME", help=f"Pay in {options.CURRENCY_HELP}.")],
    port: Annotated[
        list[str] | None,
        typer.Option(metavar="PORT:KIND", help="Publish a container port, such as 22:tcp or 8080:http."),
    ] = None,
    env: options.Env = None,
    command: Annotated[str | None, typer.Option(metavar="TEXT", help="Start-up script.")] = None,
    command_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", exists=True, dir_okay=False, help="Start-up script in a file."),
    ] = None,
    ssh_key_file: Annotated[
        Path | None, typer.Option(metavar="FILE", exists=True, dir_okay=False, help="Public SSH key.")
    ] = None,
    ask_ssh_password: Annotated[
        bool, typer.Option("--ask-ssh-password", help="Ask for an SSH password.")
    ] = False,
    ssh_password_stdin: Annotated[
        bool, typer.Option("--ssh-password-stdin", help="Read the SSH password from stdin, its first line.")
    ] = False,
    autossh: Annotated[bool, typer.Option("--autossh", help="Bring SSH into an image without it.")] = False,
    bid: Annotated[
        float | None, typer.Option(metavar="AMOUNT", help="Spot order with this bid per day.")
    ] = None,
    required_price: Annotated[
        float | None,
        typer.Option(metavar="AMOUNT", help="Refuse unless the price per day is this. (default: as listed)"),
    ] = None,
    max_price_per_hour: Annotated[
        float | None, typer.Option(metavar="AMOUNT", help="Refuse a higher price, in --currency.")
    ] = None,
    spend_max: Annotated[
        float | None,
        typer.Option(metavar="AMOUNT", help="The order ends before it costs more than this, fees included."),
    ] = None,
    lease: Annotated[
        int | None,
        typer.Option(
            parser=options.duration,
            metavar="DURATION",
            help="The order ends by itself after so long, such as 1h, unless openclore lease renews it.",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before ordering.")] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not wait until its ports answer.")] = False,
    timeout: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="How long to wait.")
    ] = WAIT_SECONDS,
    profile: options.Profile = None,
    base_url: options.BaseUrl = None,
    json: options.Json = False,
) -> None:
    """Rent a server, wait until it answers, and say how to connect.

    This spends money. At a terminal it shows the price and asks; elsewhere it goes ahead. The price listed
    now is sent along, so the market refuses if it changed in between. Only OpenClore's markets know
    --spend-max and --lease.

    Secrets: OPENCLORE_SSH_PASSWORD, OPENCLORE_JUPYTER_TOKEN and OPENCLORE_DOCKERHUB_AUTH ("user:token").
    """
    coin = options.currency(currency)
    members: dict[str, Any] = {
        "image": image,
        "ports": dict(options.pair(p.replace(":", "=", 1), "--port", "22:tcp") for p in port or ()) or None,
        "env": options.variables(env),
        "command": _script(command_file) if command_file else command,
        "ssh_key": _public_key(ssh_key_file) if ssh_key_file else None,
        "ssh_password": _ssh_password(ask_ssh_password, ssh_password_stdin),
        "jupyter_token": os.environ.get("OPENCLORE_JUPYTER_TOKEN") or None,
        "dockerhub_auth": os.environ.get("OPENCLORE_DOCKERHUB_AUTH") or None,
        "autossh_entrypoint": True if autossh else None,
        "spend_max": spend_max,
        "lease_seconds": lease,
    }
    with options.client(profile, base_url) as clore:
        offer = _offer(clore, server_id)
        per_day = _price_to_pay(offer, coin, bid, required_price, max_price_per_hour)
        if interactive() and not yes and not _confirmed(offer, coin, per_day, spot=bid is not None):
            say("Nothing was ordered.")
            raise typer.Exit(1)
        with busy(f"Ordering server {server_id} ..."), _no_quiet_interrupt(server_id):
            order = clore.create_order(
                renting_server=server_id,
                currency=coin,
                type="spot" if bid is not None else "on-demand",
                spotprice=bid,
                required_price=per_day if bid is None else None,
                **members,
            )
        say(f"Order {order.id} is made.")
        if not no_wait:
            if address := sandbox.found_at(profile, base_url):
                say(
                    "This is a sandbox, and the machine needs minutes of its time. In another terminal,"
                    f" openclore sandbox turn 5m --base-url {address} moves its clock on."
                    " Or do not wait: --no-wait."
                )
            order = _wait(clore, order, timeout)
    if json:
        show_json(_with_connection(order))
    else:
        _show_connection(order, waited=not no_wait)


def _public_key(path: Path) -> str:
    text = path.read_text(errors="replace").strip()
    if "PRIVATE KEY" in text or "\n" in text:
        raise typer.BadParameter(
            f"{path} must hold one public key line, such as ~/.ssh/id_ed25519.pub",
            param_hint="--ssh-key-file",
        )
    return text


def _ssh_password(ask: bool, from_stdin: bool) -> str | None:
    if from_stdin:
        return sys.stdin.readline().rstrip("\n") or None
    if ask:
        return str(typer.prompt("SSH password", hide_input=True, confirmation_prompt=True, err=True))
    return os.environ.get("OPENCLORE_SSH_PASSWORD") or None


def _script(path: Path) -> str:
    from openclore.client.errors import InputError

    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise InputError(f"{path} can't be read as a script: {problem}") from problem


def _offer(clore: "Clore", server_id: int) -> Offer:
    from openclore.client.errors import UnavailableError

    with busy("Reading the marketplace ..."):
        offer = next((o for o in clore.marketplace() if o.id == server_id), None)
    if offer is None:
        raise UnavailableError(f"Server {server_id} is not on the marketplace; it may have gone offline.")
    return offer


def _price_to_pay(
    offer: Offer, coin: str, bid: float | None, required: float | None, max_per_hour: float | None
) -> float:
    """The price per day that will be agreed to.

    Raises:
        InputError: the host does not take the currency.
        PriceError: it is above the maximum.
    """
    from openclore.client.errors import InputError, PriceError, UnavailableError

    if coin not in (offer.allowed_coins or ()):
        accepted = ", ".join(offer.allowed_coins or ()) or "none"
        raise InputError(f"Server {offer.id} can't be paid in {coin}; its host accepts: {accepted}.")
    if offer.rented and bid is None:
        raise UnavailableError(f"Server {offer.id} is already rented; choose another.")
    per_day = bid if bid is not None else required if required is not None else offer.price_per_day(coin)
    if per_day is None:
        raise InputError(f"Server {offer.id} has no price in {coin}; give --required-price.")
    if max_per_hour is not None and per_day / 24 > max_per_hour:
        raise PriceError(
            f"Server {offer.id} costs {price(per_day / 24, coin)} {coin} an hour, more than"
            f" {price(max_per_hour, coin)}."
        )
    return per_day


def _confirmed(offer: Offer, coin: str, per_day: float, *, spot: bool) -> bool:
    dollars = offer.usd_per_day if not spot and coin != "USD-Blockchain" else None
    about = f" (about ${price(dollars / 24, 'usd')} an hour)" if dollars else ""
    say(f"Server {offer.id}: {gpu_name(offer.specs)}")
    say(
        f"{'Bid' if spot else 'Price'}: {price(per_day / 24, coin)} {coin} an hour,"
        f" {price(per_day, coin)} a day{about}, plus the market's fees."
    )
    return bool(typer.confirm("Order it?", err=True))


@contextmanager
def _no_quiet_interrupt(server_id: int) -> Iterator[None]:
    """Whoever interrupts an order under way must hear that it may have been made."""
    try:
        yield
    except KeyboardInterrupt:
        say(f"Server {server_id} may have been ordered and would cost money; look with: openclore orders")
        raise typer.Exit(INTERRUPTED) from None


def _wait(clore: "Clore", order: Order, timeout: float) -> Order:
    try:
        with busy(f"Order {order.id} ...") as tell:
            return wait_until_ready(
                clore, order, timeout=timeout, tell=lambda what: tell(f"Order {order.id}: {what} ...")
            )
    except KeyboardInterrupt:
        say(f"Order {order.id} goes on and costs money; end it with: openclore cancel {order.id}")
        raise typer.Exit(INTERRUPTED) from None


# Connecting -----------------------------------------------------------------------------------------


def _with_connection(order: Order) -> dict[str, Any]:
    """The row, and container port to public host and port."""
    connect = {str(inner): {"host": host, "port": port} for inner, (host, port) in order.endpoints.items()}
    return {**msgspec.to_builtins(order), "connect": connect}


def _show_connection(order: Order, *, waited: bool) -> None:
    facts: list[tuple[str, object]] = [("Order", order.id), ("Server", order.si)]
    for inner, (host, port) in sorted(order.endpoints.items()):
        is_http = str(inner) == order.http_port
        facts.append((f"Port {inner}", f"{_web_address(host, port)}" if is_http else f"{host}:{port}"))
    if 22 in order.endpoints:
        host, port = order.endpoints[22]
        facts.append(("SSH", f"ssh -p {port} root@{host}"))
    facts.append(("End it", f"openclore cancel {order.id}"))
    show_facts(facts)
    if simulated(order):
        say("This server is simulated: no container runs behind its ports.")
    elif not waited:
        say("It is not ready yet; openclore orders shows when it is deployed.")


def _web_address(host: str, port: int) -> str:
    return f"https://{host}/" if port == 443 else f"http://{host}:{port}/"


# Listing and ending ---------------------------------------------------------------------------------

COLUMNS = [
    Column("ORDER", justify="right"),
    Column("SERVER", rank=1, justify="right"),
    Column("STATE"),
    Column("PRICE/DAY", rank=1, justify="right"),
    Column("SPENT", rank=4, justify="right"),
    Column("CURRENCY", rank=2),
    Column("SSH", rank=2),
    Column("OTHER PORTS", rank=5),
    Column("GPU", rank=3, flexible=True),
    Column("IMAGE", rank=6),
]


@guarded
def orders(
    all: Annotated[bool, typer.Option("--all", help="Include finished orders.")] = False,  # noqa: A002
    profile: options.Profile = None,
    base_url: options.BaseUrl = None,
    json: options.Json = False,
) -> None:
    """Show your orders.

    State, price per day, what they cost so far (without fees), and where to connect.
    """
    with options.client(profile, base_url) as clore:
        found = clore.my_orders(return_completed=all)
    if json:
        show_json([_with_connection(order) for order in found])
        return
    found.sort(key=lambda order: order.id, reverse=True)
    empty = "You have no orders." if all else "You have no running orders; --all shows finished ones."
    show_table(COLUMNS, map(_row, found), empty=empty)


def _row(order: Order) -> list[object]:
    coin = order.currency or ""
    ports = {} if over(order) else order.endpoints
    reach = {inner: f"{host}:{port}" for inner, (host, port) in sorted(ports.items())}
    return [
        order.id,
        order.si if order.si is not None else "-",
        state(order),
        price(order.price, coin),
        price(order.spend, coin),
        UNITS.get(coin, coin) or "-",
        reach.pop(22, "-"),
        " ".join(f"{inner}={where}" for inner, where in reach.items()) or "-",
        gpu_model(order.specs),
        order.image or "-",
    ]


def state(order: Order) -> str:
    """Where an order stands, from what the row has, and whether its server is simulated."""
    return f"{_word(order)} (simulated)" if simulated(order) else _word(order)


def _word(order: Order) -> str:
    if over(order):
        return f"ended ({order.end_reason})" if order.end_reason else "ended"
    if order.mon_container == 1:
        return "failed"
    if order.state == "waiting":
        return "outbid"
    if order.online is False:
        return "host lost"
    if order.paused:
        return "paused"
    if exited(order):
        return str(order.status)
    return "running" if (order.mon_container or 0) >= 2 else "deploying"


@guarded
def order(
    order_id: Annotated[int, typer.Argument(min=1, help="Order id.")],
    profile: options.Profile = None,
    base_url: options.BaseUrl = None,
    json: options.Json = False,
) -> None:
    """Show one order with all that happened to it. Only OpenClore's markets can."""
    with options.client(profile, base_url) as clore:
        detail = clore.order(order_id)
    if json:
        show_json(detail)
    else:
        _show_detail(detail)


def _show_detail(detail: OrderDetail) -> None:
    row, coin = detail.order, detail.order.currency or ""
    reach = {} if over(row) else row.endpoints
    ports = [f"{inner} at {host}:{port}" for inner, (host, port) in sorted(reach.items())]
    show_facts(
        [
            ("Order", row.id),
            ("Server", row.si),
            ("State", state(row)),
            ("Because", row.end_detail),
            ("Type", "spot" if row.spot else "on demand"),
            ("Image", row.image),
            ("Price per day", f"{price(row.price, coin)} {coin}"),
            ("Charged", f"{price(detail.charged, coin)} {coin}, fees included"),
            ("At most", f"{price(detail.spend_max, coin)} {coin}" if detail.spend_max else None),
            ("Lease until", local_time(detail.lease_until) if detail.lease_until else None),
            ("Ports", ", ".join(ports)),
            ("Made with key", detail.key),
        ]
    )
    show_table(EVENT_COLUMNS, [event_row(step) for step in detail.history], empty="")


@guarded
def lease(
    order_id: Annotated[int, typer.Argument(min=1, help="Your order.")],
    duration: Annotated[
        int | None,
        typer.Argument(
            parser=options.duration, metavar="DURATION", help="From now on: 90m, 1h, 1d12h, or seconds."
        ),
    ] = None,
    off: Annotated[bool, typer.Option("--off", help="The order has no lease any more.")] = False,
    profile: options.Profile = None,
    base_url: options.BaseUrl = None,
    json: options.Json = False,
) -> None:
    """Renew an order's lease: unless it is renewed again in time, the order ends by itself.

    A program that keeps its order alive so can die without costing more. Only OpenClore's markets can.
    """
    if off == (duration is not None):
        raise typer.BadParameter(
            "give either how long the order may go on, such as 1h, or --off", param_hint="DURATION"
        )
    with options.client(profile, base_url) as clore:
        detail = clore.renew_lease(order_id, duration)
    if json:
        show_json(detail)
    elif detail.lease_until:
        say(f"Order {order_id} ends at {local_time(detail.lease_until)} unless its lease is renewed.")
    else:
        say(f"Order {order_id} has no lease any more.")


@guarded
def cancel(
    order_ids: Annotated[list[int], typer.Argument(min=1, metavar="ORDER_ID", help="Orders to end.")],
    issue: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Report a problem to the platform.")
    ] = None,
    profile: options.Profile = None,
    base_url: options.BaseUrl = None,
    json: options.Json = False,
) -> None:
    """End orders.

    Started minutes are not paid back, and what is in the containers is lost. Goes on after a failure; the
    exit code is the first one's.
    """
    from openclore.client.errors import CloreError, SignInError

    failed = 0
    ended: list[int] = []
    with options.client(profile, base_url) as clore:
        for order_id in order_ids:
            try:
                clore.cancel_order(order_id, issue)
            except SignInError:
                raise
            except CloreError as error:
                if json:
                    report(error, as_json=True, order_id=order_id)
                else:
                    say(f"Error: order {order_id}: {error}")
                failed = failed or exit_code(error)
            else:
                ended.append(order_id)
                say(f"Order {order_id} is cancelled.")
    if json:
        show_json({"cancelled": ended})
    if failed:
        raise typer.Exit(failed)

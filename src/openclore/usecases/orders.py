"""Renting: list, create, cancel, and one order with all that is known of it."""

import re
from typing import Any

import msgspec
from sqlalchemy import Connection

from ..api.codes import DOCKERHUB_AUTH_INVALID, Refusal
from ..api.currencies import Currency
from ..api.offers import Rating
from ..api.open.orders import OrderDetail, OrderReply, OrderStep, PlaceOrder, RenewLease
from ..api.orders import (
    ISSUE_LENGTH_MAX,
    CancelOrder,
    CreateOrder,
    CreateOrderReply,
    MyOrders,
    MyOrdersReply,
    PortKind,
)
from ..api.orders import Order as OrderRow
from ..rules import billing, money, statements
from ..rules import orders as order_rules
from ..rules import servers as server_rules
from ..rules.orders import Deployment, EndReason, Kind, Order, State
from ..rules.policy import OrderBounds, Policy
from ..rules.refused import InvalidInput, NotFound, Refused
from ..rules.servers import DAY_SECONDS, Pricing, Server, Visibility
from ..store import accounts, events, orders, rates, servers
from ..store.accounts import Account
from . import settlement
from .books import Books
from .market import Market

_DOCKERHUB_AUTH = re.compile(r"[^:\s]+:[^:\s]+")


def create_order(
    market: Market, account_id: int, request: CreateOrder, now: int, key_id: int | None = None
) -> CreateOrderReply:
    """Rent a server on demand, or bid on it. The first minute is charged as soon as it runs.

    Raises:
        InvalidInput: something this market does not offer.
        Refused: as the protocol names it; nothing changed.
    """
    with market.store.writing() as tx:
        order, server = _rent(tx, market, account_id, request, now, key_id)
        # Without the two members whose documented shape the official SDK can't read: a program that uses
        # it gets its order, and `my_orders` has them.
        row = msgspec.structs.replace(_row(order, server, now), pub_cluster=None, tcp_ports=None)
        return CreateOrderReply(code=0, order=row)


def place_order(
    market: Market, account_id: int, request: PlaceOrder, now: int, key_id: int | None = None
) -> OrderReply:
    """`create_order` with a limit to what the order may cost, and a lease.

    Raises:
        InvalidInput, Refused: as `create_order`.
    """
    spend_max = _amount("spend_max", request.spend_max)
    lease_until = None if request.lease_seconds is None else now + request.lease_seconds
    with market.store.writing() as tx:
        order, server = _rent(tx, market, account_id, request, now, key_id, spend_max, lease_until)
        return _detail(tx, order, server, now)


def read_order(market: Market, account_id: int, order_id: int, now: int) -> OrderReply:
    """One of the account's orders with its whole history.

    Raises:
        NotFound: it has no such order.
    """
    with market.store.reading() as tx:
        order = _own(orders.by_id(tx, order_id), account_id, order_id)
        (server,) = servers.by_ids(tx, [order.server_id])
        return _detail(tx, order, server, now)


def renew_lease(market: Market, account_id: int, order_id: int, request: RenewLease, now: int) -> OrderReply:
    """Let an order live on for so long from now, or give up its lease.

    Raises:
        NotFound: the account has no such order.
        Refused: order_not_active.
    """
    with market.store.writing() as tx:
        order = _own(orders.by_id(tx, order_id), account_id, order_id)
        with settlement.settling(tx, market.policy, now) as books:
            settlement.bring_up(books, account_id, order.currency)
            order = _own(books.order(order_id), account_id, order_id)
            server = servers.by_id(tx, order.server_id)
            if order.state is State.ENDED or server is None:
                raise Refused(Refusal.ORDER_NOT_ACTIVE)
            lease_until = None if request.lease_seconds is None else now + request.lease_seconds
            order = msgspec.structs.replace(order, lease_until=lease_until)
            books.put(order)
            events.append(
                tx,
                events.Kind.ORDER_LEASED,
                now,
                account_id=account_id,
                server_id=order.server_id,
                order_id=order.id,
                lease_until=lease_until,
            )
        return _detail(tx, order, server, now)


def _own(order: Order | None, account_id: int, order_id: int) -> Order:
    if order is None or order.account_id != account_id:
        raise NotFound(f"you have no order {order_id}")
    return order


def cancel_order(market: Market, account_id: int, request: CancelOrder, now: int) -> None:
    """End one's own order; its started minutes stay charged.

    Raises:
        Refused: not the caller's order (or none), already ended, or an `issue` that is too long.
    """
    if request.issue is not None and len(request.issue) > ISSUE_LENGTH_MAX:
        raise Refused(Refusal.ISSUE_DESCRIPTION_TOO_LONG)
    with market.store.writing() as tx:
        with settlement.settling(tx, market.policy, now) as books:
            cancel(books, account_id, int(request.id))
        if request.issue:
            orders.add_issue(tx, int(request.id), request.issue, now)


def cancel(books: Books, account_id: int, order_id: int) -> None:
    """End one's own order; the next bid gets its machine.

    Raises:
        Refused: not the caller's order (or none), or already ended.
    """
    books.read([account_id])
    order = books.order(order_id)
    if order is None or order.account_id != account_id:
        raise Refused(Refusal.YOU_DONT_OWN_THIS_ORDER)
    settlement.bring_up(books, account_id, order.currency)
    order = books.order(order_id)
    if order is None or order.state is State.ENDED:
        raise Refused(Refusal.ORDER_NOT_ACTIVE)
    settlement.end(books, order, books.now, EndReason.CANCELLED)
    settlement.reassign(books)


def my_orders(
    market: Market,
    account_id: int,
    request: MyOrders,
    now: int,
    *,
    row_delay_seconds: int = 0,
    linger_seconds: int = 0,
) -> MyOrdersReply:
    """The account's orders, oldest first.

    Those younger than `row_delay_seconds` are left out; those that ended less than `linger_seconds` ago are
    shown though finished ones were not asked for.
    """
    ended_since = now - linger_seconds if linger_seconds else None
    with market.store.reading() as tx:
        found = orders.of_renter(tx, account_id, with_ended=request.return_completed, ended_since=ended_since)
        found = [order for order in found if order.created_at <= now - row_delay_seconds]
        machines = {s.id: s for s in servers.by_ids(tx, sorted({order.server_id for order in found}))}
        limit = orders_max(market.policy, accounts.by_id(tx, account_id))
    rows = [_row(order, machines[order.server_id], now) for order in found]
    return MyOrdersReply(code=0, orders=rows, limit=limit)


def orders_max(policy: Policy, account: Account) -> int:
    return policy.orders_max if account.orders_max is None else account.orders_max


def _rent(
    tx: Connection,
    market: Market,
    account_id: int,
    request: CreateOrder,
    now: int,
    key_id: int | None,
    spend_max: int | None = None,
    lease_until: int | None = None,
) -> tuple[Order, Server]:
    """Make the order a renter asks for; the order as it is then, and its server."""
    check_bounds(market.policy.order_bounds, request.env, request.command, ports=len(_wanted_ports(request)))
    kind = Kind(request.type)
    bid = _amount("spotprice", request.spotprice)
    if kind is Kind.SPOT and bid is None:
        raise InvalidInput("spotprice: a spot order needs its bid, per day in its currency")
    if kind is Kind.ON_DEMAND:
        bid = None
    with settlement.settling(tx, market.policy, now) as books:
        settlement.bring_up_account(books, account_id)
        settlement.bring_up_holder(books, request.renting_server)
        server = books.server(request.renting_server)
        parties = accounts.by_ids(tx, [account_id, server.account_id] if server else [account_id])
        account = parties[account_id]
        currency, prices = _admitted(books, account, server, request, bid)
        assert server is not None
        if request.dockerhub_auth and not _DOCKERHUB_AUTH.fullmatch(request.dockerhub_auth):
            raise Refused(DOCKERHUB_AUTH_INVALID, message='dockerhub_auth: must be "user:token"')
        pegged = server.settings.pegged.get(currency)
        order = enter(
            books,
            server,
            Order(
                **terms(books, account, parties[server.account_id], server, currency, kind),
                image=request.image,
                price=prices[currency].on_demand if bid is None else bid,
                original_price_usd=pegged.on_demand if pegged and bid is None else None,
                deployment=_deployment(request, server),
                key_id=key_id,
                spend_max=spend_max,
                lease_until=lease_until,
            ),
        )
    made = books.order(order.id)
    assert made is not None
    return made, server


def _admitted(
    books: Books, account: Account, server: Server | None, request: CreateOrder, bid: int | None
) -> tuple[Currency, dict[Currency, Pricing]]:
    """The currency in which an order may be made, and the prices of its server.

    Raises:
        Refused: it may not be made.
    """
    present = books.active_on(request.renting_server)
    pegged = rates.pegged(books.tx) if server and server.settings.pegged else {}
    prices = server_rules.in_force(server.settings, pegged) if server else {}
    today = books.now // DAY_SECONDS * DAY_SECONDS
    per_day_max = books.policy.orders_per_day_max
    currency = order_rules.admit(
        order_rules.Wish(
            account_id=account.id,
            currency=request.currency,
            server_exists=server is not None and _visible(server, account.id),
            bid=bid,
            required_price=_amount("required_price", request.required_price),
            required_price_is_exact=books.policy.required_price == "exact",
            host_id=server.account_id if server else 0,
            server_online=server.online if server else False,
            on_gigaspot=server is not None and server.gigaspot is not None,
            rented=any(not order.is_bid for order in present),
            has_bid=any(order.is_bid and order.account_id == account.id for order in present),
            prices=prices,
            active_orders=len(books.active_of(account.id)),
            orders_max=orders_max(books.policy, account),
            orders_today=orders.made_since(books.tx, account.id, today) if per_day_max else 0,
            orders_per_day_max=per_day_max,
        )
    )
    return currency, prices


def terms(
    books: Books, account: Account, host: Account, server: Server, currency: Currency, kind: Kind
) -> dict[str, Any]:
    """What the market decides about a new order: parties, fees, times."""
    fees, is_bid = books.policy.fees, kind is not Kind.ON_DEMAND
    return {
        "id": 0,
        "account_id": account.id,
        "host_id": host.id,
        "server_id": server.id,
        "kind": kind,
        "currency": currency,
        "renter_fee": fees.renter_basis_points(bid=is_bid, poh_stake=account.poh_stake),
        "host_fee": fees.host_basis_points(currency, bid=is_bid, poh_stake=host.poh_stake),
        "creation_fee": money.from_wire(fees.creation.get(currency, 0)),
        "creation_grace_seconds": fees.creation_grace_seconds,
        "created_at": books.now,
        "posted_at": books.now,
        "mrl_seconds": server.settings.mrl_hours * 3_600,
        "public_address": server.public_address,
    }


def enter(books: Books, server: Server, order: Order) -> Order:
    """Bring a new order of a settled account to its server; the order with its id.

    An order on demand takes the machine at once, from a bid if one has it. A bid waits, unless it is the
    best.

    Raises:
        Refused: not_enough_balance or spend_limit_reached.
    """
    running = msgspec.structs.replace(order, active_since=books.now, began=True)
    books.expect(order.host_id)
    settlement.bring_up(books, order.account_id, order.currency)
    settlement.afford(books, running, max(1, billing.cost(running, books.now).charge), order.creation_fee)
    last_port = order.deployment.ports[-1].public if order.deployment.ports else None
    if order.is_bid:
        order = settlement.begin(books, msgspec.structs.replace(order, state=State.WAITING))
        if last_port is not None:
            servers.set_last_port(books.tx, server.id, last_port)
    else:
        holder = books.holder(server.id)
        if holder is not None:
            settlement.outbid(books, holder)
        order = settlement.begin(books, running)
        servers.assignments_changed(books.tx, server.id, last_port)
    events.append(
        books.tx,
        events.Kind.ORDER_CREATED,
        books.now,
        account_id=order.account_id,
        server_id=server.id,
        order_id=order.id,
        type=order.kind,
        price=money.to_text(order.price),
        currency=order.currency,
        **statements.terms(order),
        lease_until=order.lease_until,
    )
    settlement.reassign(books, server.id)
    return order


def _visible(server: Server, account_id: int) -> bool:
    if server.removed_at is not None:
        return False
    return server.account_id == account_id or server.settings.visibility is Visibility.PUBLIC


def check_bounds(
    bounds: OrderBounds,
    env: dict[str, str] | None,
    command: str | None = None,
    ports: int = 0,
    *,
    within: str = "",
) -> None:
    """What this market's operator allows a container; `within` is where its members are, such as "[3].".

    Raises:
        InvalidInput: something is too long or too many.
    """
    env = env or {}
    longest = max(map(len, env.values()), default=0)
    for member, found, most, what in (
        ("ports", ports, bounds.ports_max, "ports"),
        ("env", len(env), bounds.env_variables_max, "variables"),
        ("env", longest, bounds.env_value_length_max, "characters in a value"),
        ("command", len(command or ""), bounds.command_length_max, "characters"),
    ):
        if found > most:
            raise InvalidInput(f"{within}{member}: at most {most} {what}, got {found}")


def _wanted_ports(request: CreateOrder) -> dict[str, PortKind]:
    """The container ports to publish; SSH that the platform brings in needs its own."""
    ports = dict(request.ports or {})
    if _autossh(request):
        ports.setdefault("22", "tcp")
    return ports


def _autossh(request: CreateOrder) -> bool:
    """Texts were seen in the wild."""
    return str(request.autossh_entrypoint).lower() in ("true", "1", "yes")


def _deployment(request: CreateOrder, server: Server) -> Deployment:
    kinds = _wanted_ports(request)
    wanted = [int(port) for port in kinds]
    ports = order_rules.assign_ports(wanted, server.port_low, server.port_high, server.last_port)
    if ports is None:
        raise InvalidInput(
            f"ports: this server has {server.port_high - server.port_low + 1} public ports, "
            f"the order wants {len(wanted)}"
        )
    access = {
        "SSH_PASSWORD": request.ssh_password,
        "SSH_KEY": request.ssh_key,
        "JUPYTER_TOKEN": request.jupyter_token,
    }
    return Deployment(
        ports=ports,
        http_port=next((int(port) for port, kind in kinds.items() if kind == "http"), None),
        env={name: value for name, value in access.items() if value} | dict(request.env or {}),
        command=request.command or "",
        registry_auth=request.dockerhub_auth or "",
        autossh=_autossh(request),
    )


def _amount(member: str, number: float | None) -> int | None:
    return None if number is None else money.of_member(member, number)


def _detail(tx: Connection, order: Order, server: Server, now: int) -> OrderReply:
    history = [
        OrderStep(event_id=event.id, at=event.at, kind=event.kind, data=event.data)
        for event in events.of_order(tx, order.id)
    ]
    key = next((k.name for k in accounts.keys_of(tx, order.account_id) if k.id == order.key_id), None)
    return OrderReply(
        code=0,
        order=OrderDetail(
            order=_row(order, server, now),
            charged=money.to_wire(billing.cost(order, now).charge),
            history=history,
            lease_until=order.lease_until,
            spend_max=None if order.spend_max is None else money.to_wire(order.spend_max),
            key=key,
        ),
    )


def _row(order: Order, server: Server, now: int) -> OrderRow:
    """An order as its renter sees it. Only finished rows carry `expired`."""
    ended = order.state is State.ENDED
    http = next((p for p in order.deployment.ports if p.container == order.deployment.http_port), None)
    return OrderRow(
        id=order.id,
        si=order.server_id,
        ct=order.created_at,
        mrl=order.mrl_seconds,
        price=money.to_wire(order.price),
        original_price_usd=None
        if order.original_price_usd is None
        else money.to_wire(order.original_price_usd),
        currency=order.currency,
        spend=money.to_wire(billing.cost(order, now).spend),
        creation_fee=money.to_wire(order.creation_fee),
        image=order.image,
        spot=order.is_bid,
        expired=True if ended else None,
        online=server.online,
        mon_container=_mon_container(order),
        status=order.container_detail or None,
        paused=True if order.state is State.WAITING else None,
        pub_cluster=[order.public_address],
        tcp_ports=[f"{port.container}:{port.public}" for port in order.deployment.ports if port is not http],
        http_port=str(http.container) if http else None,
        http_pub=f"{order.public_address}:{http.public}" if http else None,
        specs=server.specs,
        rating=Rating(avg=0, cnt=0),
        owner=order.host_id,
        cuda_version=server.cuda_version,
        gpu_array=list(server.gpu_array),
        order_end=order.ended_at if ended else order.ends_at,
        state=order.state,
        end_reason=order.end_reason,
        end_detail=order.end_detail or None,
    )


def _mon_container(order: Order) -> int:
    if order.end_reason is EndReason.FAILED:
        return 1
    return 2 if order.deployed else 0

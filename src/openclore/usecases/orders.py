"""Renting: list, create, cancel."""

import msgspec

from ..api.codes import Refusal
from ..api.offers import Rating
from ..api.orders import (
    ISSUE_LENGTH_MAX,
    CancelOrder,
    CreateOrder,
    CreateOrderReply,
    MyOrders,
    MyOrdersReply,
)
from ..api.orders import Order as OrderRow
from ..rules import billing, money
from ..rules import orders as order_rules
from ..rules.orders import Deployment, EndReason, Order, State
from ..rules.refused import InvalidInput, Refused
from ..rules.servers import Server, Visibility
from ..store import accounts, events, ledger, orders, servers
from ..store.accounts import Account
from . import settlement
from .market import Market


def create_order(market: Market, account_id: int, request: CreateOrder, now: int) -> CreateOrderReply:
    """Rent a server on demand. Its first minute is charged at once.

    Raises:
        InvalidInput: something this market does not offer.
        Refused: as the protocol names it; nothing changed.
    """
    if request.type == "spot":
        raise InvalidInput("type: this market does not offer spot orders, use on-demand")
    if request.autossh_entrypoint in (True, "true", "True", "1"):
        raise InvalidInput("autossh_entrypoint: this market does not install SSH into images, send false")
    required_price = _amount("required_price", request.required_price)
    with market.store.writing() as tx:
        settlement.settle_account(tx, market.policy, account_id, now)
        settlement.settle_holder(tx, market.policy, request.renting_server, now)
        account = accounts.by_id(tx, account_id)
        server = servers.by_id(tx, request.renting_server)
        visible = server is not None and (
            server.account_id == account_id or server.settings.visibility is Visibility.PUBLIC
        )
        currency = order_rules.admit(
            order_rules.Wish(
                account_id=account_id,
                currency=request.currency,
                required_price=required_price,
                server_exists=visible,
                host_id=server.account_id if server else 0,
                server_online=server.online if server else False,
                server_rented=server is not None and orders.active_on_server(tx, server.id) is not None,
                accepted=server.settings.accepted if server else {},
                active_orders=orders.count_active(tx, account_id),
                orders_max=_orders_max(market, account),
            )
        )
        assert server is not None
        deployment = _deployment(request, server)
        fees = market.policy.fees
        order = Order(
            id=0,
            account_id=account_id,
            host_id=server.account_id,
            server_id=server.id,
            currency=currency,
            image=request.image,
            price=server.settings.accepted[currency],
            renter_fee=fees.renter_basis_points(),
            host_fee=fees.host_basis_points(currency),
            creation_fee=money.from_wire(fees.creation.get(currency, 0)),
            creation_grace_seconds=fees.creation_grace_seconds,
            created_at=now,
            mrl_seconds=server.settings.mrl_hours * 3_600,
            active_since=now,
            posted_at=now,
            public_address=server.public_address,
            deployment=deployment,
        )
        needed = max(1, billing.cost(order, now).charge + order.creation_fee)
        if ledger.wallet(tx, account_id, currency).balance < needed:
            raise Refused(Refusal.NOT_ENOUGH_BALANCE)
        order = orders.add(tx, order)
        servers.assignments_changed(tx, server.id)
        if deployment.ports:
            servers.set_last_port(tx, server.id, deployment.ports[-1].public)
        events.append(
            tx,
            events.Kind.ORDER_CREATED,
            now,
            account_id=account_id,
            server_id=server.id,
            order_id=order.id,
        )
        settlement.settle(tx, market.policy, account_id, currency, now)
        # Without the two members whose documented shape the official SDK can't read: a program that uses
        # it gets its order, and `my_orders` has them.
        row = msgspec.structs.replace(_row(order, server, now), pub_cluster=None, tcp_ports=None)
        return CreateOrderReply(code=0, order=row)


def cancel_order(market: Market, account_id: int, request: CancelOrder, now: int) -> None:
    """End one's own order; its started minutes stay charged.

    Raises:
        Refused: not the caller's order (or none), already ended, or an `issue` that is too long.
    """
    if request.issue is not None and len(request.issue) > ISSUE_LENGTH_MAX:
        raise Refused(Refusal.ISSUE_DESCRIPTION_TOO_LONG)
    with market.store.writing() as tx:
        order = orders.by_id(tx, int(request.id))
        if order is None or order.account_id != account_id:
            raise Refused(Refusal.YOU_DONT_OWN_THIS_ORDER)
        settlement.settle(tx, market.policy, account_id, order.currency, now)
        order = orders.by_id(tx, order.id)
        if order is None or order.state is State.ENDED:
            raise Refused(Refusal.ORDER_NOT_ACTIVE)
        settlement.end(tx, order, now, EndReason.CANCELLED)
        settlement.settle(tx, market.policy, account_id, order.currency, now)
        if request.issue:
            orders.add_issue(tx, order.id, request.issue, now)


def my_orders(market: Market, account_id: int, request: MyOrders, now: int) -> MyOrdersReply:
    """The account's orders, oldest first."""
    with market.store.reading() as tx:
        found = orders.of_renter(tx, account_id, with_ended=request.return_completed)
        machines = {s.id: s for s in servers.by_ids(tx, sorted({order.server_id for order in found}))}
        limit = _orders_max(market, accounts.by_id(tx, account_id))
    rows = [_row(order, machines[order.server_id], now) for order in found]
    return MyOrdersReply(code=0, orders=rows, limit=limit)


def _orders_max(market: Market, account: Account) -> int:
    return market.policy.orders_max if account.orders_max is None else account.orders_max


def _deployment(request: CreateOrder, server: Server) -> Deployment:
    wanted = [int(port) for port in request.ports or {}]
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
        http_port=next((int(port) for port, kind in (request.ports or {}).items() if kind == "http"), None),
        env={name: value for name, value in access.items() if value} | dict(request.env or {}),
        command=request.command or "",
        registry_auth=request.dockerhub_auth or "",
    )


def _amount(member: str, number: float | None) -> int | None:
    try:
        return None if number is None else money.from_wire(number)
    except money.AmountError as error:
        raise InvalidInput(f"{member}: {error}") from None


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
        currency=order.currency,
        spend=money.to_wire(billing.cost(order, now).spend),
        creation_fee=money.to_wire(order.creation_fee),
        image=order.image,
        spot=False,
        expired=True if ended else None,
        online=server.online,
        mon_container=_mon_container(order),
        status=order.container_detail or None,
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

"""GigaSPOT: machines that are auctioned apart from the market, many bids at a time.

The auction is the spot market's: the highest bid runs, the earlier one of a tie. Here a bid is in CLORE, asks
for clocks of the GPUs, has no ports, and may be lowered at any time.
"""

from collections.abc import Iterable, Sequence

import msgspec
from sqlalchemy import Connection

from ..api.clocks import Range, clocks_refusal, gpu_ranges
from ..api.codes import Refusal
from ..api.currencies import Currency
from ..api.gigaspot import (
    CancelOrders,
    CancelOrdersReply,
    CreateGigaspotOrder,
    CreateGigaspotOrdersReply,
    EditGigaspotOrder,
    EditGigaspotOrdersReply,
    GigaspotReply,
    GpuClocks,
    Snapshot,
    SnapshotBid,
    SnapshotGpu,
    SnapshotServer,
)
from ..api.open.servers import SetGigaspot
from ..api.specs import Specs
from ..rules import money
from ..rules import orders as order_rules
from ..rules import servers as server_rules
from ..rules.orders import Deployment, EndReason, Kind, Order, State, Wish
from ..rules.policy import Policy
from ..rules.refused import InvalidInput, Refused
from ..rules.servers import DAY_SECONDS, GigaspotTerms, Pricing, Server, Visibility
from ..store import accounts, events, orders, rates, servers
from ..store.accounts import Account
from . import settlement
from .books import Books
from .market import Market
from .orders import cancel, check_bounds, enter, orders_max, terms
from .servers import own
from .spot import check_own_limit, reprice


class _ClocksRefused(Exception):
    """The machine can't run so; the message says why, for the renter."""


# Bidding --------------------------------------------------------------------------------------------


def get_gigaspot(market: Market, account_id: int, snapshot_url: str) -> GigaspotReply:
    """What a bidder needs to know before reading the snapshot."""
    with market.store.reading() as tx:
        clore = rates.every(tx).get(Currency.CLORE)
    creation = market.policy.fees.creation.get(Currency.CLORE, 0)
    return GigaspotReply(
        code=0,
        my_user_id=account_id,
        v1_snapshot_url=snapshot_url,
        clore_price=None if clore is None else money.to_wire(clore),
        creation_fees={Currency.CLORE: creation},
    )


def create_gigaspot_orders(
    market: Market,
    account_id: int,
    request: Sequence[CreateGigaspotOrder],
    now: int,
    key_id: int | None = None,
) -> CreateGigaspotOrdersReply:
    """Bid on many machines, in the order given. A bid that is refused leaves nothing; the others stand.

    Raises:
        InvalidInput: a bid is wrong as it stands, or a server is named twice; no bid was made.
    """
    _once("renting_server", [bid.renting_server for bid in request])
    for number, bid in enumerate(request):
        check_bounds(market.policy.order_bounds, bid.env, within=f"[{number}].")
    reply, reasons = CreateGigaspotOrdersReply(code=0), {}
    with market.store.writing() as tx, settlement.settling(tx, market.policy, now) as books:
        settlement.bring_up_account(books, account_id)
        active = books.active_of(account_id)
        today = orders.made_since(tx, account_id, now // DAY_SECONDS * DAY_SECONDS)
        bids_on = {order.server_id for order in active if order.is_bid}
        machines = {s.id: s for s in servers.by_ids(tx, [bid.renting_server for bid in request])}
        parties = accounts.by_ids(tx, [account_id, *(server.account_id for server in machines.values())])
        account = parties[account_id]
        books.presences(list(machines))
        made = 0
        for bid in request:
            server_id = bid.renting_server
            server = machines.get(server_id)
            # A bid made just before may have shown that this machine is silent.
            presence = books.presence(server_id)
            wish = _wish(
                market,
                account,
                server,
                bid,
                server_online=presence is not None and presence.online,
                has_bid=server_id in bids_on,
                active_orders=len(active) + made,
                orders_today=today + made,
            )
            try:
                currency = order_rules.admit(wish)
                assert server is not None
                order = Order(
                    **terms(books, account, parties[server.account_id], server, currency, Kind.GIGASPOT),
                    image=_image(market.policy, bid.image),
                    price=money.from_wire(bid.price),
                    deployment=Deployment(env=dict(bid.env or {}), clocks=_clocks(server, bid.oc)),
                    key_id=key_id,
                )
                enter(books, server, order)
                made += 1
            except _ClocksRefused as refused:
                reply.failed_to_oc_servers.append(server_id)
                reasons[server_id] = str(refused)
            except Refused as refused:
                reply.failed_to_rent_servers.append(server_id)
                if refused.refusal is Refusal.TOO_LOW_PRICE:
                    reply.too_low_bids_servers.append(server_id)
                reasons[server_id] = str(refused)
    return msgspec.structs.replace(reply, reasons=reasons)


def _wish(
    market: Market,
    account: Account,
    server: Server | None,
    bid: CreateGigaspotOrder,
    *,
    server_online: bool,
    has_bid: bool,
    active_orders: int,
    orders_today: int,
) -> Wish:
    offered = server is not None and _is_offered(server)
    floor = server.gigaspot.min_bid if server is not None and server.gigaspot is not None else 0
    return Wish(
        account_id=account.id,
        currency=bid.currency,
        server_exists=offered,
        bid=money.from_wire(bid.price),
        host_id=server.account_id if server else 0,
        server_online=server_online,
        has_bid=has_bid,
        prices={Currency.CLORE: Pricing(spot=floor, accepted=True)},
        active_orders=active_orders,
        orders_max=orders_max(market.policy, account),
        orders_today=orders_today,
        orders_per_day_max=market.policy.orders_per_day_max,
    )


def _image(policy: Policy, image_id: str) -> str:
    """
    Raises:
        Refused: the market does not know this image.
    """
    image = policy.gigaspot.images.get(image_id)
    if image is None:
        raise Refused("image-dont-exist")
    return image


def edit_gigaspot_orders(
    market: Market,
    account_id: int,
    request: Sequence[EditGigaspotOrder],
    now: int,
    key_id: int | None = None,
) -> EditGigaspotOrdersReply:
    """Change prices and clocks of many bids, in the order given. One that is refused stays as it is.

    New clocks are set on a running container's GPUs; it is not started anew.

    Raises:
        InvalidInput: a change is wrong as it stands, or an order is named twice; nothing changed.
    """
    _once("order_id", [edit.order_id for edit in request])
    reply, reasons = EditGigaspotOrdersReply(code=0), {}
    with market.store.writing() as tx, settlement.settling(tx, market.policy, now) as books:
        settlement.bring_up_account(books, account_id)
        for edit in request:
            try:
                _edit(books, account_id, edit, key_id)
                reply.success_to_update_ids.append(edit.order_id)
            except (_ClocksRefused, Refused) as refused:
                reply.failed_to_update_ids.append(edit.order_id)
                if isinstance(refused, Refused) and refused.refusal is Refusal.TOO_LOW_PRICE:
                    reply.too_low_bid_ids.append(edit.order_id)
                reasons[edit.order_id] = str(refused)
    return msgspec.structs.replace(reply, reasons=reasons)


def _edit(books: Books, account_id: int, edit: EditGigaspotOrder, key_id: int | None) -> None:
    """
    Raises:
        Refused, _ClocksRefused: nothing was written.
    """
    order = books.order(edit.order_id)
    if order is None or order.account_id != account_id or order.kind is not Kind.GIGASPOT:
        raise Refused(Refusal.ORDER_DONT_EXIST)
    if order.state is State.ENDED:
        raise Refused(Refusal.ORDER_NOT_ACTIVE)
    server = servers.by_id(books.tx, order.server_id)
    assert server is not None
    assert server.gigaspot is not None
    price = money.from_wire(edit.price)
    if price != order.price and price < server.gigaspot.min_bid:
        raise Refused(Refusal.TOO_LOW_PRICE)
    check_own_limit(books.tx, order, price, key_id)
    if edit.oc is not None and edit.oc != order.deployment.clocks:
        order = _set_clocks(books, order, _clocks(server, edit.oc))
    reprice(books, order, price)


def _set_clocks(books: Books, order: Order, clocks: list[GpuClocks]) -> Order:
    deployment = msgspec.structs.replace(order.deployment, clocks=clocks)
    order = msgspec.structs.replace(order, deployment=deployment)
    books.put(order)
    if order.holds:
        servers.assignments_changed(books.tx, order.server_id)
    events.append(
        books.tx,
        events.Kind.ORDER_CHANGED,
        books.now,
        account_id=order.account_id,
        server_id=order.server_id,
        order_id=order.id,
        clocks=msgspec.to_builtins(clocks),
    )
    return order


def cancel_orders(market: Market, account_id: int, request: CancelOrders, now: int) -> CancelOrdersReply:
    """End many of one's own orders, of any kind. An id that is named twice counts once."""
    reasons: dict[int, str] = {}
    with market.store.writing() as tx, settlement.settling(tx, market.policy, now) as books:
        settlement.bring_up_account(books, account_id)
        for order_id in dict.fromkeys(request.order_ids):
            try:
                cancel(books, account_id, order_id)
            except Refused as refused:
                reasons[order_id] = str(refused)
    return CancelOrdersReply(code=0, failed_to_cancel=list(reasons), reasons=reasons)


def _once(member: str, ids: Sequence[int]) -> None:
    """The reply tells by id what was refused: one named twice could not be told apart.

    Raises:
        InvalidInput: an id is there twice.
    """
    first: dict[int, int] = {}
    for number, named in enumerate(ids):
        if first.setdefault(named, number) != number:
            raise InvalidInput(f"[{number}].{member}: {named} is named in [{first[named]}] already")


def _clocks(server: Server, clocks: list[GpuClocks]) -> list[GpuClocks]:
    """
    Raises:
        _ClocksRefused: the machine can't run so.
    """
    refusal = clocks_refusal(server.specs.gpus if server.specs else None, clocks)
    if refusal:
        raise _ClocksRefused(refusal)
    return clocks


def _is_offered(server: Server) -> bool:
    return server.gigaspot is not None and server.settings.visibility is Visibility.PUBLIC


# Hosting --------------------------------------------------------------------------------------------


def set_gigaspot(market: Market, account_id: int, server_id: int, request: SetGigaspot, now: int) -> None:
    """Put a server on GigaSPOT, change its terms, or take it off.

    Whichever way a server moves, the bids of the market it leaves end, charged to this second. An order on
    demand goes on: until it is over, bids wait. A new floor is for new bids and prices.

    Raises:
        NotFound: the account has no such server.
    """
    offered = None
    if request.min_bid is not None:
        offered = GigaspotTerms(min_bid=money.from_wire(request.min_bid), energy_price=request.energy_price)
    with market.store.writing() as tx:
        server = own(tx, account_id, server_id)
        if offered == server.gigaspot:
            return
        servers.save_gigaspot(tx, server_id, offered)
        events.append(
            tx, events.Kind.SERVER_GIGASPOT_CHANGED, now, account_id=account_id, server_id=server_id
        )
        if offered is None:
            _end_bids(tx, market, server_id, now, "the host took the machine off GigaSPOT")
        elif server.gigaspot is None:
            _end_bids(tx, market, server_id, now, "the host moved the machine to GigaSPOT")


def _end_bids(tx: Connection, market: Market, server_id: int, now: int, detail: str) -> None:
    """End all bids on a machine, those that wait first: none of them is to win now."""
    bids = [order for order in orders.active_on_server(tx, server_id) if order.is_bid]
    for bid in sorted(bids, key=lambda bid: bid.holds):
        with settlement.settling(tx, market.policy, now) as books:
            settlement.bring_up(books, bid.account_id, bid.currency)
            current = books.order(bid.id)
            if current is not None and current.state is not State.ENDED:
                settlement.end(books, current, now, EndReason.CANCELLED, detail)


# The snapshot ---------------------------------------------------------------------------------------


def snapshot(market: Market, now: int) -> Snapshot:
    """Every public server on GigaSPOT that has ever connected, with the bids on it, best first."""
    with market.store.reading() as tx:
        offered = [s for s in servers.on_gigaspot(tx) if _is_offered(s) and s.connected_at is not None]
        ids = [server.id for server in offered]
        holders, uptimes = orders.holders(tx, ids), servers.uptime_seconds(tx, ids, now)
        bids: dict[int, list[Order]] = {}
        for bid in orders.active_of_kind(tx, Kind.GIGASPOT):
            bids.setdefault(bid.server_id, []).append(bid)
    return {
        str(server.id): _snapshot_server(
            server,
            sorted(bids.get(server.id, []), key=lambda bid: (-bid.price, bid.created_at, bid.id)),
            on_demand_rented=holders.get(server.id) is Kind.ON_DEMAND,
            uptime_seconds=uptimes.get(server.id, 0),
        )
        for server in offered
    }


def _snapshot_server(
    server: Server, bids: Iterable[Order], *, on_demand_rented: bool, uptime_seconds: int
) -> SnapshotServer:
    specs = server.specs or Specs()
    cores, threads = _cores(specs)
    assert server.gigaspot is not None
    return SnapshotServer(
        bids=[_snapshot_bid(bid) for bid in bids],
        on_demand_rented=on_demand_rented,
        online=server.online,
        working_properly=True,
        cpu=specs.cpu,
        cores=cores,
        threads=threads,
        ram=specs.ram,
        host=server.account_id,
        cc=specs.net.cc if specs.net else None,
        cuda=server.cuda_version,
        gpus=_snapshot_gpus(server, specs),
        max_rental_length=server.settings.mrl_hours * 3_600,
        reliability=server_rules.reliability(server.connected_at, uptime_seconds, server.seen_until),
        min_bid=money.to_wire(server.gigaspot.min_bid),
        energy_price=server.gigaspot.energy_price,
    )


def _snapshot_bid(bid: Order) -> SnapshotBid:
    return SnapshotBid(
        owner=bid.account_id,
        id=bid.id,
        active=bid.holds,
        to_cache=bid.holds and not bid.deployed,
        cached=bid.deployed,
        price=money.to_wire(bid.price),
        currency=bid.currency,
        pl=[clocks.pl for clocks in bid.deployment.clocks],
    )


def _snapshot_gpus(server: Server, specs: Specs) -> list[SnapshotGpu]:
    if specs.gpus is None:
        return [SnapshotGpu(model=name.strip()) for name in server.gpu_array]
    return [
        SnapshotGpu(
            model=gpu.type,
            pl=_pair(gpu.pl),
            mem_lock=_pair(gpu.mem_lock),
            core_lock=_pair(gpu.core_lock),
            mem_offset=_pair(gpu.mem_offset),
            core_offset=_pair(gpu.core_offset),
        )
        for gpu in gpu_ranges(specs.gpus)
    ]


def _pair(allowed: Range | None) -> list[float] | None:
    return None if allowed is None else list(allowed)


def _cores(specs: Specs) -> tuple[int | None, int | None]:
    """Cores and threads from "16/32"."""
    cores, _, threads = (specs.cpus or "").partition("/")
    return _whole(cores), _whole(threads)


def _whole(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 6 else None

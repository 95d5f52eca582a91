"""What a machine's agent does: register, connect, report; and what silence means."""

import msgspec
from sqlalchemy import Connection

from ..api.hostlink import Assignment, Assignments, Container, Hello, Registered
from ..rules import billing
from ..rules import orders as order_rules
from ..rules import servers as server_rules
from ..rules.orders import EndReason, Order, State
from ..rules.servers import Server
from ..store import events, ledger, orders, servers
from . import settlement
from .market import Market
from .secrets import hashed, new_key

_EVIDENCE_BATCH = 5_000


def register(market: Market, init_token: str) -> Registered | None:
    """Exchange an init token for a credential; None if it is unknown or used.

    The token stays good until a credential has connected, so an agent that crashed before it saved its
    credential can ask again; only the newest credential works.
    """
    with market.store.writing() as tx:
        server = servers.by_init_token(tx, init_token)
        if server is None:
            return None
        credential = new_key()
        servers.set_credential_hash(tx, server.id, hashed(credential))
        return Registered(server_id=server.id, server_name=server.name, credential=credential)


def server_of(market: Market, credential: str) -> Server | None:
    """Whose credential this is."""
    with market.store.reading() as tx:
        return servers.by_credential_hash(tx, hashed(credential))


def connect(market: Market, server_id: int, hello: Hello, now: int) -> None:
    """Take in what the agent says of its machine, and count it as online."""
    with market.store.writing() as tx:
        server = servers.by_id(tx, server_id)
        assert server is not None
        first = server.connected_at is None
        server = msgspec.structs.replace(
            server,
            init_token=None,
            connected_at=now if first else server.connected_at,
            public_address=hello.public_address,
            port_low=hello.port_low,
            port_high=hello.port_high,
            specs=hello.specs,
            gpu_array=list(hello.gpu_array),
            cuda_version=hello.cuda_version,
        )
        servers.save(tx, server)
        if first:
            events.append(
                tx,
                events.Kind.SERVER_CONNECTED,
                now,
                account_id=server.account_id,
                server_id=server.id,
            )
        _heard(tx, market, server, now)
        _take_in(tx, market, server_id, hello.containers, now)


def report(market: Market, server_id: int, containers: list[Container], now: int) -> None:
    """Take in how the machine's containers are, and count it as online."""
    with market.store.writing() as tx:
        server = servers.by_id(tx, server_id)
        assert server is not None
        _heard(tx, market, server, now)
        _take_in(tx, market, server_id, containers, now)


def keep_evidence(market: Market, heard: dict[int, tuple[int, int]]) -> None:
    """Write down heartbeats, many at once: server id to the (since, until) of which they are evidence."""
    hosts = sorted(heard)
    for first in range(0, len(hosts), _EVIDENCE_BATCH):
        with market.store.writing() as tx:
            servers.heard(tx, {host: heard[host] for host in hosts[first : first + _EVIDENCE_BATCH]})


def sweep(market: Market, now: int) -> None:
    """Take hosts offline that fell silent, and end the orders of those gone for too long."""
    with market.store.reading() as tx:
        silent = servers.silent(tx, now - market.policy.offline_after_seconds)
        lost = servers.lost(tx, now - market.policy.host_lost_after_seconds)
    if not silent and not lost:
        return
    with market.store.writing() as tx:
        for server in silent:
            current = servers.by_id(tx, server.id)
            if current is not None and current.seen_until == server.seen_until:
                _go_offline(tx, market, current, now)
        for server in lost:
            order = orders.active_on_server(tx, server.id)
            current = servers.by_id(tx, server.id)
            if order is not None and current is not None and not current.online:
                settlement.settle(tx, market.policy, order.account_id, order.currency, now)
                _end(tx, market, order.id, now, EndReason.HOST_LOST, "the host was away for too long")


def assignments(market: Market, server_id: int, now: int) -> Assignments:
    """What should run on the machine, and until when it is paid."""
    with market.store.reading() as tx:
        server = servers.by_id(tx, server_id)
        assert server is not None
        order = orders.active_on_server(tx, server_id)
        wanted = [_assignment(tx, market, order, now)] if order else []
    return Assignments(generation=server.generation, orders=wanted)


def _assignment(tx: Connection, market: Market, order: Order, now: int) -> Assignment:
    exhausts_at = ledger.wallet(tx, order.account_id, order.currency).exhausts_at
    ends = [order.ends_at, now + market.policy.host_lost_after_seconds]
    ends += [exhausts_at] if exhausts_at is not None else []
    return Assignment(
        order_id=order.id,
        image=order.image,
        ports=order.deployment.ports,
        env=order.deployment.env,
        command=order.deployment.command,
        paid_until=min(ends),
        registry_auth=order.deployment.registry_auth,
    )


def _heard(tx: Connection, market: Market, server: Server, now: int) -> None:
    """Count a server as online from `now` on; a gap in its heartbeats stays unbilled."""
    if server.online and not server_rules.continues(
        server.seen_until, now, market.policy.offline_after_seconds
    ):
        server = _go_offline(tx, market, server, now)
    if server.online:
        servers.heard(tx, {server.id: (server.seen_until, now)})
        return
    servers.save(tx, msgspec.structs.replace(server, online=True, seen_until=now))
    order = orders.active_on_server(tx, server.id)
    if order is not None:
        orders.save(tx, billing.started(order, now))
        settlement.settle(tx, market.policy, order.account_id, order.currency, now)
    events.append(tx, events.Kind.SERVER_ONLINE, now, account_id=server.account_id, server_id=server.id)


def _go_offline(tx: Connection, market: Market, server: Server, now: int) -> Server:
    """Count a server as offline since its last heartbeat; its order stops accruing there."""
    server = msgspec.structs.replace(server, online=False)
    servers.save(tx, server)
    order = orders.active_on_server(tx, server.id)
    if order is not None:
        orders.save(tx, billing.stopped(order, server.seen_until))
        settlement.settle(tx, market.policy, order.account_id, order.currency, now)
    events.append(
        tx,
        events.Kind.SERVER_OFFLINE,
        now,
        account_id=server.account_id,
        server_id=server.id,
        seen_until=server.seen_until,
    )
    return server


def _take_in(tx: Connection, market: Market, server_id: int, containers: list[Container], now: int) -> None:
    order = orders.active_on_server(tx, server_id)
    container = next((c for c in containers if order is not None and c.order_id == order.id), None)
    if order is None or container is None:
        return
    if container.state == "failed":
        settlement.settle(tx, market.policy, order.account_id, order.currency, now)
        _end(tx, market, order.id, now, EndReason.FAILED, container.detail)
        return
    moved = order_rules.after_report(order, container)
    if moved is not order:
        orders.save(tx, moved)
        events.append(
            tx,
            {
                State.DEPLOYING: events.Kind.ORDER_DEPLOYING,
                State.RUNNING: events.Kind.ORDER_RUNNING,
            }[moved.state]
            if moved.state is not order.state
            else events.Kind.ORDER_CHANGED,
            now,
            account_id=order.account_id,
            server_id=server_id,
            order_id=order.id,
        )


def _end(tx: Connection, market: Market, order_id: int, now: int, reason: EndReason, detail: str) -> None:
    """End an order of a settled wallet, unless settling ended it already."""
    order = orders.by_id(tx, order_id)
    if order is not None and order.state is not State.ENDED:
        settlement.end(tx, order, now, reason, detail)
        settlement.settle(tx, market.policy, order.account_id, order.currency, now)

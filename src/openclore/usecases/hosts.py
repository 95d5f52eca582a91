"""What a machine's agent does: register, connect, report; and what silence means."""

import msgspec
from sqlalchemy import Connection

from ..api.hostlink import Assignment, Assignments, BackgroundJob, Container, Hello, Registered
from ..rules import orders as order_rules
from ..rules import servers as server_rules
from ..rules.orders import EndReason, Order, State
from ..rules.refused import NotFound
from ..rules.servers import Server
from ..store import events, ledger, orders, servers
from . import settlement
from .market import Market
from .secrets import hashed, new_key
from .settlement import settling

_EVIDENCE_BATCH = 5_000


class LinkReplaced(Exception):
    """The connection counts no more; the message is for the agent."""

    def __init__(self) -> None:
        super().__init__("a newer connection of this server took over")


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


def connect(market: Market, server_id: int, hello: Hello, now: int) -> int:
    """Take in what the agent says of its machine, and count it as online; the number of this connection.

    Raises:
        NotFound: the server was removed.
    """
    with market.store.writing() as tx:
        server = _present(tx, server_id)
        link = servers.next_link(tx, server_id)
        known = msgspec.structs.replace(
            server,
            init_token=None,
            connected_at=now if server.connected_at is None else server.connected_at,
            public_address=hello.public_address,
            port_low=hello.port_low,
            port_high=hello.port_high,
            specs=hello.specs,
            gpu_array=list(hello.gpu_array),
            cuda_version=hello.cuda_version,
        )
        if known != server:
            servers.save_facts(tx, known)
            events.append(
                tx,
                events.Kind.SERVER_CONNECTED,
                now,
                account_id=server.account_id,
                server_id=server.id,
            )
        _heard(tx, market, known, now)
        _take_in(tx, market, server_id, hello.containers, now)
    return link


def report(
    market: Market, server_id: int, containers: list[Container], now: int, link: int | None = None
) -> None:
    """Take in how the machine's containers are, and count it as online.

    `link` is the number of the connection that says so.

    Raises:
        NotFound: the server was removed.
        LinkReplaced: its agent has connected anew since, maybe to another process.
    """
    with market.store.writing() as tx:
        server = _present(tx, server_id, link)
        _heard(tx, market, server, now)
        _take_in(tx, market, server_id, containers, now)


def keep_evidence(market: Market, heard: dict[int, tuple[int, int]]) -> None:
    """Write down heartbeats, many at once: server id to the (since, until) of which they are evidence."""
    hosts = sorted(heard)
    for first in range(0, len(hosts), _EVIDENCE_BATCH):
        with market.store.writing() as tx:
            servers.heard(tx, {host: heard[host] for host in hosts[first : first + _EVIDENCE_BATCH]})


def sweep(market: Market, now: int) -> None:
    """Take hosts offline that fell silent, and end the orders of those gone for too long.

    Raises:
        ExceptionGroup: what failed, once all others are done.
    """
    after_seconds = market.policy.offline_after_seconds
    with market.store.reading() as tx:
        silent = servers.silent(tx, now - after_seconds, now + after_seconds)
        lost = servers.lost(tx, now - market.policy.host_lost_after_seconds)
    failed = []
    for judge, server_ids in ((_judge_silent, silent), (_judge_lost, lost)):
        for server_id in server_ids:
            try:
                with market.store.writing() as tx:
                    judge(tx, market, server_id, now)
            except Exception as error:
                failed.append(error)
    if failed:
        raise ExceptionGroup("hosts that can't be judged", failed)


def assignments(market: Market, server_id: int, now: int, link: int | None = None) -> Assignments:
    """What should run on the machine, until when it is paid, and what should run while it is free.

    `link` is the number of the connection that asks.

    Raises:
        NotFound: the server was removed.
        LinkReplaced: its agent has connected anew since, maybe to another process.
    """
    with market.store.reading() as tx:
        server = _present(tx, server_id, link)
        order = orders.holder(tx, server_id)
        wanted = [_assignment(tx, market, order, now)] if order else []
    return Assignments(generation=server.generation, orders=wanted, now=now, background=_background(server))


def _background(server: Server) -> BackgroundJob | None:
    job = server.background_job
    if job is None:
        return None
    return BackgroundJob(
        image=job.image, command=job.command, env=job.env, revision=server.background_updates
    )


def _assignment(tx: Connection, market: Market, order: Order, now: int) -> Assignment:
    wallet = ledger.wallets_of(tx, order.account_id).get(order.currency)
    exhausts_at = wallet.exhausts_at if wallet else None
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
        autossh=order.deployment.autossh,
        clocks=order.deployment.clocks,
    )


def _present(tx: Connection, server_id: int, link: int | None = None) -> Server:
    server = servers.by_id(tx, server_id)
    if server is None:
        raise NotFound(f"server {server_id} was removed")
    if link not in (None, server.link):
        raise LinkReplaced
    return server


def _heard(tx: Connection, market: Market, server: Server, now: int) -> None:
    """Count a server as online from `now` on; a gap in its heartbeats stays unbilled."""
    after_seconds = market.policy.offline_after_seconds
    if server.online and server_rules.continues(server.seen_until, now, after_seconds):
        servers.heard(tx, {server.id: (server.seen_until, now)})
        return
    if server.online:
        _take_offline(tx, market, server.id, now)
    servers.set_presence(tx, server.id, online=True, seen_until=now)
    with settling(tx, market.policy, now) as books:
        settlement.resume(books, server.id)
        order = books.holder(server.id)
    events.append(
        tx,
        events.Kind.SERVER_ONLINE,
        now,
        account_id=server.account_id,
        server_id=server.id,
        **(settlement.charged_until(order, now) if order else {}),
    )


def _judge_silent(tx: Connection, market: Market, server_id: int, now: int) -> None:
    """Take a server offline unless it was heard of meanwhile."""
    server = servers.by_id(tx, server_id)
    after_seconds = market.policy.offline_after_seconds
    if server and server.online and not server_rules.continues(server.seen_until, now, after_seconds):
        _take_offline(tx, market, server_id, now)


def _take_offline(tx: Connection, market: Market, server_id: int, now: int) -> None:
    with settling(tx, market.policy, now) as books:
        settlement.take_offline(books, server_id)


def _judge_lost(tx: Connection, market: Market, server_id: int, now: int) -> None:
    """End the orders on a server that is still away, waiting bids first: none of them is to win now."""
    server = servers.by_id(tx, server_id)
    if server and not server.online:
        for order in sorted(orders.active_on_server(tx, server_id), key=lambda order: order.holds):
            _end(tx, market, order, now, EndReason.HOST_LOST, "the host was away for too long")


def _take_in(tx: Connection, market: Market, server_id: int, containers: list[Container], now: int) -> None:
    order = orders.holder(tx, server_id)
    container = next((c for c in containers if order is not None and c.order_id == order.id), None)
    if order is None or container is None:
        return
    if container.state == "failed":
        _end(tx, market, order, now, EndReason.FAILED, container.detail)
        return
    moved = order_rules.after_report(order, container)
    if moved is not order:
        orders.save(tx, [moved])
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


def _end(tx: Connection, market: Market, order: Order, now: int, reason: EndReason, detail: str) -> None:
    """End an order, unless it reached its end before."""
    with settling(tx, market.policy, now) as books:
        settlement.bring_up(books, order.account_id, order.currency)
        current = books.order(order.id)
        if current is not None and current.state is not State.ENDED:
            settlement.end(books, current, now, reason, detail)

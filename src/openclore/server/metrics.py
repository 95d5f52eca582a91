"""What Prometheus reads at /metrics: what this process has done, and how the market is.

Metrics of the market are the same from every process on one database; those of requests, loops and links are
each process's own.
"""

import asyncio
import hmac
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import structlog
from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler
from prometheus_client import (
    CollectorRegistry,
    Counter,
    GCCollector,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from ..api.codes import Code
from ..rules.orders import State
from ..store import figures
from ..store.events import Event
from ..store.failures import Silent, for_the_log
from ..store.figures import Figures

if TYPE_CHECKING:  # the service has the metrics
    from .service import Service

PATH = "/metrics"
LOOPS = ("market", "webhooks")
FRESH_SECONDS = 5.0
LOOK_SECONDS = 8.0
"""How long the database may take; Prometheus waits for ten seconds."""
SHARE_MAX = 0.05
"""Of the time, at most so much goes into looking at the market, however large it is."""
_UNIT = 10**8
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_PROXIED = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")
"""Headers that proxies add."""

log = structlog.get_logger()


class Metrics:
    """What one process has done. Callable from any thread."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry = CollectorRegistry()
        self._requests = Counter(
            "openclore_requests",
            "Requests answered, by the code in the reply (empty: it has none) and the HTTP status.",
            ("endpoint", "code", "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            "openclore_request_seconds",
            "From a request's head to the beginning of its answer.",
            ("endpoint",),
            buckets=_BUCKETS,
            registry=registry,
        )
        self._events = Counter(
            "openclore_events",
            "What happened on the market since this process started; every process sees all of it.",
            ("kind",),
            registry=registry,
        )
        # Looking up a metric by its labels takes longer than counting.
        self._counted: dict[tuple[str, Code | None, int], tuple[Counter, Histogram]] = {}
        self._finished_at = dict.fromkeys(LOOPS, time.monotonic())
        self._current_at = time.monotonic()
        Info("openclore", "The program.", registry=registry).info({"version": version("openclore")})
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)

    def answered(self, endpoint: str, code: Code | None, status: int, seconds: float) -> None:
        """Counts one request. `code` None: the reply has none."""
        kind = endpoint, code, status
        counted = self._counted.get(kind)
        if counted is None:
            shown = "" if code is None else int(code)
            counted = self._requests.labels(endpoint, shown, status), self._seconds.labels(endpoint)
            self._counted[kind] = counted
        counted[0].inc()
        counted[1].observe(seconds)

    def happened(self, events: Iterable[Event]) -> None:
        for event in events:
            self._events.labels(event.kind).inc()

    def current(self, at: float) -> None:
        """The copies in memory were those of the market then, in seconds of `time.monotonic`."""
        self._current_at = at

    def finished(self, loop: str) -> None:
        """A turn of one of LOOPS went well."""
        self._finished_at[loop] = time.monotonic()

    def ages(self) -> Iterator[Metric]:
        now = time.monotonic()
        yield _gauge(
            "openclore_loop_age_seconds",
            "Since a loop of this process last went well; each turns about once a second.",
            {(loop,): now - at for loop, at in self._finished_at.items()},
            "loop",
        )
        yield _gauge(
            "openclore_snapshot_age_seconds",
            "Since this process's marketplace was last known to be the market's.",
            {(): now - self._current_at},
        )


def routes(service: "Service") -> list[HTTPRouteHandler]:
    registry, market = service.metrics.registry, _Market(service)
    registry.register(market)

    @get(PATH)
    async def metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
        """For callers on this machine, and for those who have the token."""
        if not _may_read(request, service.settings.metrics_token):
            return Response(
                b"metrics are for direct callers from the market's own machine, and for whoever sends the"
                b" market's metrics_token as 'Authorization: Bearer TOKEN'\n",
                status_code=403,
                media_type="text/plain",
            )
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        try:
            await service.read_within(LOOK_SECONDS, market.look)
        except Silent:
            market.lose()
        return Response(await asyncio.to_thread(encode, registry), media_type=content_type)

    return [metrics]


def _may_read(request: Request[Any, Any, Any], token: str) -> bool:
    """A proxy on this machine speaks for anybody, so what came through one is nobody's neighbour.

    Nor is who calls this machine by another name than its own to itself: so do proxies that add nothing, and
    web pages that give their name this address.
    """
    sent = request.headers.get("authorization", "")
    if token and hmac.compare_digest(sent.encode(), f"Bearer {token}".encode()):
        return True
    if any(header in request.headers for header in _PROXIED) or request.client is None:
        return False
    return _is_loopback(request.client.host) and _is_own_name(request.headers.get("host", ""))


def _is_own_name(authority: str) -> bool:
    """
    >>> [_is_own_name(host) for host in ("localhost:8080", "127.0.0.1", "[::1]:80", "a.example.org", "[")]
    [True, True, True, False, False]
    """
    try:
        name = urlsplit(f"//{authority}").hostname or ""
    except ValueError:
        return False
    return name == "localhost" or _is_loopback(name)


def _is_loopback(text: str) -> bool:
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback


class _Market(Collector):
    """Looked at when somebody asks, and not again for some seconds."""

    def __init__(self, service: "Service") -> None:
        self._service = service
        self._figures: Figures | None = None
        self._fresh_until = 0.0
        self._lock = threading.Lock()

    def collect(self) -> Iterator[Metric]:
        service = self._service
        yield from service.metrics.ages()
        silent_after = service.market.policy.offline_after_seconds
        yield _gauge(
            "openclore_host_links",
            "Hosts connected to this process, by whether they were heard of lately.",
            {(state,): count for state, count in service.links.counts(service.clock(), silent_after).items()},
            "state",
        )
        found = self._figures
        yield _gauge(
            "openclore_database_answers", "Whether the database answered.", {(): float(found is not None)}
        )
        if found is not None:
            yield from _market(found, service.clock())

    def look(self) -> None:
        """While somebody looks, others get what was found before."""
        started = time.monotonic()
        if started < self._fresh_until or not self._lock.acquire(blocking=False):
            return
        try:
            with self._service.market.store.reading() as tx:
                self._figures = figures.read(tx, self._service.clock())
        except SQLAlchemyError as error:
            log.error("the market's metrics can't be read", error=for_the_log(error))
            self._figures = None
        finally:
            done = time.monotonic()
            self._fresh_until = done + max(FRESH_SECONDS, (done - started) / SHARE_MAX)
            self._lock.release()

    def lose(self) -> None:
        """The database does not answer: what was found is of no worth until somebody finds more."""
        self._figures = None


def _market(found: Figures, now: int) -> Iterator[Metric]:
    def since(at: int | None) -> float:
        return 0 if at is None else max(0, now - at)

    yield _gauge(
        "openclore_orders",
        "Orders that are not over.",
        {(state,): found.orders.get(state, 0) for state in State if state is not State.ENDED},
        "state",
    )
    yield _gauge(
        "openclore_servers",
        "Servers of all hosts; new ones have never been connected.",
        {(state,): found.servers.get(state, 0) for state in ("online", "offline", "new")},
        "state",
    )
    yield _gauge(
        "openclore_ledger_balance",
        "What all ledger accounts of a kind hold, in units of the currency.",
        {labels: total / _UNIT for labels, total in found.balances.items()},
        "holder",
        "currency",
    )
    yield _gauge(
        "openclore_ledger_imbalance",
        "The sum over all ledger accounts of a currency, in 10^-8 units: anything but 0 is an error.",
        _sums(found.balances),
        "currency",
    )
    yield _gauge(
        "openclore_ledger_unposted_seconds",
        "How long the running order that was posted longest ago has been accruing.",
        {(): since(found.unposted_since)},
    )
    yield _gauge(
        "openclore_settlement_late_seconds",
        "How long ago the wallet that has waited longest should have been settled.",
        {(): since(found.due_since)},
    )
    yield _gauge(
        "openclore_webhook_messages_due",
        "Webhooks' messages that should be sent.",
        {(): found.deliveries_due},
    )
    yield _gauge(
        "openclore_webhook_messages_late_seconds",
        "How long ago the first of them should have been sent.",
        {(): since(found.deliveries_due_since)},
    )


def _sums(balances: Mapping[tuple[str, str], int]) -> dict[tuple[str, ...], float]:
    """Added as whole numbers, which lose nothing."""
    sums: dict[str, int] = {}
    for (_, currency), total in balances.items():
        sums[currency] = sums.get(currency, 0) + total
    return {(currency,): total for currency, total in sums.items()}


def _gauge(name: str, text: str, values: Mapping[tuple[str, ...], float], *labels: str) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for of, value in values.items():
        family.add_metric(of, value)
    return family

"""The simulated machines: always there but for their outages, deploying what they are assigned.

They do what agents do, through the same use cases; only their heartbeats are written down for all at once,
whenever somebody is about to look.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random

from sqlalchemy import bindparam, text

from ..api.hostlink import BEAT_SECONDS, Assignment, Container, ContainerState, PortMap
from ..rules.servers import DAY_SECONDS
from ..usecases import hosts
from ..usecases.market import Market
from .agenda import Agenda, liveliness
from .machines import Machine

OUTAGE_SECONDS_MEDIAN = 4_500
CREDIT_EVERY_SECONDS = 600
UNRELIABILITY_MAX = 0.02
"""A machine that is hardly ever there is there most of the time here: it would only be noise."""

# Machines with a credential have an agent of their own, which speaks for itself.
_CREDIT = text(
    """
    INSERT INTO uptimes (server_id, day, seconds) SELECT id, :day, :seconds FROM servers
    WHERE online AND credential_hash IS NULL AND id NOT IN :lost
    ON CONFLICT (server_id, day) DO UPDATE SET seconds = seconds + excluded.seconds
    """
).bindparams(bindparam("lost", expanding=True))
_HEARD = text(
    """
    UPDATE servers SET seen_until = :now WHERE online AND credential_hash IS NULL AND id NOT IN :lost
    """
).bindparams(bindparam("lost", expanding=True))


@dataclass
class Deployment:
    """An order on its machine. `state` is what the machine says of it; None: nothing yet."""

    server_id: int
    order: Assignment
    state: ContainerState | None = None
    detail: str = ""


@dataclass
class Mishap:
    """What becomes of the next `count` deployments of an image on a server, of any and on any if not said.

    `seconds` is how much longer they take, None: for ever. With a `reason` they fail.
    """

    image: str
    server_id: int | None
    count: int
    seconds: int | None = 0
    reason: str = ""

    def concerns(self, server_id: int, image: str) -> bool:
        return self.count > 0 and self.image in ("", image) and self.server_id in (None, server_id)


class Hosts:
    """By server id. Without `outages` machines fall silent only when they are told to."""

    def __init__(
        self,
        market: Market,
        agenda: Agenda,
        machines: Sequence[Machine],
        seed: int,
        now: int,
        *,
        outages: bool = True,
    ) -> None:
        self._market = market
        self._agenda = agenda
        self._dice = Random(f"{seed}/outages")
        self._mbits = {m.id: (m.specs.net.down if m.specs.net else None) or 100.0 for m in machines}
        self._cached: set[tuple[int, str]] = set()
        self._deployments: dict[int, Deployment] = {}
        self._reliability = {m.id: m.reliability for m in machines}
        self._lost_since: dict[int, int] = {}
        self._missed_news: set[int] = set()
        self._heard_at = now
        self._credited_until = now
        self.mishaps: list[Mishap] = []
        for server_id in self._reliability if outages else ():
            self._plan_outage(server_id, now)

    # Presence ---------------------------------------------------------------------------------------

    def has(self, server_id: int) -> bool:
        return server_id in self._reliability

    def vouch(self, now: int) -> None:
        """Have every machine that is not lost heard of, as often as agents beat.

        To be called before anything that judges machines by their silence, as whatever settles orders does.
        """
        if now - self._heard_at >= BEAT_SECONDS:
            self._hear(now)

    def _hear(self, now: int) -> None:
        self._heard_at = now
        with self._market.store.writing() as tx:
            tx.execute(_HEARD, {"now": now, "lost": sorted(self._lost_since)})
        if now - self._credited_until >= CREDIT_EVERY_SECONDS:
            self.credit(now)

    def credit(self, now: int) -> None:
        """Count the time since the last call for the reliability of those that were there all of it.

        To be called before anybody comes or goes, and at midnight: uptime is kept by the day.
        """
        seconds, self._credited_until = now - self._credited_until, now
        values = {"seconds": seconds, "day": (now - 1) // DAY_SECONDS, "lost": sorted(self._lost_since)}
        with self._market.store.writing() as tx:
            tx.execute(_CREDIT, values)

    def lose(self, server_id: int, now: int, seconds: float | None = None) -> None:
        """A machine falls silent, for so long or until it is found; the market notices in time."""
        if server_id in self._lost_since or not self.has(server_id):
            return
        self._hear(now)
        self.credit(now)
        self._lost_since[server_id] = now
        policy = self._market.policy
        for judged_after in (policy.offline_after_seconds, policy.host_lost_after_seconds):
            self._agenda.put(now + judged_after + 1, partial(self._is_judged, server_id))
        if seconds is not None:
            self._agenda.put(now + seconds, partial(self._returns, server_id, now))

    def find(self, server_id: int, now: int) -> None:
        """A lost machine is heard of again, with the containers it had, and learns what it missed."""
        if server_id in self._lost_since:
            self.credit(now)
            self.vouch(now)
            del self._lost_since[server_id]
            hosts.report(self._market, server_id, self._containers(server_id), now)
            if server_id in self._missed_news:
                self._missed_news.remove(server_id)
                self.look(server_id, now)

    def forget(self, server_id: int) -> None:
        """Its host took it off the market for good."""
        self._reliability.pop(server_id, None)
        self._lost_since.pop(server_id, None)

    def _returns(self, server_id: int, since: int, now: int) -> None:
        """The end of one absence; there may have been another since."""
        if self._lost_since.get(server_id) == since:
            self.find(server_id, now)

    def _is_judged(self, server_id: int, now: int) -> None:
        if server_id in self._lost_since:
            self.vouch(now)
            hosts.sweep(self._market, now)

    def _plan_outage(self, server_id: int, after: float) -> None:
        if not self.has(server_id):
            return
        unreliability = min(1 - self._reliability[server_id], UNRELIABILITY_MAX)
        unreliability *= liveliness(len(self._reliability))
        if unreliability <= 0:
            return
        seconds = self._dice.lognormvariate(0, 0.8) * OUTAGE_SECONDS_MEDIAN
        begins_at = after + self._dice.expovariate(unreliability / seconds)

        def begin(now: int) -> None:
            self.lose(server_id, now, seconds)
            self._plan_outage(server_id, now + seconds)

        self._agenda.put(begins_at, begin)

    # Deployments ------------------------------------------------------------------------------------

    def look(self, server_id: int, now: int) -> None:
        """Do what an agent does on hearing its assignments: begin what is new, drop what is over."""
        if not self.has(server_id):
            return
        if server_id in self._lost_since:
            self._missed_news.add(server_id)
            return
        wanted = {o.order_id: o for o in hosts.assignments(self._market, server_id, now).orders}
        for order_id, deployment in list(self._deployments.items()):
            if deployment.server_id == server_id and order_id not in wanted:
                del self._deployments[order_id]
        for order_id, order in wanted.items():
            if order_id not in self._deployments:
                self._begin(Deployment(server_id, order), now)

    def listening(self) -> Mapping[int, list[PortMap]]:
        """Order id to the ports that answer now."""
        return {
            order_id: deployment.order.ports
            for order_id, deployment in self._deployments.items()
            if deployment.state == "running" and deployment.server_id not in self._lost_since
        }

    def fail(self, order_id: int, reason: str, now: int) -> None:
        """A deployment turns out to be impossible."""
        if order_id in self._deployments:
            self._move(self._deployments[order_id], "failed", reason, now)

    def _begin(self, deployment: Deployment, now: int) -> None:
        order, server_id = deployment.order, deployment.server_id
        self._deployments[order.order_id] = deployment
        seconds = pull_seconds(order.image, self._mbits[server_id])
        if (server_id, order.image) in self._cached:
            seconds = 0
        mishap = next((m for m in self.mishaps if m.concerns(server_id, order.image)), None)
        self._plan(deployment, now + 1, "pulling")
        if mishap is not None:
            mishap.count -= 1
            if mishap.seconds is None:
                return
            seconds += mishap.seconds
            if mishap.reason:
                self._plan(deployment, now + 1 + seconds, "failed", mishap.reason)
                return
        self._plan(deployment, now + 1 + seconds, "creating")
        self._plan(deployment, now + 3 + seconds, "running")

    def _plan(self, deployment: Deployment, at: int, state: ContainerState, detail: str = "") -> None:
        self._agenda.put(at, lambda now: self._move(deployment, state, detail, now))

    def _move(self, deployment: Deployment, state: ContainerState, detail: str, now: int) -> None:
        if self._deployments.get(deployment.order.order_id) is not deployment:
            return
        deployment.state, deployment.detail = state, detail
        if state == "running":
            self._cached.add((deployment.server_id, deployment.order.image))
        if deployment.server_id not in self._lost_since:
            self.vouch(now)
            hosts.report(self._market, deployment.server_id, self._containers(deployment.server_id), now)

    def _containers(self, server_id: int) -> list[Container]:
        return [
            Container(order_id=order_id, state=deployment.state, detail=deployment.detail)
            for order_id, deployment in self._deployments.items()
            if deployment.server_id == server_id and deployment.state is not None
        ]


def pull_seconds(image: str, mbits: float) -> int:
    """How long a machine with such a line takes to pull and unpack an image it does not have."""
    megabytes = image_megabytes(image)
    return int(2 + megabytes * 8 / min(mbits, 500) + megabytes / 100)


SIZES: Sequence[tuple[int, tuple[str, ...]]] = (
    (5, ("busybox", "alpine", "hello-world", "scratch")),
    (150, ("debian", "ubuntu", "nginx", "redis", "slim")),
    (
        6_000,
        ("cuda", "torch", "tensorflow", "jupyter", "vllm", "ollama", "comfy", "diffusion", "train", "llm"),
    ),
)
"""MB, and the words in an image's name that tell."""


def image_megabytes(image: str) -> int:
    """A plausible size by an image's name; without a telling word some hundreds, always the same."""
    heavy_first = reversed(SIZES)
    known = next((size for size, words in heavy_first if any(word in image.lower() for word in words)), None)
    return known if known is not None else 200 + zlib.crc32(image.encode()) % 800

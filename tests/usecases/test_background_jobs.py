"""What a machine is told to run while nobody rents it."""

from typing import Any

import msgspec
import pytest

from openclore.api.hostlink import BackgroundJob
from openclore.api.open.servers import SetBackgroundJob
from openclore.api.servers import BackgroundJob as ShownJob
from openclore.api.servers import ServerConfigRequest
from openclore.rules.policy import OrderBounds, Policy
from openclore.rules.refused import InvalidInput, NotFound
from openclore.store import events
from openclore.store import servers as rows
from openclore.store.store import Store
from openclore.usecases import background, hosts, servers

from ..world import World

MINER = {"image": "example/miner:2", "command": "miner --fast", "env": {"WORKER": "rack 1"}}


@pytest.fixture
def world(store: Store) -> World:
    return World(store)


def put(world: World, account: int | None = None, server: int | None = None, **job: Any) -> None:
    request = msgspec.convert(job, SetBackgroundJob)
    background.set_background_job(
        world.market, account or world.host, server or world.server, request, world.now
    )


def shown(world: World, name: str = "rack-1") -> ShownJob | None:
    return servers.server_config(
        world.market, world.host, ServerConfigRequest(name), world.now
    ).config.background_job


def told(world: World) -> tuple[int, BackgroundJob | None]:
    assignments = hosts.assignments(world.market, world.server, world.now)
    return assignments.generation, assignments.background


def happened(world: World) -> list[events.Event]:
    with world.store.reading() as tx:
        return [e for e in events.after(tx, 0, 1_000) if e.kind is events.Kind.SERVER_BACKGROUND_JOB_CHANGED]


def test_a_server_has_no_background_job_until_one_is_set(world: World) -> None:
    assert shown(world) is None
    assert told(world)[1] is None


def test_the_host_sees_the_job_and_the_agent_is_told_of_it(world: World) -> None:
    generation, _ = told(world)
    put(world, **MINER)
    assert shown(world) == ShownJob(**MINER, times_updated=1)
    assert told(world) == (generation + 1, BackgroundJob(**MINER, revision=1))


def test_a_job_is_replaced_as_a_whole_and_counted(world: World) -> None:
    put(world, **MINER)
    put(world, image="example/miner:3")
    assert shown(world) == ShownJob(image="example/miner:3", command="", env={}, times_updated=2)


def test_a_job_that_was_removed_is_gone_but_the_count_goes_on(world: World) -> None:
    put(world, **MINER)
    put(world, image=None)
    assert (shown(world), told(world)[1]) == (None, None)
    put(world, **MINER)
    assert told(world)[1] == BackgroundJob(**MINER, revision=3)


def test_setting_what_is_set_changes_nothing(world: World) -> None:
    put(world, image=None)
    assert happened(world) == []
    put(world, **MINER)
    before = told(world)
    put(world, **MINER)
    assert told(world) == before
    assert len(happened(world)) == 1


def test_the_event_tells_the_host_and_keeps_the_secrets(world: World) -> None:
    put(world, **MINER)
    [event] = happened(world)
    assert (event.account_id, event.server_id, event.data) == (world.host, world.server, {})


def test_only_the_host_sets_it(world: World) -> None:
    for account, server in ((world.renter, world.server), (world.host, 99)):
        with pytest.raises(NotFound, match="you have no server"):
            put(world, account, server, **MINER)
    assert shown(world) is None


def test_what_the_operator_allows_an_order_holds_for_a_job(store: Store) -> None:
    bounds = OrderBounds(env_variables_max=1, env_value_length_max=3, command_length_max=4)
    world = World(store, Policy(order_bounds=bounds))
    for job, problem in (
        ({"env": {"A": "1", "B": "2"}}, "env: at most 1 variables, got 2"),
        ({"env": {"A": "1234"}}, "env: at most 3 characters in a value, got 4"),
        ({"command": "sleep"}, "command: at most 4 characters, got 5"),
    ):
        with pytest.raises(InvalidInput, match=problem):
            put(world, image="busybox", **job)
    assert shown(world) is None


def test_a_rented_server_keeps_its_job_beside_the_order(world: World) -> None:
    put(world, **MINER)
    world.credit("10")
    order = world.rent()
    said = hosts.assignments(world.market, world.server, world.now)
    assert ([o.order_id for o in said.orders], said.background) == ([order.id], told(world)[1])
    assert said.background is not None


def test_a_job_costs_nothing(world: World) -> None:
    world.credit("10", "host@example.org")
    put(world, **MINER)
    world.wait(3_600)
    assert world.balance(world.host) == 10 * 10**8


def test_a_removed_server_forgets_its_job(world: World) -> None:
    put(world, **MINER)
    world.set_server("rack-1", availability=False)
    servers.remove_server(world.market, world.host, world.server, world.now)
    with world.store.reading() as tx:
        [server] = rows.by_ids(tx, [world.server])
    assert server.background_job is None


@pytest.mark.parametrize(
    ("job", "member"),
    [
        ({}, "image"),
        ({"image": ""}, "image"),
        ({"image": "a b"}, "image"),
        ({"image": "busybox", "command": "x" * 16_385}, "command"),
        ({"image": "busybox", "command": "a\0"}, "command"),
        ({"image": "busybox", "env": {"A": "$(id)"}}, "env"),
        ({"image": "busybox", "env": {"A B": "1"}}, "env"),
        ({"image": "busybox", "env": {f"V{n}": "x" * 1_500 for n in range(9)}}, "env"),
    ],
)
def test_what_no_order_may_be_no_job_may_be(job: dict[str, Any], member: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=member):
        msgspec.convert(job, SetBackgroundJob)

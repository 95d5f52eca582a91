"""Pulls of a real engine from a registry on loopback, and an engine that goes away for a while."""

import asyncio
import os
import shutil
import socket
import uuid
from contextlib import closing, suppress
from pathlib import Path

import pytest
from engine_images import a_root
from fake_registry import FakeRegistry
from host_fakes import FakeMarket, an_order, ports, until
from test_host_command import an_agent
from test_host_docker import a_runtime, an_owner, ignore, inspect, keeping

from openclore.host.runtime import DeploymentFailed
from openclore.host.state import State


@pytest.fixture(scope="module")
def root(images) -> bytes:
    """A file system that no engine has seen before, so that every pull is a pull."""
    busybox = Path(shutil.which("busybox") or "").read_bytes()
    return a_root({"bin/busybox": busybox, "unique": uuid.uuid4().bytes})


async def forget(runtime, image: str) -> None:
    await runtime._remove_image(image)


def test_an_image_that_is_not_here_is_pulled_and_stays(root):
    async def scenario(image):
        async with a_runtime() as runtime:
            order = an_order(image)
            heard = []
            await runtime.deploy(order, heard.append)
            assert heard == ["pulling", "creating"]
            assert (await inspect(runtime, order.order_id))["State"]["Running"]
            await runtime.remove(order.order_id)
            assert await runtime._has_image(image)
            await forget(runtime, image)

    with FakeRegistry(root).serving() as address:
        asyncio.run(scenario(f"{address}/some/image:1"))


def test_a_private_image_is_pulled_with_the_renters_credentials_and_leaves_with_the_order(root):
    async def scenario(image):
        async with a_runtime() as runtime:
            order = an_order(image, registry_auth="renter:pass:word")
            await runtime.deploy(order, ignore)
            await runtime.remove(order.order_id)
            assert not await runtime._has_image(image)

    with FakeRegistry(root, credentials="renter:pass:word").serving() as address:
        asyncio.run(scenario(f"{address}/some/image:1"))


def test_a_private_image_leaves_with_a_deployment_that_failed(root, monkeypatch):
    monkeypatch.setattr("openclore.host.docker.START_TRIES_MAX", 1)

    async def scenario(image):
        async with a_runtime() as runtime:
            order = an_order(image, registry_auth="renter:password", ports=ports(80))
            in_use = pytest.raises(DeploymentFailed, match="is in use on the machine")
            with socket.create_server(("127.0.0.1", order.ports[0].public)), in_use:
                await runtime.deploy(order, ignore)
            assert not await runtime._has_image(image)

    with FakeRegistry(root, credentials="renter:password").serving() as address:
        asyncio.run(scenario(f"{address}/some/image:1"))


def test_a_private_image_leaves_even_if_the_agent_died_before_it_made_the_container(root, tmp_path):
    async def scenario(image):
        order = an_order(image, registry_auth="renter:password")
        with closing(State(tmp_path)) as state:
            owner, note = an_owner(), state.save_private_images
            async with a_runtime(owner, note_private_images=note) as killed:
                await killed._provide_image(order, ignore)
                assert await killed._has_image(image)
            async with a_runtime(
                owner, private_images=state.private_images(), note_private_images=note
            ) as next_one:
                found = (await next_one.look())[order.order_id]
                assert (found.container.state, found.unfinished) == ("creating", True)
                async with keeping(next_one) as keeper:
                    keeper.assign([])
                    await until(lambda: not state.private_images())
                assert not await next_one._has_image(image)
                assert await next_one.look() == {}

    with FakeRegistry(root, credentials="renter:password").serving() as address:
        asyncio.run(scenario(f"{address}/some/image:1"))


def test_a_private_image_that_is_still_here_is_not_for_the_next_renter(root):
    async def scenario(image):
        async with a_runtime() as runtime:
            first, second = an_order(image, registry_auth="renter:password"), an_order(image)
            await runtime.deploy(first, ignore)
            with pytest.raises(DeploymentFailed, match="the registry wants credentials"):
                await runtime.deploy(second, ignore)
            assert list(await runtime.look()) == [first.order_id]

    with FakeRegistry(root, credentials="renter:password").serving() as address:
        asyncio.run(scenario(f"{address}/some/image:1"))


@pytest.mark.parametrize(
    ("registry_auth", "expected"),
    [
        ("renter:wrong", "the registry refused the credentials for"),
        ("", "the registry wants credentials for"),
    ],
)
def test_refused_credentials_fail_with_a_sentence_that_holds_no_secret(root, registry_auth, expected):
    async def scenario(image):
        async with a_runtime(pull_retry_seconds=(60,)) as runtime:
            with pytest.raises(DeploymentFailed, match=f"^{expected} image '{image}'$"):
                await runtime.deploy(an_order(image, registry_auth=registry_auth), ignore)
            assert await runtime.look() == {}

    with FakeRegistry(root, credentials="renter:right").serving() as address:
        asyncio.run(scenario(f"{address}/some/image:1"))


def test_an_image_that_its_registry_does_not_have_fails_at_once(root):
    async def scenario(image):
        async with a_runtime(pull_retry_seconds=(60,)) as runtime:
            expected = f"^image '{image}' was not found locally nor in its registry$"
            with pytest.raises(DeploymentFailed, match=expected):
                await runtime.deploy(an_order(image), ignore)

    with FakeRegistry(root).serving() as address:
        asyncio.run(scenario(f"{address}/some/other:2"))


def test_a_registry_that_recovers_is_asked_again(root):
    async def scenario(image):
        async with a_runtime(pull_retry_seconds=(0.01,) * 20) as runtime:
            order = an_order(image)
            await runtime.deploy(order, ignore)
            await runtime.remove(order.order_id)
            await forget(runtime, image)

    with FakeRegistry(root, breakdowns=3).serving() as address:
        asyncio.run(scenario(f"{address}/some/image:1"))


def test_a_pull_has_a_time_limit(root):
    async def scenario(image):
        async with a_runtime(pull_seconds_max=1.0) as runtime:
            with pytest.raises(DeploymentFailed, match="could not be pulled within"):
                await runtime.deploy(an_order(image), ignore)

    registry = FakeRegistry(a_root({"a": uuid.uuid4().bytes}))
    registry.stall = True
    with registry.serving() as address:
        asyncio.run(scenario(f"{address}/some/image:1"))


def test_an_order_cancelled_during_its_pull_is_gone_at_once():
    async def scenario(image, registry):
        async with a_runtime() as runtime, keeping(runtime) as keeper:
            order = an_order(image)
            keeper.assign([order])
            await until(registry.stalled.is_set)
            assert [container.state for container in keeper.containers()] == ["pulling"]
            keeper.assign([])
            await until(lambda: not keeper.containers(), seconds=20)
            assert not keeper._deploying

    registry = FakeRegistry(a_root({"a": uuid.uuid4().bytes}))
    registry.stall = True
    with registry.serving() as address:
        asyncio.run(scenario(f"{address}/some/image:1", registry))


ENGINE_SOCKET = os.environ.get("DOCKER_HOST", "").removeprefix("unix://") or "/var/run/docker.sock"


class EngineDoor:
    """A socket in front of the engine's that can be shut, as when the engine restarts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pipes: set[asyncio.Task] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def shut(self) -> None:
        self._server.close()
        self.path.unlink()
        for pipe in self._pipes:
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._pipes.add(task)
        with suppress(asyncio.CancelledError, OSError):
            inner_reader, inner_writer = await asyncio.open_unix_connection(ENGINE_SOCKET)
            try:
                await asyncio.gather(_pour(reader, inner_writer), _pour(inner_reader, writer))
            finally:
                inner_writer.close()
        writer.close()
        self._pipes.discard(task)


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()


def test_an_engine_that_goes_away_fails_nothing_and_stops_no_beats(tmp_path, images):
    async def scenario():
        door = EngineDoor(tmp_path / "engine.sock")
        await door.open()
        environment = {"DOCKER_HOST": f"unix://{door.path}"}
        async with FakeMarket() as market:
            running, later = an_order(images.shell), an_order(images.shell)
            options = ("--init-token", market.init_token)
            async with an_agent(market.url, tmp_path / "state", *options, **environment) as agent:
                await market.want(running)
                await until(lambda: market.state(running.order_id) == "running")
                await door.shut()
                await until(lambda: "Cannot connect to Docker Engine" in agent.log)
                await market.want(running, later)
                beats = len(market.beats)
                await until(lambda: len(market.beats) > beats)
                assert market.state(running.order_id) == "running"
                assert market.state(later.order_id) != "failed"
                await door.open()
                await until(lambda: market.state(later.order_id) == "running")
                assert agent.log.count("Cannot connect to Docker Engine") == 1
                assert "the docker runtime answers again" in agent.log
                assert agent.log.count("container up") == 2
                await market.want()
                await until(lambda: agent.log.count("container removed") == 2)
        await door.shut()

    asyncio.run(scenario())

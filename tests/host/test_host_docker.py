"""The Docker runtime against a real engine."""

import asyncio
import socket
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace
from unittest.mock import AsyncMock

import pytest
from aiodocker import Docker, DockerError
from host_fakes import an_order, http_get, ports, until

from openclore.api.hostlink import Assignment, BackgroundJob
from openclore.host import recipe
from openclore.host.docker import (
    START_TRIES_MAX,
    STOP_GRACE_SECONDS,
    DockerRuntime,
    _find_engine_process,
    connect_engine,
)
from openclore.host.keeper import RETRY_SECONDS, Keeper
from openclore.host.recipe import Machine, Owner
from openclore.host.runtime import DeploymentFailed, RuntimeMissing, RuntimeTrouble
from openclore.host.simulated import SimulatedTuner

MACHINE = Machine(memory_bytes=8 * 2**30, cpu_threads=2, has_gpus=False)


def an_owner() -> Owner:
    return Owner(market=f"http://test-{uuid.uuid4().hex}", server_id=1)


@asynccontextmanager
async def a_runtime(owner: Owner | None = None, **changes) -> AsyncIterator[DockerRuntime]:
    """Removes all that its owner has when it ends, unless the caller named the owner."""
    at_once = {"pull_retry_seconds": (), "stop_grace_seconds": 0, "background_stop_grace_seconds": 0}
    settings = {"bind_address": "127.0.0.1", **at_once, **changes}
    runtime = DockerRuntime(await connect_engine(), owner or an_owner(), MACHINE, **settings)
    try:
        yield runtime
    finally:
        if owner is None:
            for order_id in await runtime.look():
                await runtime.remove(order_id)
            await runtime.remove_background()
        await runtime.close()


async def inspect(runtime: DockerRuntime, order_id: int) -> dict:
    (container,) = await runtime._containers(order_id)
    return await container.show()


async def inside(runtime: DockerRuntime, order_id: int, *command: str) -> str:
    """What a command prints in the order's container."""
    (container,) = await runtime._containers(order_id)
    execution = await container.exec(list(command))
    async with execution.start() as stream:
        output = b""
        while message := await stream.read_out():
            output += message.data
    return output.decode()


async def eventually(runtime: DockerRuntime, order_id: int, expected: str, *command: str) -> None:
    async def printed() -> bool:
        return await inside(runtime, order_id, *command) == expected

    await until(printed)


async def stopped(runtime: DockerRuntime, order_id: int) -> bool:
    return (await runtime.look())[order_id].container.state == "exited"


async def deploy_patiently(runtime: DockerRuntime, order: Assignment) -> None:
    """As the keeper does, without its pauses."""
    for _ in range(START_TRIES_MAX):
        with suppress(RuntimeTrouble):
            await runtime.deploy(order, ignore)
            break


async def serves(order: Assignment) -> bool:
    return await http_get(order.ports[0].public) == "hello\n"


def ignore(state: str) -> None:
    pass


def test_an_order_serves_http_on_its_public_port(images):
    async def scenario():
        async with a_runtime() as runtime:
            order = an_order(images.web, ports=ports(80))
            heard = []
            assert await runtime.deploy(order, heard.append) == ""
            assert heard == ["creating"]
            await until(lambda: serves(order))
            found = (await runtime.look())[order.order_id]
            assert (found.container.state, found.unfinished) == ("running", False)

    asyncio.run(scenario())


def test_the_environment_arrives_as_the_renter_wrote_it(images):
    async def scenario():
        async with a_runtime() as runtime:
            order = an_order(images.shell, env={"SSH_PASSWORD": "a b=c", "EMPTY": ""})
            await runtime.deploy(order, ignore)
            lines = (await inside(runtime, order.order_id, "env")).split("\n")
            assert {"SSH_PASSWORD=a b=c", "EMPTY="} <= {line.rstrip("\r") for line in lines}

    asyncio.run(scenario())


def test_an_image_whose_command_is_a_shell_stays_up(images):
    async def scenario():
        async with a_runtime() as runtime:
            order = an_order(images.shell)
            await runtime.deploy(order, ignore)
            assert (await inspect(runtime, order.order_id))["State"]["Status"] == "running"

    asyncio.run(scenario())


@pytest.mark.parametrize("shebang", ["", "#!/bin/sh\n"])
def test_the_command_runs_once_however_often_the_order_is_deployed(images, shebang):
    async def scenario():
        async with a_runtime() as runtime:
            order = an_order(
                images.shell, command=f"{shebang}echo ran >> /ran\r\necho $WHO", env={"WHO": "me"}
            )
            for _ in range(3):
                assert await runtime.deploy(order, ignore) == ""
            await eventually(runtime, order.order_id, "me\n", "cat", "/.openclore/command.log")
            assert await inside(runtime, order.order_id, "cat", "/ran") == "ran\n"

    asyncio.run(scenario())


def test_an_image_without_a_shell_runs_and_says_that_the_command_could_not(images):
    async def scenario():
        async with a_runtime() as runtime:
            order = an_order(images.bare, command="echo hi")
            remark = await runtime.deploy(order, ignore)
            assert remark == "the start-up command could not run: the image has no /bin/sh"
            assert (await runtime.look())[order.order_id].container.state == "running"

    asyncio.run(scenario())


def test_a_container_that_ends_by_itself_is_left_with_its_exit_code(images):
    async def scenario():
        async with a_runtime() as runtime:
            order = an_order(images.job)
            await runtime.deploy(order, ignore)
            await until(lambda: stopped(runtime, order.order_id))
            found = (await runtime.look())[order.order_id]
            assert found.container.detail == "the container's main process ended with exit code 3"
            assert not found.unfinished
            before = (await inspect(runtime, order.order_id))["State"]
            await runtime.deploy(order, ignore)
            assert (await inspect(runtime, order.order_id))["State"] == before

    asyncio.run(scenario())


def test_a_container_that_the_engine_stopped_is_started_again_and_keeps_its_files(images, monkeypatch):
    async def scenario():
        async with a_runtime() as runtime:
            order = an_order(images.shell, command="echo ran >> /ran")
            await runtime.deploy(order, ignore)
            await eventually(runtime, order.order_id, "ran\n", "cat", "/ran")
            (container,) = await runtime._containers(order.order_id)
            await container.stop(t=0)
            later = time.time() + 1
            monkeypatch.setattr(runtime, "_engine_started_at", lambda: later)
            found = (await runtime.look())[order.order_id]
            assert (found.container.state, found.unfinished) == ("exited", True)
            await asyncio.sleep(max(0, later - time.time()))
            await runtime.deploy(order, ignore)
            found = (await runtime.look())[order.order_id]
            assert (found.container.state, found.unfinished) == ("running", False)
            assert await inside(runtime, order.order_id, "cat", "/ran") == "ran\n"

    asyncio.run(scenario())


def test_another_agent_process_adopts_a_running_container_untouched(images):
    async def scenario():
        async with a_runtime() as first:
            order = an_order(images.web, ports=ports(80))
            await first.deploy(order, ignore)
            before = await inspect(first, order.order_id)
            async with a_runtime(first._owner) as second, keeping(second) as keeper:
                keeper.assign([order])
                await until(lambda: order.order_id in keeper._settled)
            after = await inspect(first, order.order_id)
            assert (after["Id"], after["State"]) == (before["Id"], before["State"])

    asyncio.run(scenario())


def test_removal_leaves_no_container_no_network_and_a_free_port(images):
    async def scenario():
        async with a_runtime() as runtime:
            order = an_order(images.web, ports=ports(80))
            await runtime.deploy(order, ignore)
            await runtime.remove(order.order_id)
            assert await runtime._containers() == []
            assert await runtime._networks() == []
            assert await http_get(order.ports[0].public) == ""
            await runtime.remove(order.order_id)

    asyncio.run(scenario())


def test_a_missing_image_fails_with_a_sentence_and_leaves_nothing(images):
    async def scenario():
        async with a_runtime() as runtime:
            order = an_order("127.0.0.1:9/openclore-no-such-image:1")
            heard = []
            with pytest.raises(
                DeploymentFailed,
                match=r"^image '127\.0\.0\.1:9/openclore-no-such-image:1' was not found locally",
            ):
                await runtime.deploy(order, heard.append)
            assert heard == ["pulling"]
            assert await runtime.look() == {}

    asyncio.run(scenario())


@pytest.mark.parametrize("image", ["UPPER/case", "a/..", "a//b", "x:y/z"])
def test_an_impossible_image_name_fails_with_a_sentence(images, image):
    async def scenario():
        async with a_runtime() as runtime:
            with pytest.raises(DeploymentFailed, match="is not a valid image name"):
                await runtime.deploy(an_order(image), ignore)
            assert await runtime.look() == {}

    asyncio.run(scenario())


def test_a_port_in_use_fails_with_a_sentence_and_leaves_nothing(images):
    async def scenario():
        async with a_runtime() as runtime:
            order = an_order(images.web, ports=ports(80))
            in_use = pytest.raises(DeploymentFailed, match=f"^port {order.ports[0].public} is in use")
            with socket.create_server(("127.0.0.1", order.ports[0].public)), in_use:
                await deploy_patiently(runtime, order)
            assert await runtime.look() == {}

    asyncio.run(scenario())


def test_a_port_of_another_order_fails_with_a_sentence_and_leaves_that_order_alone(images):
    async def scenario():
        async with a_runtime() as runtime:
            order = an_order(images.web, ports=ports(80))
            await runtime.deploy(order, ignore)
            with pytest.raises(DeploymentFailed, match=f"^port {order.ports[0].public} is in use"):
                await deploy_patiently(runtime, an_order(images.web, ports=order.ports))
            assert list(await runtime.look()) == [order.order_id]
            assert await http_get(order.ports[0].public) == "hello\n"

    asyncio.run(scenario())


def test_a_port_in_use_is_final_only_after_its_last_holder_had_time_to_go():
    tried_for_seconds = (START_TRIES_MAX - 1) * RETRY_SECONDS
    assert tried_for_seconds >= STOP_GRACE_SECONDS + 8


def test_a_port_that_was_in_use_is_taken_once_it_is_free(images):
    async def scenario():
        async with a_runtime() as runtime:
            order = an_order(images.web, ports=ports(80))
            with socket.create_server(("127.0.0.1", order.ports[0].public)):
                for _ in range(START_TRIES_MAX - 1):
                    with pytest.raises(RuntimeTrouble, match="is in use"):
                        await runtime.deploy(order, ignore)
            await runtime.deploy(order, ignore)
            await until(lambda: serves(order))

    asyncio.run(scenario())


def test_the_next_order_gets_the_port_of_the_one_before_however_slowly_that_stops(images):
    async def scenario():
        async with a_runtime(stop_grace_seconds=2) as runtime, keeping(runtime) as keeper:
            first = an_order(images.web, ports=ports(80))
            second = an_order(images.web, ports=first.ports)
            for order in (first, second):  # as process 1, httpd ignores SIGTERM: the stop takes 2 s
                keeper.assign([order])
                await until(lambda order=order: order.order_id in keeper._settled)
                await until(lambda order=order: serves(order))
            assert keeper._failed == {}
            assert list(await runtime.look()) == [second.order_id]

    asyncio.run(scenario())


def test_containers_are_isolated_and_limited(images):
    async def scenario():
        async with a_runtime() as runtime:
            order = an_order(images.web, ports=ports(80))
            await runtime.deploy(order, ignore)
            container = await inspect(runtime, order.order_id)
            host = container["HostConfig"]
            memory = recipe.memory_limit_bytes(MACHINE.memory_bytes)
            assert container["Name"] == f"/openclore-order-{order.order_id}"
            assert (host["Privileged"], host["Binds"], container["Mounts"]) == (False, None, [])
            assert host["SecurityOpt"] == ["no-new-privileges:true"]
            assert set(host["CapDrop"]) >= {"NET_RAW", "MKNOD"}
            assert host["CapAdd"] is None
            assert (host["Memory"], host["MemorySwap"]) == (memory, memory)
            assert host["NanoCpus"] == 1_750_000_000
            assert host["PidsLimit"] == recipe.PIDS_MAX
            assert host["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "3"}
            assert (host["PidMode"], host["IpcMode"]) == ("", "private")
            (network,) = container["NetworkSettings"]["Networks"]
            assert network == f"openclore-order-{order.order_id}"
            assert host["PortBindings"]["80/tcp"][0]["HostIp"] == "127.0.0.1"

    asyncio.run(scenario())


def test_two_agents_on_one_engine_see_and_touch_only_their_own(images):
    async def scenario():
        async with a_runtime() as ours, a_runtime() as theirs:
            order = an_order(images.shell)
            await theirs.deploy(order, ignore)
            assert await ours.look() == {}
            await ours.remove(order.order_id)
            await ours.deploy(order, ignore)  # the same number on another market: the name is taken
            assert list(await ours.look()) == [order.order_id]
            await ours.remove(order.order_id)
            assert (await theirs.look())[order.order_id].container.state == "running"

    asyncio.run(scenario())


def test_what_an_interrupted_deployment_left_is_completed_or_removed(images):
    async def scenario():
        async with a_runtime() as runtime:
            created, network_only = an_order(images.web, ports=ports(80)), an_order(images.shell)
            for order in (created, network_only):
                await runtime._provide_network(order.order_id)
            await runtime._create(created)
            found = await runtime.look()
            assert [found[order.order_id].unfinished for order in (created, network_only)] == [True, True]
            await runtime.deploy(created, ignore)
            assert await http_get(created.ports[0].public) == "hello\n"
            await runtime.remove(network_only.order_id)
            assert list(await runtime.look()) == [created.order_id]

    asyncio.run(scenario())


def test_network_names_that_are_all_taken_are_trouble_until_one_is_free(images):
    async def scenario():
        async with a_runtime() as runtime, Docker() as engine:
            order = an_order(images.shell)
            others = [await engine.networks.create({"Name": name}) for name in runtime._names(order.order_id)]
            try:
                with pytest.raises(RuntimeTrouble, match=r"the network names of order .* are taken"):
                    await runtime.deploy(order, ignore)
            finally:
                for network in others:
                    await network.delete()
            await runtime.deploy(order, ignore)
            assert (await runtime.look())[order.order_id].container.state == "running"

    asyncio.run(scenario())


def test_a_renters_own_engine_is_not_taken_for_the_machines(monkeypatch):
    processes = [
        SimpleNamespace(info={"name": name, "create_time": created})
        for name, created in (("init", 1.0), ("dockerd", 30.0), ("dockerd", 20.0), ("dockerd", 40.0))
    ]
    monkeypatch.setattr("openclore.host.docker.psutil.process_iter", lambda attributes: processes)
    assert _find_engine_process() is processes[2]


def test_an_engine_that_is_away_is_trouble_never_a_failed_order(images, tmp_path):
    async def scenario():
        engine = Docker(url=f"unix://{tmp_path}/nobody.sock")
        runtime = DockerRuntime(engine, an_owner(), MACHINE)
        for call in (runtime.look(), runtime.deploy(an_order(images.web), ignore), runtime.remove(1)):
            with pytest.raises(RuntimeTrouble, match="Cannot connect to Docker Engine"):
                await call
        await runtime.close()

    asyncio.run(scenario())


def test_a_machine_without_an_engine_is_told_of_the_simulation(monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    with pytest.raises(RuntimeMissing, match="--runtime simulated"):
        asyncio.run(connect_engine())


@asynccontextmanager
async def keeping(runtime: DockerRuntime) -> AsyncIterator[Keeper]:
    keeper = Keeper(runtime, SimulatedTuner([]), look_seconds=0.1)
    task = asyncio.create_task(keeper.run())
    try:
        yield keeper
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


# The background job ---------------------------------------------------------------------------------


def a_job(image: str, revision: int = 1, **changes) -> BackgroundJob:
    return BackgroundJob(image=image, revision=revision, **changes)


async def background(runtime: DockerRuntime) -> dict:
    """Its container as the engine knows it; empty where there is none."""
    containers = await runtime._background_containers()
    return await containers[0].show() if containers else {}


async def background_runs(runtime: DockerRuntime, revision: int = 1) -> bool:
    found = await runtime.look_background()
    return (found.state, found.revision) == ("running", revision)


async def background_says(runtime: DockerRuntime, expected: str) -> bool:
    for container in await runtime._background_containers():
        with suppress(DockerError):  # made anew at this very moment
            return expected in "".join(await container.log(stdout=True, stderr=True))
    return False


def test_the_job_makes_way_for_an_order_and_goes_on_after_it(images):
    async def scenario():
        async with a_runtime() as runtime, keeping(runtime) as keeper:
            script = "echo for $WHO >> /ran; cat /ran; exec sleep 1000"
            job = a_job(images.shell, command=script, env={"WHO": "me"})
            keeper.assign([], background=job)
            await until(lambda: background_runs(runtime))
            await until(lambda: background_says(runtime, "for me"))
            order = an_order(images.web, ports=ports(80))
            keeper.assign([order], background=job)
            await until(lambda: serves(order))
            stopped, served = await background(runtime), await inspect(runtime, order.order_id)
            assert stopped["State"]["Running"] is False
            assert stopped["State"]["FinishedAt"] <= served["State"]["StartedAt"]
            keeper.assign([], background=job)
            await until(lambda: background_runs(runtime))
            await until(lambda: background_says(runtime, "for me\r\nfor me"))
            assert (await background(runtime))["Id"] == stopped["Id"]
            assert await runtime.look() == {}

    asyncio.run(scenario())


def test_the_job_is_isolated_like_an_order_and_has_no_ports(images):
    async def scenario():
        async with a_runtime() as runtime:
            await runtime.run_background(a_job(images.web))
            container = await background(runtime)
            host = container["HostConfig"]
            assert container["Name"].startswith("/openclore-background-1-")
            assert host["PortBindings"] in (None, {})
            assert (host["Privileged"], host["Binds"], container["Mounts"]) == (False, None, [])
            assert host["SecurityOpt"] == ["no-new-privileges:true"]
            assert host["Memory"] == recipe.memory_limit_bytes(MACHINE.memory_bytes)
            assert list(container["NetworkSettings"]["Networks"]) == [container["Name"][1:]]
            assert await runtime.look() == {}

    asyncio.run(scenario())


def test_the_next_agent_adopts_a_job_replaces_it_when_it_changed_and_removes_it(images):
    async def scenario():
        async with a_runtime() as first:
            job = a_job(images.shell)
            await first.run_background(job)
            before = await background(first)
            async with a_runtime(first._owner) as second, keeping(second) as keeper:
                keeper.assign([], background=job)
                await until(lambda: keeper._background.found.state == "running")
                after = await background(second)
                assert (after["Id"], after["State"]) == (before["Id"], before["State"])
                keeper.assign([], background=a_job(images.web, revision=2))
                await until(lambda: background_runs(second, revision=2))
                keeper.assign([])
                await until(lambda: keeper._background.found.state == "absent")
            assert await background(first) == {}
            assert await first._background_networks() == []

    asyncio.run(scenario())


def test_a_job_that_ends_is_started_again(images):
    async def scenario():
        async with a_runtime() as runtime, keeping(runtime) as keeper:
            keeper.assign([], background=a_job(images.shell, command="echo tick >> /ran; cat /ran"))
            await until(lambda: background_runs_or_ended(runtime))
            await until(lambda: background_says(runtime, "tick\r\ntick"))

    asyncio.run(scenario())


async def background_runs_or_ended(runtime: DockerRuntime) -> bool:
    return (await runtime.look_background()).state != "absent"


def test_a_job_without_an_image_leaves_nothing_and_says_why(images):
    async def scenario():
        async with a_runtime() as runtime:
            with pytest.raises(DeploymentFailed, match="was not found locally"):
                await runtime.run_background(a_job("127.0.0.1:9/openclore-no-such-image:1"))
            assert await background(runtime) == {}

    asyncio.run(scenario())


def test_a_job_keeps_its_files_when_a_start_fails_and_is_made_anew_when_all_do(images, monkeypatch):
    async def scenario():
        async with a_runtime() as runtime:
            job = a_job(images.shell)
            await runtime.run_background(job)
            before = await background(runtime)
            await runtime.stop_background()
            engine_fails = AsyncMock(side_effect=DockerError(500, "failed to create task"))
            with monkeypatch.context() as patch:
                patch.setattr(runtime, "_start", engine_fails)
                for _ in range(START_TRIES_MAX - 1):
                    with pytest.raises(RuntimeTrouble, match="failed to create task"):
                        await runtime.run_background(job)
                assert (await background(runtime))["Id"] == before["Id"]
                with pytest.raises(RuntimeTrouble):
                    await runtime.run_background(job)
            assert await background(runtime) == {}
            await runtime.run_background(job)
            assert await background_runs(runtime)

    asyncio.run(scenario())


def test_a_job_whose_network_somebody_pruned_is_made_anew(images):
    async def scenario():
        async with a_runtime() as runtime:
            await runtime.run_background(a_job(images.shell))
            await runtime.stop_background()
            await runtime._remove_networks(await runtime._background_networks())
            with pytest.raises(RuntimeTrouble, match="could not be started"):
                await runtime.run_background(a_job(images.shell))
            await runtime.run_background(a_job(images.shell))
            assert await background_runs(runtime)

    asyncio.run(scenario())


def test_no_start_that_was_cut_short_outlives_a_stop(images):
    async def scenario():
        async with a_runtime() as runtime:
            await runtime.run_background(a_job(images.shell))
            for tenths in range(4):
                await runtime.stop_background()
                start = asyncio.create_task(runtime.run_background(a_job(images.shell)))
                await asyncio.sleep(0.02 + tenths / 20)
                start.cancel()
                await asyncio.gather(start, return_exceptions=True)
                await runtime.stop_background()
                assert (await runtime.look_background()).state == "stopped"

    asyncio.run(scenario())

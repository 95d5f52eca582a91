"""The command as a host's owner runs it: a process of its own, signals, exit codes, what it prints."""

import asyncio
import json
import os
import sys
from contextlib import asynccontextmanager

import pytest
from aiodocker import Docker
from host_fakes import FakeMarket, an_order, http_get, ports, until

from openclore.api.clocks import clocks_refusal
from openclore.api.gigaspot import GpuClocks

PROGRAM = "import typer; from openclore.cli.host import host; typer.run(host)"


class Agent:
    """A running `openclore host`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.log = ""
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stderr
        while line := await self.process.stderr.readline():
            self.log += line.decode()

    async def ended(self, seconds: float = 60.0) -> int:
        async with asyncio.timeout(seconds):
            code = await self.process.wait()
            await self._reading
        return code


@asynccontextmanager
async def an_agent(market_url: str, state_dir, *options: str, **environment: str):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROGRAM,
        *("--market", market_url, "--state-dir", str(state_dir), *options),
        env={**os.environ, "TERM": "dumb", "COLUMNS": "200", **environment},
        stderr=asyncio.subprocess.PIPE,
    )
    agent = Agent(process)
    try:
        yield agent
    finally:
        if process.returncode is None:
            process.kill()
        await agent.ended()


SIMULATED = ("--runtime", "simulated")


def test_an_agent_registers_once_serves_and_ends_quickly_on_sigterm(tmp_path):
    async def scenario():
        async with FakeMarket() as market:
            unit = {"OPENCLORE_INIT_TOKEN": market.init_token, "OPENCLORE_PORT_RANGE": "31000-31005"}
            async with an_agent(f"{market.url}/v1/", tmp_path, *SIMULATED, **unit) as agent:
                await until(lambda: market.hellos)
                hello = market.hellos[0]
                assert (hello.public_address, hello.port_low, hello.port_high) == (
                    "127.0.0.1",
                    31_000,
                    31_005,
                )
                assert hello.specs.runtime == "simulated"
                order = an_order(
                    ports=ports(80), env={"SSH_PASSWORD": "pass-word"}, registry_auth="user:reg-token"
                )
                await market.want(order)
                await until(lambda: market.state(order.order_id) == "running")
                agent.process.terminate()
                assert await agent.ended(seconds=10) == 0
            assert "the agent stops" in agent.log
            market.forget()
            async with an_agent(market.url, tmp_path, *SIMULATED) as again:
                await until(lambda: market.state(order.order_id) == "running")
                assert "simulated" in await http_get(order.ports[0].public)
            assert market.registrations == 1
            for secret in (market.init_token, market.credential, "pass-word", "reg-token"):
                assert secret not in agent.log + again.log

    asyncio.run(scenario())


@pytest.mark.parametrize("token", [None, "wrong"])
def test_without_a_good_token_the_agent_says_so_and_ends(tmp_path, token):
    async def scenario():
        async with FakeMarket() as market:
            options = (*SIMULATED, *(("--init-token", token) if token else ()))
            async with an_agent(market.url, tmp_path, *options) as agent:
                assert await agent.ended() == 1
            return agent.log

    log = asyncio.run(scenario())
    expected = "refused the init token" if token else "OPENCLORE_INIT_TOKEN"
    assert expected in log
    assert "Traceback" not in log


def test_a_revoked_credential_ends_the_agent_with_a_clear_message(tmp_path):
    async def scenario():
        async with FakeMarket() as market:
            async with an_agent(market.url, tmp_path, *SIMULATED, "--init-token", market.init_token) as agent:
                await until(lambda: market.hellos)
                market.credential_accepted = False
                await market.stop()
                await market.start()
                assert await agent.ended() == 1
            return agent.log

    log = asyncio.run(scenario())
    assert "no longer accepts this server's credential" in log
    assert "Traceback" not in log


def test_a_revoked_credential_names_the_containers_that_stay_and_how_to_remove_them(tmp_path, images):
    async def scenario():
        async with FakeMarket() as market:
            order = an_order(images.shell)
            async with an_agent(market.url, tmp_path, "--init-token", market.init_token) as agent:
                await market.want(order)
                await until(lambda: market.state(order.order_id) == "running")
                market.credential_accepted = False
                await market.stop()
                await market.start()
                assert await agent.ended() == 1
            (remove,) = (line for line in agent.log.splitlines() if line.startswith("  docker rm "))
            (prune,) = (line for line in agent.log.splitlines() if line.startswith("  docker network prune "))
            outcomes = []
            for command in (remove, prune):
                shell = await asyncio.create_subprocess_shell(command)
                outcomes.append(await shell.wait())
            async with Docker() as engine:
                label = [f"openclore.order={order.order_id}"]
                left = await engine.containers.list(all=True, filters=json.dumps({"label": label}))
                networks = await engine.networks.list(filters={"label": label})
            assert (outcomes, left, networks) == ([0, 0], [], [])
            return agent.log

    log = asyncio.run(scenario())
    assert "no longer accepts this server's credential" in log
    assert "1 container of this server left on this machine, 1 running." in log


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--port-range", "31000"), "must be two ports"),
        (("--port-range", "31000-30000"), "the lower first"),
        (("--port-range", "1-70000"), "from 1 to 65535"),
        (("--public-address", "a b"), "is not a host name"),
        (("--market", "market.example"), "must look like https://market.example"),
        (("--runtime", "podman"), "docker"),
    ],
)
def test_bad_arguments_are_explained(tmp_path, options, expected):
    async def scenario():
        async with an_agent("http://127.0.0.1:1", tmp_path, *options) as agent:
            assert await agent.ended() == 2
        return agent.log

    assert expected in " ".join(asyncio.run(scenario()).replace("│", " ").split())


def test_where_no_engine_answers_the_stand_in_is_named_and_no_token_is_spent(tmp_path):
    async def scenario():
        async with FakeMarket() as market:
            environment = {"DOCKER_HOST": f"unix://{tmp_path}/nobody.sock"}
            options = ("--init-token", market.init_token)
            async with an_agent(market.url, tmp_path / "state", *options, **environment) as agent:
                assert await agent.ended() == 1
            assert market.registrations == 0
            return agent.log

    log = asyncio.run(scenario())
    assert "no Docker Engine answers" in log
    assert "--runtime simulated" in log
    assert "Traceback" not in log


def test_auto_falls_back_to_the_simulation_with_a_notice(tmp_path):
    async def scenario():
        async with FakeMarket() as market:
            environment = {"DOCKER_HOST": f"unix://{tmp_path}/nobody.sock"}
            options = ("--init-token", market.init_token, "--runtime", "auto")
            async with an_agent(market.url, tmp_path / "state", *options, **environment) as agent:
                await until(lambda: market.hellos)
            specs = market.hellos[0].specs
            assert (specs.runtime, specs.gpu_count > 0) == ("simulated", True)
            assert clocks_refusal(specs.gpus, [GpuClocks(pl=300)] * specs.gpu_count) == ""
            return agent.log

    assert "no containers run here" in asyncio.run(scenario())


def test_a_killed_agent_finds_its_container_as_it_left_it(tmp_path, images):
    async def scenario():
        async with FakeMarket() as market, Docker() as engine:
            order = an_order(images.web, ports=ports(80), command="echo ran >> /ran")
            async with an_agent(market.url, tmp_path, "--init-token", market.init_token) as agent:
                await market.want(order)
                await until(lambda: market.state(order.order_id) == "running")
                container = await engine.containers.get(f"openclore-order-{order.order_id}")
                before = (container.id, container["State"])
                agent.process.kill()
                await agent.ended()
            assert await http_get(order.ports[0].public) == "hello\n"
            market.forget()
            async with an_agent(market.url, tmp_path) as agent:
                await until(lambda: "container adopted" in agent.log)
                assert market.hellos[0].containers[0].state == "running"
                container = await engine.containers.get(f"openclore-order-{order.order_id}")
                assert (container.id, container["State"]) == before
                await market.want()
                await until(lambda: "container removed" in agent.log)
                listed = await engine.containers.list(all=True)
                assert container.id not in {other.id for other in listed}

    asyncio.run(scenario())

"""The agent's side of the link against a market on loopback."""

import asyncio
from contextlib import asynccontextmanager

import msgspec
import pytest
from host_fakes import FakeMarket, an_order, http_get, ports, until

from openclore.api.hostlink import CREDENTIAL_REFUSED_CLOSE, Hello
from openclore.api.specs import Specs
from openclore.host import plan
from openclore.host.keeper import Keeper
from openclore.host.link import BACKOFF_SECONDS_MAX, Link, backoff_seconds, register
from openclore.host.runtime import CredentialRefused, HostError
from openclore.host.simulated import SimulatedRuntime, SimulatedTuner

HELLO = Hello(
    protocol=1,
    agent_version="0",
    specs=Specs(runtime="simulated"),
    gpu_array=[],
    cuda_version="",
    public_address="127.0.0.1",
    port_low=30_000,
    port_high=30_999,
)


@asynccontextmanager
async def linked(market: FakeMarket, known=None, **settings):
    """A keeper of simulated orders, linked to the market; yields the keeper and the link's task."""
    runtime = SimulatedRuntime("127.0.0.1", pull_seconds=0)
    keeper = Keeper(runtime, SimulatedTuner([]), known=known, look_seconds=0.02)
    settings = {"beat_seconds": 0.1, "backoff": lambda tries: 0.02, **settings}
    link = Link(market.url, market.credential, lambda: HELLO, keeper, **settings)
    tasks = [asyncio.create_task(link.run()), asyncio.create_task(keeper.run())]
    try:
        yield keeper, tasks[0]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await runtime.close()


def test_the_link_greets_beats_and_runs_what_the_market_wants():
    async def scenario():
        async with FakeMarket() as market, linked(market):
            await until(lambda: market.beats)
            assert market.hellos == [HELLO]
            order = an_order(ports=ports(80))
            await market.want(order)
            await until(lambda: market.state(order.order_id) == "running")
            assert "simulated" in await http_get(order.ports[0].public)
            await until(lambda: market.beats[-1].generation == market.generation)
            await market.want()
            await until(lambda: market.said(order.order_id) is None)

    asyncio.run(scenario())


def test_a_change_is_beaten_at_once():
    async def scenario():
        async with FakeMarket() as market, linked(market, beat_seconds=3_600):
            await until(lambda: market.hellos)
            order = an_order()
            await market.want(order)
            await until(lambda: market.state(order.order_id) == "running")

    asyncio.run(scenario())


def test_the_answer_to_a_beat_brings_assignments_that_were_missed():
    async def scenario():
        async with FakeMarket() as market, linked(market):
            await until(lambda: market.beats)
            order = an_order()
            market.orders, market.generation = [order], market.generation + 1
            await until(lambda: market.state(order.order_id) == "running")

    asyncio.run(scenario())


def test_paid_time_is_taken_from_the_answers_to_beats():
    async def scenario():
        async with FakeMarket() as market, linked(market) as (keeper, _):
            order = an_order()
            await market.want(order)
            await until(lambda: market.state(order.order_id) == "running")
            market.orders = [msgspec.structs.replace(order, paid_until=order.paid_until + 60)]
            await until(lambda: keeper._wanted.orders[order.order_id].paid_until == order.paid_until + 60)

    asyncio.run(scenario())


def test_containers_outlive_a_market_that_goes_and_comes_back(capsys):
    async def scenario():
        async with FakeMarket() as market, linked(market) as (keeper, _):
            order = an_order(ports=ports(80))
            await market.want(order)
            await until(lambda: market.state(order.order_id) == "running")
            await market.stop()
            await until(lambda: keeper._wanted.cut_off_since is not None)
            await asyncio.sleep(0.3)
            assert await http_get(order.ports[0].public)
            market.forget()
            await market.start()
            await until(lambda: market.hellos)
            assert [container.state for container in market.hellos[0].containers] == ["running"]
            await until(lambda: keeper._wanted.cut_off_since is None)

    asyncio.run(scenario())
    log = capsys.readouterr().out
    assert log.count("linked to the market") == 1
    assert log.count("the link to the market at") <= 2, "a repeated failure is told once"


def test_a_cut_off_agent_ends_what_is_no_longer_paid_and_the_market_decides_again(monkeypatch):
    monkeypatch.setattr(plan, "CUT_OFF_GRACE_SECONDS", 0)

    async def scenario():
        async with FakeMarket() as market, linked(market) as (keeper, _):
            unpaid, paid = an_order(paid_until=1), an_order()
            await market.want(unpaid, paid)
            await until(lambda: market.state(unpaid.order_id) == market.state(paid.order_id) == "running")
            await market.stop()
            await until(lambda: [held.order_id for held in keeper.containers()] == [paid.order_id])
            await market.start()
            await until(lambda: market.state(unpaid.order_id) == "running")

    asyncio.run(scenario())


def test_a_silent_market_is_noticed_and_dialled_again():
    async def scenario():
        async with FakeMarket() as market, linked(market, silence_seconds_max=0.3):
            await until(lambda: market.beats)
            market.silent = True
            await until(lambda: len(market.hellos) >= 2)

    asyncio.run(scenario())


def test_a_refused_agent_tells_why_and_tries_again(capsys):
    async def scenario():
        async with FakeMarket() as market:
            market.refusal = "this agent is too old"
            async with linked(market):
                await until(lambda: len(market.hellos) >= 3)

    asyncio.run(scenario())
    assert capsys.readouterr().out.count("this agent is too old") == 1


@pytest.mark.parametrize("how", ["before the handshake", "after it"])
def test_a_revoked_credential_ends_the_agent(how):
    async def scenario():
        async with FakeMarket() as market:
            market.credential_accepted = how != "before the handshake"
            market.close_code = CREDENTIAL_REFUSED_CLOSE
            async with linked(market) as (_, link):
                with pytest.raises(CredentialRefused, match="no longer accepts"):
                    await link

    asyncio.run(scenario())


def test_a_message_from_a_later_market_is_told_once_and_changes_nothing(capsys):
    async def scenario():
        async with FakeMarket() as market, linked(market):
            order = an_order()
            await market.want(order)
            await until(lambda: market.state(order.order_id) == "running")
            for connection in market._connections:
                await connection.send('{"type":"news"}')
                await connection.send("no json")
            beats = len(market.beats)
            await until(lambda: len(market.beats) > beats + 2)
            assert market.state(order.order_id) == "running"
            assert len(market.hellos) == 1

    asyncio.run(scenario())
    assert "can't be read" in capsys.readouterr().out


def test_registration_exchanges_the_token_for_a_credential():
    async def scenario():
        async with FakeMarket() as market:
            registered = await register(market.url, market.init_token)
            assert (registered.server_id, registered.credential) == (7, market.credential)

    asyncio.run(scenario())


def test_a_refused_token_and_a_stranger_are_final():
    async def scenario():
        async with FakeMarket() as market:
            with pytest.raises(HostError, match="refused the init token"):
                await register(market.url, "wrong")
            market.register_status = 404
            with pytest.raises(HostError, match="did not answer as an OpenClore market does"):
                await register(market.url, market.init_token)

    asyncio.run(scenario())


def test_registration_waits_for_a_market_that_is_away():
    async def scenario():
        market = FakeMarket()
        registration = asyncio.create_task(register(market.url, market.init_token))
        await asyncio.sleep(0.1)
        async with market:
            assert (await registration).server_name == "attic"

    asyncio.run(scenario())


def test_backoff_grows_to_its_cap_and_never_to_zero():
    for tries in range(1, 2_000):
        assert 0.25 <= backoff_seconds(tries) <= BACKOFF_SECONDS_MAX
    assert backoff_seconds(1_999) >= BACKOFF_SECONDS_MAX / 2

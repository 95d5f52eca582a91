"""The market's side of the agent's life: register once, then stay linked. See `api.hostlink`."""

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress

import httpx2
import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.frames import CloseCode

from openclore.api.hostlink import (
    BEAT_SECONDS,
    CREDENTIAL_REFUSED_CLOSE,
    LINK_PATH,
    MESSAGE_BYTES_MAX,
    REGISTER_PATH,
    Assignments,
    Beat,
    FromMarket,
    Hello,
    Paid,
    Refused,
    Register,
    Registered,
)

from .keeper import Keeper
from .logs import Trouble, get_logger
from .runtime import CredentialRefused, HostError

BACKOFF_SECONDS_MIN = 0.5
BACKOFF_SECONDS_MAX = 15.0
OPEN_SECONDS_MAX = 10.0
PING_SECONDS = 8.0
SILENCE_SECONDS_MAX = 20.0
"""Every beat is answered, so a market silent for this long is gone, whatever its sockets say."""

CREDENTIAL_REFUSED = (
    "the market no longer accepts this server's credential: the server was removed or registered anew.\n"
    "Use its present init token with a fresh --state-dir."
)


class MarketTrouble(Exception):
    """The market can't be reached or can't answer now. Try again later."""


def backoff_seconds(tries: int) -> float:
    """The pause after this many failures in a row (from 1): 0.5 s doubling up to 15 s, less up to a half.

    The random part keeps a market's hosts from coming back all at once.
    """
    ceiling = min(BACKOFF_SECONDS_MIN * 2.0 ** min(tries, 10), BACKOFF_SECONDS_MAX)
    return ceiling * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret


async def register(market: str, init_token: str) -> Registered:
    """
    Exchange the init token for a credential, for as long as that takes.

    Raises:
        HostError: The token is refused, or this is no market. Waiting would not help.
    """
    trouble = Trouble(get_logger(), "the market answers again")
    tries = 0
    while True:
        try:
            registered = await _register_once(market, init_token)
        except MarketTrouble as error:
            tries += 1
            trouble.happened(str(error))
            await asyncio.sleep(backoff_seconds(tries))
        else:
            trouble.passed()
            return registered


async def _register_once(market: str, init_token: str) -> Registered:
    body = msgspec.json.encode(Register(init_token=init_token))
    url = market + REGISTER_PATH
    try:
        async with httpx2.AsyncClient(timeout=OPEN_SECONDS_MAX) as client:
            reply = await client.post(url, content=body, headers={"Content-Type": "application/json"})
    except httpx2.TransportError as error:
        raise MarketTrouble(f"the market at {market} can't be reached: {_reason(error)}") from error
    if reply.status_code == 401:
        raise HostError(
            "the market refused the init token: it is unknown, or another machine already uses it.\n"
            "Copy the init token of this server from the market's list of your servers."
        )
    if reply.status_code == 429 or reply.status_code >= 500:
        raise MarketTrouble(f"the market at {market} can't register now: HTTP {reply.status_code}")
    try:
        if reply.status_code != 200:
            raise msgspec.DecodeError
        return msgspec.json.decode(reply.content, type=Registered)
    except msgspec.DecodeError as error:
        raise HostError(
            f"{url} did not answer as an OpenClore market does (HTTP {reply.status_code}); check --market"
        ) from error


class Link:
    """Keeps one connection to the market open and speaks for the `Keeper`."""

    def __init__(
        self,
        market: str,
        credential: str,
        hello: Callable[[], Hello],
        keeper: Keeper,
        beat_seconds: float = BEAT_SECONDS,
        silence_seconds_max: float = SILENCE_SECONDS_MAX,
        backoff: Callable[[int], float] = backoff_seconds,
    ) -> None:
        """`hello` makes the first frame, without the containers; it is called in a thread and may block."""
        self._url = "ws" + market.removeprefix("http") + LINK_PATH
        self._market = market
        self._credential = credential
        self._hello = hello
        self._keeper = keeper
        self._beat_seconds = beat_seconds
        self._silence_seconds_max = silence_seconds_max
        self._backoff = backoff
        self._generation = 0
        self._tries = 0
        self._log = get_logger()
        self._trouble = Trouble(self._log, "linked to the market")

    async def run(self) -> None:
        """Until cancelled. Raises `CredentialRefused` once the market no longer knows the credential."""
        while True:
            try:
                await self._once()
            except MarketTrouble as error:
                self._trouble.happened(str(error))
            finally:
                self._keeper.cut_off()
            self._tries += 1
            await asyncio.sleep(self._backoff(self._tries))

    async def _once(self) -> None:
        self._generation = 0
        try:
            async with connect(
                self._url,
                additional_headers={"Authorization": f"Bearer {self._credential}"},
                max_size=MESSAGE_BYTES_MAX,
                open_timeout=OPEN_SECONDS_MAX,
                ping_interval=PING_SECONDS,
                ping_timeout=PING_SECONDS,
                close_timeout=1,
            ) as connection:
                await self._converse(connection)
        except InvalidStatus as error:
            status = error.response.status_code
            if status == 401:
                raise CredentialRefused(CREDENTIAL_REFUSED) from error
            # Not even 403 is final: whatever stands between may say it, and a market in trouble too.
            raise MarketTrouble(f"the market at {self._market} refused the link: HTTP {status}") from error
        except InvalidURI as error:
            raise HostError(f"{self._market} is not the address of a market") from error
        except ConnectionClosed as error:
            if error.rcvd and error.rcvd.code == CREDENTIAL_REFUSED_CLOSE:
                raise CredentialRefused(CREDENTIAL_REFUSED) from error
            raise MarketTrouble(f"the market at {self._market} closed the link: {_reason(error)}") from error
        except (OSError, TimeoutError, InvalidHandshake) as error:
            raise MarketTrouble(
                f"the link to the market at {self._market} is down: {_reason(error)}"
            ) from error

    async def _converse(self, connection: ClientConnection) -> None:
        self._keeper.changed.clear()
        facts = await asyncio.to_thread(self._hello)
        hello = msgspec.structs.replace(facts, containers=self._keeper.containers())
        await connection.send(msgspec.json.encode(hello).decode())
        beats = asyncio.create_task(self._beat(connection))
        try:
            await self._listen(connection)
        finally:
            beats.cancel()
            with suppress(asyncio.CancelledError, ConnectionClosed):
                await beats
            await connection.close(CloseCode.GOING_AWAY)

    async def _beat(self, connection: ClientConnection) -> None:
        changed = self._keeper.changed
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._beat_seconds):  # wait_for may swallow a cancellation
                    await changed.wait()
            changed.clear()
            beat = Beat(generation=self._generation, containers=self._keeper.containers())
            await connection.send(msgspec.json.encode(beat).decode())

    async def _listen(self, connection: ClientConnection) -> None:
        unreadable = Trouble(self._log, "the market's messages can be read again")
        while True:
            try:
                async with asyncio.timeout(self._silence_seconds_max):
                    frame = await connection.recv()
            except TimeoutError as error:
                silence = f"the market was silent for {self._silence_seconds_max:.0f} s"
                raise MarketTrouble(silence) from error
            try:
                message = msgspec.json.decode(frame, type=FromMarket)
            except msgspec.DecodeError as error:
                unreadable.happened(f"a message of the market can't be read: {error}")
            else:
                unreadable.passed()
                self._obey(message)

    def _obey(self, message: FromMarket) -> None:
        match message:
            case Assignments(generation=generation, orders=orders, now=now, background=background):
                if not self._generation:
                    self._trouble.passed()
                    self._tries = 0
                    self._log.info("the market wants", orders=sorted(order.order_id for order in orders))
                self._generation = generation
                self._keeper.assign(orders, now, background)
            case Paid(paid_until=paid_until, now=now):
                self._keeper.extend(paid_until, now)
            case Refused(reason=reason):
                raise MarketTrouble(f"the market refused this agent: {reason}")


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__

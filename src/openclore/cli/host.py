"""`openclore host`: turn this machine into a server of a market."""

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from openclore.host.runtime import HostError, RuntimeName

PORT_RANGE = re.compile(r"(\d{1,5})-(\d{1,5})")
ADDRESS = re.compile(r"[A-Za-z0-9.:_-]{1,253}")


def agent_command(market: str, name: str, init_token: str) -> str:
    """What to run on a machine to make it this server."""
    state_dir = f"~/.local/state/openclore/{name.replace(' ', '-')}"
    return f"OPENCLORE_INIT_TOKEN={init_token} openclore host --market {market} --state-dir {state_dir}"


def host(
    market: Annotated[str, typer.Option(help="Address of the market, like https://market.example.")],
    state_dir: Annotated[
        Path,
        typer.Option(help="Directory for this server's credential. One per server, readable by you alone."),
    ],
    init_token: Annotated[
        str | None,
        typer.Option(
            envvar="OPENCLORE_INIT_TOKEN",
            help="The server's init token, needed at the first start. Better in the environment: "
            "others can see the words of a command.",
        ),
    ] = None,
    public_address: Annotated[
        str | None,
        typer.Option(
            envvar="OPENCLORE_PUBLIC_ADDRESS",
            help="Name or address that renters connect to. Default: this machine's outgoing address.",
        ),
    ] = None,
    port_range: Annotated[
        str,
        typer.Option(
            envvar="OPENCLORE_PORT_RANGE", help="Public TCP ports that orders may use, both ends included."
        ),
    ] = "30000-30999",
    runtime: Annotated[
        RuntimeName,
        typer.Option(
            help="docker: containers. simulated: ports that answer, no containers. "
            "auto: docker where an engine answers, else simulated."
        ),
    ] = "docker",
) -> None:
    """Rent out this machine: report what it is, and run the containers that the market wants."""
    import asyncio

    from openclore.host import agent

    from .logs import configure_logs
    from .output import say

    port_low, port_high = _ports(port_range)
    settings = agent.Settings(
        market=_market(market),
        state_dir=state_dir,
        init_token=init_token,
        public_address=_address(public_address),
        port_low=port_low,
        port_high=port_high,
        runtime=runtime,
    )
    configure_logs()
    try:
        asyncio.run(agent.run(settings))
    except HostError as error:
        say(f"Error: {error}")
        raise typer.Exit(1) from error


def _market(url: str) -> str:
    """Without a trailing slash or the API's version, which belong to renters' clients."""
    market = url.strip().rstrip("/").removesuffix("/v1").rstrip("/")
    try:
        parts = urlsplit(market)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.username is not None:
        raise typer.BadParameter(f"'{url}' must look like https://market.example", param_hint="--market")
    return market


def _address(address: str | None) -> str | None:
    if address is not None and not ADDRESS.fullmatch(address):
        raise typer.BadParameter(
            f"'{address}' is not a host name or an address", param_hint="--public-address"
        )
    return address


def _ports(port_range: str) -> tuple[int, int]:
    match = PORT_RANGE.fullmatch(port_range.strip())
    low, high = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= low <= high <= 65_535:
        raise typer.BadParameter(
            f"'{port_range}' must be two ports from 1 to 65535, the lower first, like 30000-30999",
            param_hint="--port-range",
        )
    return low, high

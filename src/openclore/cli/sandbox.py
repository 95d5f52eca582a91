"""openclore sandbox: a market to rehearse on, its clock and its faults."""

import signal
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from . import options
from .errors import guarded
from .output import amount, say, show_facts, show_json

if TYPE_CHECKING:
    from openclore.sandbox import Sandbox

sandbox = typer.Typer(invoke_without_command=True)

_TIMEOUT_SECONDS = 600
"""A year takes minutes to live through."""
_LOOK_SECONDS = 2


@sandbox.callback()
@guarded
def run(
    context: typer.Context,
    seed: Annotated[int, typer.Option(help="Which story: machines, rivals, their whims.")] = 0,
    servers: Annotated[int, typer.Option(min=1, max=4_000, help="How many machines.")] = 300,
    marketplace: Annotated[
        Path | None, typer.Option(help="The servers of a recorded reply of marketplace instead.")
    ] = None,
    dialect: Annotated[
        Literal["open", "live"], typer.Option(help="open, or live: as the public service speaks.")
    ] = "open",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 takes a free one.")] = 0,
    speed: Annotated[
        float, typer.Option(min=0, max=86_400, help="Its seconds in one of ours; 0: only when turned.")
    ] = 1.0,
    start: Annotated[
        int | None,
        typer.Option(metavar="UNIX", help="When it begins.  [default: now]", min=10**9, max=10**10),
    ] = None,
    no_pace: Annotated[
        bool, typer.Option("--no-pace", help="Lift the limits to how often a key calls.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Run a market to rehearse on until Ctrl-C: the real one, with a clock to turn, rivals and faults.

    Nothing of it is kept. The same seed tells the same story.
    """
    if context.invoked_subcommand is not None:
        return
    from openclore.client.errors import SetupError
    from openclore.sandbox.ports import NoPorts
    from openclore.sandbox.recorded import RecordingError
    from openclore.sandbox.sandbox import NO_PACE, Sandbox
    from openclore.server.settings import Pace, SettingsError

    from .logs import configure_logs

    configure_logs()
    for number in (signal.SIGTERM, signal.SIGINT):  # SIGINT too: in the background shells have it ignored
        signal.signal(number, signal.default_int_handler)
    try:
        with Sandbox(
            seed=seed,
            servers=servers,
            marketplace=marketplace,
            dialect=dialect,
            port=port,
            start=int(datetime.now(UTC).timestamp()) if start is None else start,
            speed=speed,
            request_seconds=0,
            pace=NO_PACE if no_pace else Pace(),
        ) as started:
            try:
                _introduce(started, seed, dialect, json)
                threading.Event().wait()
            except KeyboardInterrupt:
                say("Stopping ...")
        say("The sandbox has ended; nothing of it is left.")
    except (RecordingError, NoPorts, SettingsError) as error:
        raise SetupError(str(error)) from None
    except KeyboardInterrupt:  # while it starts, or a second one while it ends
        say("The sandbox has ended; nothing of it is left.")


def _introduce(started: "Sandbox", seed: int, dialect: str, as_json: bool) -> None:
    """Say where it is and what can be done there."""
    if as_json:
        show_json(
            {
                "base_url": started.base_url,
                "now": started.clock.now,
                "keys": dict(started.keys),
                "my_servers": started.my_servers,
            }
        )
        return
    wallets = ", ".join(f"{amount(held)} {name}" for name, held in started.wallets().items())
    mine = ", ".join(str(server_id) for server_id in started.my_servers)
    sys.stdout.write(
        f"OpenClore sandbox ready at {started.base_url}\n"
        f"{started.servers} servers, seed {seed}, dialect {dialect}. "
        f"There it is {_date(started.clock.now)}.\n\n"
        f"  renter  {started.keys['renter']}\n          {wallets}\n"
        f"  host    {started.keys['host']}\n          servers {mine}\n\n"
        "In another terminal, as the renter:\n\n"
        f"  export CLORE_BASE_URL={started.base_url}\n"
        f"  export CLORE_API_KEY={started.keys['renter']}\n"
        "  openclore marketplace\n"
        "  openclore sandbox turn 2h\n"
        "  openclore sandbox fault error_after --endpoint create_order\n\n"
        "Ctrl-C ends it.\n"
    )
    sys.stdout.flush()


@sandbox.command()
@guarded
def turn(
    duration: Annotated[
        int,
        typer.Argument(
            parser=options.duration, metavar="DURATION", help="30s, 10m, 2h, 1d12h, 1w, or seconds."
        ),
    ],
    profile: options.Profile = None,
    base_url: options.BaseUrl = None,
    json: options.Json = False,
) -> None:
    """Move the sandbox's clock on, and live through all that happens until then."""
    now = _call("POST", "clock", {"advance_seconds": duration}, profile, base_url)
    if json:
        show_json(now)
    else:
        say(f"There it is {_date(now['now'])}.")


@sandbox.command()
@guarded
def fault(
    kind: Annotated[str | None, typer.Argument(help="What goes wrong, see above.")] = None,
    endpoint: Annotated[str, typer.Option(help="Only requests to this one, create_order.")] = "",
    count: Annotated[int, typer.Option(min=1, help="How many requests meet it.")] = 1,
    skip: Annotated[int, typer.Option(min=0, help="How many it lets pass first.")] = 0,
    seconds: Annotated[int | None, typer.Option(min=0, help="How long, where that matters.")] = None,
    server: Annotated[int | None, typer.Option(help="Server id, where it concerns one.")] = None,
    image: Annotated[str, typer.Option(help="Only deployments of this image.")] = "",
    factor: Annotated[float | None, typer.Option(help="How much higher a bid or a floor becomes.")] = None,
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="The error of a refusal, or why an image fails.")
    ] = "",
    clear: Annotated[bool, typer.Option("--clear", help="Let nothing go wrong any more.")] = False,
    profile: options.Profile = None,
    base_url: options.BaseUrl = None,
    json: options.Json = False,
) -> None:
    """Let something go wrong on the sandbox; without a kind, show what waits to.

    What requests meet: too_many_requests, error_before, error_after, timeout_before, timeout_after,
    forbidden, bad_gateway, refused, cut_off, lingering_cancel (before or after: whether the request was
    carried out).

    What happens on the market, at once or at the next request to an endpoint: outbid, floor_moved, host_lost,
    host_back, slow_image, failing_image, never_deploys.
    """
    if clear:
        found = _call("DELETE", "faults", None, profile, base_url)
    elif kind is None:
        found = _call("GET", "faults", None, profile, base_url)
    else:
        given: dict[str, Any] = {
            "seconds": seconds,
            "server_id": server,
            "factor": factor,
        }
        body = {name: value for name, value in given.items() if value is not None}
        body |= {
            "kind": kind,
            "endpoint": endpoint,
            "count": count,
            "skip": skip,
            "image": image,
            "reason": reason,
        }
        found = _call("POST", "faults", body, profile, base_url)
    if json:
        show_json(found)
        return
    for waiting in found["faults"]:
        where = waiting.get("endpoint") or "any endpoint"
        count = waiting.get("count", 1)
        say(f"{waiting['kind']} waits for {count} request{'s' if count > 1 else ''} to {where}.")
    if not found["faults"]:
        say("Nothing waits to go wrong.")


@sandbox.command()
@guarded
def credit(
    account: Annotated[str, typer.Argument(help="renter, host, or an e-mail address.")],
    currency: Annotated[str, typer.Argument(help=options.CURRENCY_HELP)],
    money: Annotated[float, typer.Argument(metavar="AMOUNT", min=0)],
    profile: options.Profile = None,
    base_url: options.BaseUrl = None,
) -> None:
    """Give somebody on the sandbox money."""
    body = {"account": account, "currency": options.currency(currency), "amount": money}
    _call("POST", "credit", body, profile, base_url)
    say(f"{account} has {amount(money)} {body['currency']} more.")


@sandbox.command()
@guarded
def status(
    profile: options.Profile = None, base_url: options.BaseUrl = None, json: options.Json = False
) -> None:
    """Show what the sandbox is, what time it is there, and whether its ledger adds up."""
    about = _call("GET", "", None, profile, base_url)
    about |= _call("GET", "clock", None, profile, base_url)
    about |= {"ledger": _call("GET", "ledger", None, profile, base_url)["difference"] or "adds up"}
    if json:
        show_json(about)
        return
    show_facts(
        [
            ("Time", _date(about["now"])),
            ("Speed", f"{about['speed']:g}"),
            ("Seed", about["seed"]),
            ("Dialect", about["dialect"]),
            ("Servers", about["servers"]),
            ("Renter", about["keys"]["renter"]),
            ("Host", about["keys"]["host"]),
            ("Its servers", ", ".join(map(str, about["my_servers"]))),
            ("Ledger", about["ledger"]),
        ]
    )


def found_at(profile: str | None, base_url: str | None) -> str | None:
    """The address that these options name if it is a sandbox's; the public service is not asked."""
    import httpx2

    from openclore.client.profiles import DEFAULT_BASE_URL, access

    found = access(None, base_url, profile).base_url
    if found == DEFAULT_BASE_URL:
        return None
    try:
        about = httpx2.get(f"{found.removesuffix('/v1')}/sandbox", timeout=_LOOK_SECONDS).json()
    except (httpx2.HTTPError, ValueError):
        return None
    return found if isinstance(about, dict) and "seed" in about else None


def _date(now: int) -> str:
    return f"{datetime.fromtimestamp(now, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _call(method: str, what: str, body: Any, profile: str | None, base_url: str | None) -> dict[str, Any]:
    """Ask the sandbox.

    Raises:
        CloreError: it can't be reached, what answers is no sandbox, or it refuses.
    """
    import httpx2

    from openclore.client.errors import InputError, NetworkError, SetupError
    from openclore.client.profiles import DEFAULT_BASE_URL, access

    found = access(None, base_url, profile).base_url
    if found == DEFAULT_BASE_URL:
        raise SetupError(
            "Say which sandbox: set CLORE_BASE_URL to the address that openclore sandbox says when it starts,"
            " or give --base-url."
        )
    address = found.removesuffix("/v1")
    try:
        reply = httpx2.request(
            method, f"{address}/sandbox/{what}".rstrip("/"), json=body, timeout=_TIMEOUT_SECONDS
        )
        content = reply.json()
    except httpx2.HTTPError as error:
        raise NetworkError(f"No sandbox answers at {address}: {error}") from error
    except ValueError:
        content = None
    if reply.status_code == 400 and isinstance(content, dict) and "error" in content:
        said = str(content["error"]).replace("server_id:", "--server:", 1)
        raise InputError(f"The sandbox refuses: {said}")
    if reply.status_code != 200 or not isinstance(content, dict):
        raise SetupError(
            f"What answers at {address} is no sandbox. Start one with openclore sandbox, and set"
            " CLORE_BASE_URL to the address that it says, or give --base-url."
        )
    return content

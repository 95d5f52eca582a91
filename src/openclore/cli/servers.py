"""openclore servers, server-config, set-server, server: the machines an account rents out."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from openclore.api.offers import PricePair
from openclore.api.servers import MyServer, ServerConfig, SetServerSettings

from . import options
from .errors import DeployError, guarded
from .host import agent_command
from .marketplace import UNITS, gpu_model
from .output import Column, price, say, show_facts, show_json, show_table

if TYPE_CHECKING:
    from openclore.client import Clore

server = typer.Typer(
    no_args_is_help=True, help="Change which servers you have. Only OpenClore's markets can."
)

Name = Annotated[str, typer.Argument(help="Name of the server.")]

_FIELDS = {"bitcoin": "bitcoin", "CLORE-Blockchain": "clore", "USD-Blockchain": "usd"}
_RENTAL = {0: "free", 1: "spot order", 2: "rented on demand", 3: "rented at a fixed dollar price"}


@guarded
def servers(
    profile: options.Profile = None, base_url: options.BaseUrl = None, json: options.Json = False
) -> None:
    """Show the servers you rent out."""
    with options.client(profile, base_url) as clore:
        found = clore.my_servers()
    if json:
        show_json(found)
        return
    priced = {
        coin
        for one in found
        for prices in (one.pricing, one.min_spot_pricing)
        for coin, amount in (prices or {}).items()
        if amount
    }
    coins = [coin for coin in dict.fromkeys([*reversed(_FIELDS), *sorted(priced)]) if coin in priced]
    rows = [_row(one, coins) for one in found]
    show_table(_columns(coins), rows, empty="You have no servers on this market.")


def _columns(coins: Sequence[str]) -> list[Column]:
    """Prices in dollars, which come first, matter most."""
    units = [UNITS.get(coin, coin) for coin in coins]
    return [
        Column("NAME", flexible=True),
        Column("ID", rank=1, justify="right"),
        Column("STATE"),
        Column("VISIBILITY", rank=4),
        Column("GPU", rank=2, flexible=True),
        *(Column(f"{unit}/DAY", rank=1 + 2 * n, justify="right") for n, unit in enumerate(units)),
        *(Column(f"LOWEST BID {unit}", rank=20 + n, justify="right") for n, unit in enumerate(units)),
    ]


def _row(server: MyServer, coins: Sequence[str]) -> list[object]:
    prices, floors = server.pricing or {}, server.min_spot_pricing or {}
    return [
        server.name or "-",
        server.id if server.id is not None else "-",
        _state(server),
        server.visibility or "-",
        gpu_model(server.specs),
        *(price(prices.get(coin) or None, coin) for coin in coins),
        *(price(floors.get(coin) or None, coin) for coin in coins),
    ]


def _state(server: MyServer | ServerConfig) -> str:
    state = "online" if server.online else "offline" if server.connected else "never connected"
    return f"{state} (simulated)" if server.specs and server.specs.runtime == "simulated" else state


def _prices(by_currency: dict[str, float | None] | None) -> str:
    listed = [
        f"{price(value, coin)} {_FIELDS.get(coin, coin)}"
        for coin, value in (by_currency or {}).items()
        if value
    ]
    return ", ".join(listed) or "-"


@guarded
def server_config(
    name: Name,
    profile: options.Profile = None,
    base_url: options.BaseUrl = None,
    json: options.Json = False,
) -> None:
    """Show one server's settings and state."""
    with options.client(profile, base_url) as clore:
        config = clore.server_config(name)
    if json:
        show_json(config)
        return
    _show_config(config)


def _show_config(config: ServerConfig) -> None:
    usd = {c: p.on_demand for c, p in (config.usd_pricing or {}).items()}
    show_facts(
        [
            ("Name", config.name),
            ("Id", config.id),
            ("GPU", gpu_model(config.specs)),
            ("State", _state(config)),
            ("Visibility", config.visibility),
            ("Rental", _RENTAL.get(config.rental_status or 0) if config.rental_status is not None else None),
            ("Longest rental", f"{config.mrl} h" if config.mrl is not None else None),
            ("Accepts", ", ".join(config.allowed_coins or ())),
            ("Price per day", _prices(config.pricing)),
            ("Lowest bid per day", _prices(config.spot_pricing)),
            ("In dollars per day", _prices(usd)),
            ("While it is free", config.background_job.image if config.background_job else None),
        ]
    )


@guarded
def set_server(
    name: Name,
    public: Annotated[
        bool | None, typer.Option("--public/--hidden", help="Whether it can be rented.")
    ] = None,
    mrl: Annotated[int | None, typer.Option(metavar="HOURS", help="Longest rental.")] = None,
    set_price: Annotated[
        list[str] | None, typer.Option("--price", metavar="CURRENCY=AMOUNT", help="Price per day.")
    ] = None,
    spot: Annotated[
        list[str] | None, typer.Option(metavar="CURRENCY=AMOUNT", help="Lowest bid per day.")
    ] = None,
    usd_price: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CURRENCY=DOLLARS",
            help="Dollars per day: the price in this currency follows the exchange rates.",
        ),
    ] = None,
    usd_spot: Annotated[
        list[str] | None, typer.Option(metavar="CURRENCY=DOLLARS", help="Lowest bid in dollars per day.")
    ] = None,
    accept: Annotated[list[str] | None, typer.Option(metavar="CURRENCY", help="Accept a currency.")] = None,
    refuse: Annotated[list[str] | None, typer.Option(metavar="CURRENCY", help="Accept it no more.")] = None,
    profile: options.Profile = None,
    base_url: options.BaseUrl = None,
    json: options.Json = False,
) -> None:
    """Change some settings of a server and keep the others.

    Running orders keep their price. With --usd-price the price in a currency follows the exchange rates,
    with --price no longer. Either is the lowest bid too where there was none.
    """
    from openclore.client import settings_of

    prices = options.amounts(set_price or [], "--price")
    floors = options.amounts(spot or [], "--spot")
    dollars = options.amounts(usd_price or [], "--usd-price")
    dollar_floors = options.amounts(usd_spot or [], "--usd-spot")
    if twice := sorted({*prices, *floors} & {*dollars, *dollar_floors}):
        raise typer.BadParameter(f"{twice[0]} is priced by hand or in dollars, not both")
    known = {
        *prices,
        *floors,
        *dollars,
        *dollar_floors,
        *map(options.currency, [*(accept or ()), *(refuse or ())]),
    }
    if unknown := sorted(known - set(_FIELDS)):
        raise typer.BadParameter(f"unknown currency {unknown[0]!r}; use {options.CURRENCY_HELP}")
    with options.client(profile, base_url) as clore:
        settings = settings_of(clore.server_config(name))
        settings.name = name
        if public is not None:
            settings.availability = public
        if mrl is not None:
            settings.mrl = mrl
        for coin, value in prices.items():
            setattr(settings, f"{_FIELDS[coin]}_on_demand", value)
        for coin, value in floors.items():
            setattr(settings, f"{_FIELDS[coin]}_spot", value)
        for coin in {*prices, *floors}:
            _price_by_hand(settings, coin)
        for coin, value in prices.items():
            if getattr(settings, f"{_FIELDS[coin]}_spot") is None:  # a pair belongs together
                setattr(settings, f"{_FIELDS[coin]}_spot", value)
        for coin in {*dollars, *dollar_floors}:
            _peg(settings, coin, dollars.get(coin), dollar_floors.get(coin))
        for coin in map(options.currency, accept or ()):
            setattr(settings, f"{_FIELDS[coin]}_enabled", True)
        for coin in map(options.currency, refuse or ()):
            setattr(settings, f"{_FIELDS[coin]}_enabled", False)
        clore.set_server_settings(settings)
        say(f"The settings of {name} are saved.")
        config = clore.server_config(name)
    if json:
        show_json(config)
    else:
        _show_config(config)


def _peg(settings: SetServerSettings, coin: str, on_demand: float | None, spot: float | None) -> None:
    """Have the price in a currency follow the dollar."""
    before = (settings.usd_pricing or {}).get(coin, PricePair())
    on_demand = before.on_demand if on_demand is None else on_demand
    if on_demand is None:
        raise typer.BadParameter(f"{coin} has no price in dollars yet, give --usd-price too")
    floor = before.spot if spot is None else spot
    pair = PricePair(on_demand=on_demand, spot=on_demand if floor is None else floor)
    settings.autoprice = {**(settings.autoprice or {}), coin: "usd"}
    settings.usd_pricing = {**(settings.usd_pricing or {}), coin: pair}


@server.command("add")
@guarded
def add_server(
    name: Annotated[str, typer.Argument(help="Its name: letters, digits, spaces, _ and -.")],
    profile: options.Profile = None,
    base_url: options.BaseUrl = None,
    json: options.Json = False,
) -> None:
    """Register a machine: prints its init token and what to run on it.

    The server is hidden and without prices until openclore set-server.
    """
    from openclore.api.endpoints import BASE_PATH

    with options.client(profile, base_url) as clore:
        added = clore.add_server(name)
        command = agent_command(clore.base_url.removesuffix(BASE_PATH), added.name, added.init_token)
    if json:
        show_json(
            {
                "server_id": added.server_id,
                "name": added.name,
                "init_token": added.init_token,
                "command": command,
            }
        )
        return
    show_facts([("Id", added.server_id), ("Name", added.name), ("Init token", added.init_token)])
    say("The token is good until an agent has connected with it. On the machine, run:")
    typer.echo(command)


@server.command("remove")
@guarded
def remove_server(
    name: Name,
    profile: options.Profile = None,
    base_url: options.BaseUrl = None,
    json: options.Json = False,
) -> None:
    """Remove a server that is hidden and not rented. Its agent is not let in again.

    Hide it first with openclore set-server NAME --hidden, and wait until its orders have ended.
    """
    with options.client(profile, base_url) as clore:
        server_id = _id_of(clore, name)
        clore.remove_server(server_id)
    say(f"{name} is removed; its name is free.")
    if json:
        show_json({"server_id": server_id, "name": name})


@server.command("gigaspot")
@guarded
def set_gigaspot(
    name: Name,
    min_bid: Annotated[
        float | None, typer.Option(metavar="AMOUNT", help="Lowest bid, CLORE per day.")
    ] = None,
    energy_price: Annotated[
        float | None, typer.Option(metavar="AMOUNT", help="Your dollars per kWh, for bidders to see.")
    ] = None,
    off: Annotated[bool, typer.Option("--off", help="Take it off; its GigaSPOT bids end.")] = False,
    profile: options.Profile = None,
    base_url: options.BaseUrl = None,
    json: options.Json = False,
) -> None:
    """Put a server on GigaSPOT, or take it off."""
    if off == (min_bid is not None):
        raise typer.BadParameter("give either --min-bid or --off")
    with options.client(profile, base_url) as clore:
        server_id = _id_of(clore, name)
        clore.set_gigaspot(server_id, min_bid, energy_price)
    say(f"{name} is {'off GigaSPOT' if off else 'on GigaSPOT'}.")
    if json:
        show_json({"server_id": server_id, "min_bid": min_bid})


@server.command("background")
@guarded
def set_background_job(
    name: Name,
    image: Annotated[str | None, typer.Option(metavar="IMAGE", help="Container image.")] = None,
    command: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Script that runs instead of what the image starts."),
    ] = None,
    env: options.Env = None,
    off: Annotated[bool, typer.Option("--off", help="Run nothing any more.")] = False,
    profile: options.Profile = None,
    base_url: options.BaseUrl = None,
    json: options.Json = False,
) -> None:
    """Have a server run a container while nobody rents it. It stops when the server is rented."""
    if off == (image is not None) or (off and (command or env)):
        raise typer.BadParameter("give either --image, with --command and --env as you like, or --off")
    with options.client(profile, base_url) as clore:
        server_id = _id_of(clore, name)
        clore.set_background_job(server_id, image, command, options.variables(env))
    say(f"{name} runs {'nothing' if off else image} while nobody rents it.")
    if json:
        show_json({"server_id": server_id, "image": image})


def _id_of(clore: "Clore", name: str) -> int:
    server_id = clore.server_config(name).id
    if server_id is None:
        raise DeployError(f"The market does not tell the id of {name}; has it connected yet?")
    return server_id


def _price_by_hand(settings: SetServerSettings, coin: str) -> None:
    if settings.autoprice and settings.autoprice.get(coin):
        settings.autoprice = {**settings.autoprice, coin: False}
    if settings.usd_pricing and coin in settings.usd_pricing:
        settings.usd_pricing = {c: pair for c, pair in settings.usd_pricing.items() if c != coin}

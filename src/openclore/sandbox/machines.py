"""The machines of a made-up market: plausible hardware at plausible prices, the same for the same seed."""

from dataclasses import dataclass, field
from random import Random

from ..api.currencies import PRICE_BOUNDS, Currency
from ..api.specs import Net, Specs
from ..rules import money
from ..rules.servers import GigaspotTerms, Pegged, Pricing, Settings, Visibility

RATES = {Currency.BITCOIN: 65_000.0, Currency.CLORE: 0.02, Currency.USD: 1.0}
"""Dollars for one unit when the market opens."""


@dataclass(frozen=True)
class Machine:
    """A server before it is written down. `owner` groups machines of one host.

    `reliability` is the share of time it was there, 0 to 1, in the `days` since it first connected. `rented`
    ones are taken when the market opens. One without a `name` gets one.
    """

    id: int
    owner: int
    settings: Settings
    specs: Specs
    gpu_array: list[str]
    cuda_version: str
    reliability: float
    days: int
    rented: bool
    gigaspot: GigaspotTerms | None = None
    name: str = ""


@dataclass(frozen=True)
class Model:
    """A GPU: its name, GB, W, dollars for a day of one; how common it is, and how many are in a machine."""

    name: str
    gpuram: int
    watts: int
    usd: float
    weight: int
    counts: tuple[int, ...] = field(default=(1, 1, 1, 2, 4))


MODELS = (
    Model("NVIDIA GeForce GTX 1660 SUPER", 6, 125, 0.55, 4, (1, 6, 8)),
    Model("NVIDIA GeForce RTX 3060", 12, 170, 1.1, 7, (1, 1, 2, 5)),
    Model("NVIDIA GeForce RTX 3060 Ti", 8, 200, 0.85, 8, (1, 6, 8, 8)),
    Model("NVIDIA GeForce RTX 3070", 8, 220, 1.3, 8, (1, 2, 6, 8)),
    Model("NVIDIA GeForce RTX 3080", 10, 320, 2.2, 10, (1, 1, 2, 4, 6)),
    Model("NVIDIA GeForce RTX 3090", 24, 350, 3.4, 10, (1, 1, 2, 4)),
    Model("NVIDIA GeForce RTX 4070 Ti", 12, 285, 2.6, 6),
    Model("NVIDIA GeForce RTX 4080", 16, 320, 4.2, 6),
    Model("NVIDIA GeForce RTX 4090", 24, 450, 6.8, 22, (1, 1, 1, 2, 2, 3, 4, 8)),
    Model("NVIDIA GeForce RTX 5090", 31, 575, 11.0, 8, (1, 1, 2, 4)),
    Model("NVIDIA RTX A4000", 16, 140, 2.2, 3),
    Model("NVIDIA RTX A6000", 48, 300, 8.5, 3, (1, 2, 4)),
    Model("NVIDIA L40S", 45, 350, 13.0, 2, (1, 2)),
    Model("NVIDIA A100-SXM4-80GB", 80, 400, 22.0, 2, (1, 2, 4)),
    Model("NVIDIA H100 80GB HBM3", 80, 700, 46.0, 1, (1, 1, 2)),
)
CPUS = (
    ("AMD EPYC 7402 24-Core Processor", "24/48"),
    ("AMD EPYC 7702 64-Core Processor", "64/128"),
    ("AMD Ryzen 9 5950X 16-Core Processor", "16/32"),
    ("AMD Ryzen 9 7950X 16-Core Processor", "16/32"),
    ("Intel(R) Core(TM) i5-12400F", "6/12"),
    ("Intel(R) Core(TM) i9-13900K", "24/32"),
    ("Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz", "14/28"),
    ("Intel(R) Xeon(R) CPU E5-2697 v3 @ 2.60GHz", "28/56"),
)
BOARDS = ("ROMED8-2T", "X99-TURBO", "PRIME Z790-P", "TUF GAMING B550-PLUS", "H12SSL-i", "X10DRG-Q")
DISKS = (
    "Samsung SSD 980 PRO",
    "KINGSTON SNV2S1000G",
    "WD_BLACK SN850X",
    "INTEL SSDPE2KX020T8",
    "CT1000MX500SSD1",
)
COUNTRIES = (
    "DE",
    "DE",
    "US",
    "US",
    "US",
    "CA",
    "FR",
    "FI",
    "SE",
    "NO",
    "PL",
    "CZ",
    "BG",
    "RO",
    "UA",
    "KR",
    "JP",
)
MRL_HOURS = (24, 48, 72, 72, 120, 168, 168, 240, 336, 720, 1_440)
FIRST_ID = 70_001
FIRST_OWNER = 901
MACHINES_PER_HOST = 8
PEGGED_SHARE = 0.3
RENTED_SHARE = 0.45
GIGASPOT_SHARE = 0.05


def made_up(seed: int, count: int) -> list[Machine]:
    """A market of so many machines. Hosts price within a third of what a model is worth."""
    dice = Random(f"{seed}/machines")
    hosts = max(3, count // MACHINES_PER_HOST)
    tastes = [dice.uniform(0.8, 1.25) for _ in range(hosts)]
    return [
        _machine(dice, FIRST_ID + number, FIRST_OWNER + dice.randrange(hosts), tastes)
        for number in range(count)
    ]


def _machine(dice: Random, server_id: int, owner: int, tastes: list[float]) -> Machine:
    model = dice.choices(MODELS, [model.weight for model in MODELS])[0]
    gpus = dice.choice(model.counts)
    usd = model.usd * gpus * tastes[owner - FIRST_OWNER] * dice.uniform(0.85, 1.2)
    on_gigaspot = dice.random() < GIGASPOT_SHARE
    cpu, threads = dice.choice(CPUS)
    short = model.name.removeprefix("NVIDIA ").removeprefix("GeForce ")
    return Machine(
        id=server_id,
        owner=owner,
        settings=_settings(dice, usd),
        specs=Specs(
            mb=dice.choice(BOARDS),
            cpu=cpu,
            cpus=threads,
            ram=round(dice.choice((16, 32, 64, 64, 128, 256, 512)) * dice.uniform(0.97, 0.99), 4),
            disk=f"{dice.choice(DISKS).replace(' ', 'x20')} {dice.uniform(90, 1_900):.4f}GB",
            disk_speed=round(dice.choice((450, 900, 1_800, 3_200)) * dice.uniform(0.8, 1.1), 2),
            gpu=f"{gpus}x {model.name}",
            gpuram=model.gpuram,
            net=_net(dice),
            backend_version=dice.choice((17, 19, 20, 21, 21)),
            pcie_rev=dice.choice((3, 4, 4, 5)),
            pcie_width=dice.choice((4, 8, 16, 16)),
            pl=[model.watts] * gpus,
            stock_pl=[model.watts] * gpus,
            gpus=[_ranges(model)] * gpus if on_gigaspot else None,
        ),
        gpu_array=[f" {short}"] * gpus,
        cuda_version=dice.choice(("12.2", "12.4", "12.8", "13.0")),
        reliability=_reliability(dice),
        days=dice.randint(20, 500),
        rented=dice.random() < RENTED_SHARE and not on_gigaspot,
        gigaspot=GigaspotTerms(min_bid=bounded(Currency.CLORE, usd / 2 / RATES[Currency.CLORE]))
        if on_gigaspot
        else None,
    )


def _ranges(model: Model) -> dict[str, object]:
    """What may be chosen for a GPU, as the agent of a machine reports it."""
    return {
        "type": model.name,
        "mem": model.gpuram,
        "pl": [model.watts // 3, model.watts],
        "core_lock": [210, 2_500],
        "mem_lock": [405, 10_500],
        "core_offset": [-500, 500],
        "mem_offset": [-1_000, 2_000],
    }


def _net(dice: Random) -> Net:
    down = round(dice.choice((100, 300, 500, 1_000, 1_000, 2_500)) * dice.uniform(0.7, 1.0), 2)
    return Net(cc=dice.choice(COUNTRIES), down=down, up=round(down * dice.uniform(0.3, 1.0), 2))


def _reliability(dice: Random) -> float:
    """Most machines are nearly always there, a few hardly."""
    return round(1 - dice.random() ** 16 * 0.3 - dice.uniform(0, 0.001), 4)


def _settings(dice: Random, usd: float) -> Settings:
    """A machine for so many dollars a day: which currencies its host takes, and how the prices are kept."""
    floor = usd * dice.uniform(0.5, 0.9)
    accepts = {
        Currency.BITCOIN: dice.random() < 0.5,
        Currency.CLORE: dice.random() < 0.9,
        Currency.USD: dice.random() < 0.8,
    }
    if not any(accepts.values()):
        accepts[Currency.CLORE] = True
    keeps_up = dice.random() < PEGGED_SHARE
    prices: dict[Currency, Pricing] = {}
    pegged: dict[Currency, Pegged] = {}
    for currency, accepted in accepts.items():
        if keeps_up and currency is Currency.CLORE:
            pegged[currency] = Pegged(on_demand=bounded(Currency.USD, usd), spot=bounded(Currency.USD, floor))
        prices[currency] = _priced(currency, usd / RATES[currency], floor / RATES[currency], accepted)
    mrl = dice.choice(MRL_HOURS)
    return Settings(visibility=Visibility.PUBLIC, mrl_hours=mrl, prices=prices, pegged=pegged)


def _priced(currency: Currency, on_demand: float, spot: float, accepted: bool) -> Pricing:
    return Pricing(on_demand=bounded(currency, on_demand), spot=bounded(currency, spot), accepted=accepted)


def bounded(currency: Currency, price: float) -> int:
    """A price per day with the decimals and within the bounds of the currency."""
    lowest, highest, decimals = PRICE_BOUNDS[currency]
    amount = money.rounded(money.from_wire(round(price, 8)), decimals)
    return min(max(amount, money.from_text(lowest)), money.from_text(highest))

"""A marketplace made up in the shape of a recorded one: always the same rows, the same for any length."""

import math
import random

import msgspec

from openclore.api.currencies import Currency
from openclore.api.offers import MarketplaceReply, Offer, OfferPrice, Rating
from openclore.api.specs import Net, Specs

SERVERS_PER_OWNER = 3

_GPUS = [
    ("NVIDIA GeForce RTX 4090", 24, 450, 786),
    ("NVIDIA GeForce RTX 3060 Ti", 8, 200, 448),
    ("NVIDIA GeForce RTX 3080", 10, 320, 329),
    ("NVIDIA GeForce RTX 3070", 8, 220, 224),
    ("NVIDIA GeForce RTX 3060", 12, 170, 150),
    ("NVIDIA GeForce RTX 3090", 24, 350, 139),
    ("NVIDIA GeForce GTX 1660 SUPER", 6, 125, 96),
    ("NVIDIA CMP 90HX", 10, 320, 60),
]
"""Name, GB, watts, how many there are."""
_CPUS = [
    ("Intel(R) Celeron(R) CPU G3930 @ 2.90GHz", "2/2"),
    ("Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz", "14/28"),
    ("Intel(R) Pentium(R) CPU G4400 @ 3.30GHz", "2/2"),
    ("AMD Ryzen 9 7950X 16-Core Processor", "16/32"),
    ("AMD Ryzen 9 5900X 12-Core Processor", "12/24"),
    ("AMD Ryzen 5 3600 6-Core Processor", "6/12"),
]
_BOARDS = ["BTC B250", "B85", "X99", "B75BTC", "PRIME Z270-P", "H110 Pro BTC", "B450-A PRO MAX (MS-7B86)"]
_DISKS = ["", "SPCCx20Solidx20Statex", "KINGSTONx20SA400S37240G", "BIWINx20SSDx20x20x20", "NVME-X1"]
_COUNTRIES = ["RU"] * 12 + ["UA"] * 3 + ["SE", "BY", "KR", "US", "CN", "KZ"]
_COUNTS = [1, 1, 1, 1, 2, 2, 3, 4, 5, 6, 6, 8, 8, 12]
_MRL_HOURS = [24, 48, 72, 72, 72, 120, 168, 240, 720, 1440]


def reply_bytes(count: int) -> bytes:
    """The answer of /marketplace with so many rows, as JSON."""
    return msgspec.json.encode(MarketplaceReply(code=0, servers=offers(count)))


def offers(count: int) -> list[Offer]:
    """Rows with the ids 1 to `count`."""
    return [offer(server_id) for server_id in range(1, count + 1)]


def offer(server_id: int) -> Offer:
    chance = random.Random(server_id)
    gpus = chance.choice(_COUNTS)
    usd_per_day = round(gpus * chance.uniform(0.4, 9.0), 2)
    rated = chance.random() < 0.87
    return Offer(
        id=server_id,
        owner=math.ceil(server_id / SERVERS_PER_OWNER),
        mrl=chance.choice(_MRL_HOURS),
        price=OfferPrice(on_demand=_prices(usd_per_day), spot=_prices(usd_per_day * 0.9)),
        rented=chance.random() < 0.55,
        specs=_specs(chance, gpus),
        reliability=round(chance.random(), 4),
        allowed_coins=[Currency.BITCOIN, Currency.CLORE],
        rating=Rating(avg=round(chance.uniform(1, 5), 2), cnt=chance.randrange(1, 200))
        if rated
        else Rating(0, 0),
        cuda_version=chance.choice(["12.2", "12.2", "12.2", "12.4", "12.0", "11.7"]),
    )


def _prices(usd_per_day: float) -> dict[str, float | None]:
    return {
        Currency.BITCOIN: max(0.000001, round(usd_per_day / 65_000, 8)),
        Currency.CLORE: max(1.0, round(usd_per_day / 0.06, 2)),
    }


def _specs(chance: random.Random, gpus: int) -> Specs:
    (gpu, gpu_gb, watts, _), *_ = chance.choices(_GPUS, [count for *_, count in _GPUS])
    cpu, threads = chance.choice(_CPUS)
    return Specs(
        mb=chance.choice(_BOARDS),
        cpu=cpu,
        cpus=threads,
        ram=round(chance.uniform(3.5, 256), 4),
        disk=f"{chance.choice(_DISKS)} {chance.uniform(15, 2_000):.4f}GB",
        disk_speed=chance.uniform(100, 5_000),
        gpu=f"{gpus}x {gpu}",
        gpuram=gpu_gb,
        net=Net(cc=chance.choice(_COUNTRIES), down=chance.uniform(5, 1_000), up=chance.uniform(5, 1_000)),
        backend_version=chance.choice([8, 9, 9]),
        pcie_rev=chance.choice([1, 2, 3, 4]),
        pcie_width=chance.choice([1, 1, 4, 8, 16]),
        pl=[watts] * gpus,
    )

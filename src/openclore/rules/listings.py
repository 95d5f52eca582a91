"""A server on the market with what searches and statistics look at, taken out of its row once."""

from typing import NamedTuple

from ..api.offers import Offer
from ..api.specs import Specs

MODEL_LENGTH_MAX = 128
UNKNOWN_MODEL = "unknown"


class Listed(NamedTuple):
    """`held` is whether an order of any kind has the machine. Prices are dollars per hour; None: no price."""

    offer: Offer
    held: bool
    model: str
    gpu: str
    gpu_count: int
    vram_gb: float | None
    ram_gb: float | None
    country: str
    usd: float | None
    usd_floor: float | None


def listed(offer: Offer, held: bool) -> Listed:
    specs = offer.specs or Specs()
    model = model_of(specs)
    return Listed(
        offer=offer,
        held=held,
        model=model,
        gpu=model.lower(),
        gpu_count=specs.gpu_count,
        vram_gb=specs.vram_gb,
        ram_gb=specs.ram,
        country=((specs.net and specs.net.cc) or "").lower(),
        usd=per_hour(offer.usd_per_day),
        usd_floor=per_hour(offer.usd_floor_per_day),
    )


def model_of(specs: Specs) -> str:
    """The GPU model as one line of text that any database keeps; without a GPU, whatever `gpu` says."""
    shown = "".join(c for c in specs.gpu_model if c.isprintable())
    return shown[:MODEL_LENGTH_MAX].strip() or UNKNOWN_MODEL


def per_hour(per_day: float | None) -> float | None:
    """A price of 0 is none. Rounded, so that what people type in decimals compares as they mean it."""
    return round(per_day / 24, 12) if per_day else None

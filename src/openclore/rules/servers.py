"""Servers: what one is, which settings it may have, when it is on the market."""

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from ..api.codes import Refusal
from ..api.currencies import PRICE_BOUNDS, Currency, PriceBounds
from ..api.servers import MRL_HOURS_MAX, MRL_HOURS_MIN, SetServerSettings
from ..api.specs import Specs
from . import money
from .refused import Refused

RELIABILITY_DAYS = 14
DAY_SECONDS = 86_400


class Visibility(StrEnum):
    PUBLIC = "public"
    HIDDEN = "hidden"


class Pricing(msgspec.Struct, frozen=True, kw_only=True):
    """One currency, per day: asking price on demand, lowest bid on spot, and whether it is accepted."""

    on_demand: int = 0
    spot: int = 0
    accepted: bool = False


class Pegged(msgspec.Struct, frozen=True, kw_only=True):
    """Prices per day in 10⁻⁸ dollars, from which those in a currency follow."""

    on_demand: int
    spot: int


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the host decides about a server; replaced as a whole.

    `prices` are as the host set them; of a currency in `pegged` they follow the rates, see `in_force`.
    """

    visibility: Visibility = Visibility.HIDDEN
    mrl_hours: int = 168
    prices: dict[Currency, Pricing] = {}
    pegged: dict[Currency, Pegged] = {}

    @property
    def accepted(self) -> list[Currency]:
        return [currency for currency, pricing in self.prices.items() if pricing.accepted]


def in_force(settings: Settings, pegged_rates: Mapping[Currency, int]) -> dict[Currency, Pricing]:
    """The prices that count now; `pegged_rates` is currency to 10⁻⁸ dollars for one unit.

    A pegged price is rounded and bounded like one that was typed. Without a rate it stays what the host set;
    a currency that has no price or no floor then is not accepted.
    """
    prices = dict(settings.prices)
    for currency, pegged in settings.pegged.items():
        typed = prices.get(currency, Pricing())
        rate = pegged_rates.get(currency)
        if rate:
            on_demand = _from_dollars(pegged.on_demand, rate, PRICE_BOUNDS[currency])
            spot = _from_dollars(pegged.spot, rate, PRICE_BOUNDS[currency])
            prices[currency] = Pricing(on_demand=on_demand, spot=spot, accepted=typed.accepted)
        elif not (typed.on_demand and typed.spot):
            prices[currency] = msgspec.structs.replace(typed, accepted=False)
    return prices


def _from_dollars(usd: int, rate: int, bounds: PriceBounds) -> int:
    low, high = money.from_text(bounds.lowest), money.from_text(bounds.highest)
    return min(max(money.rounded(usd * money.SCALE // rate, bounds.decimals), low), high)


class GigaspotTerms(msgspec.Struct, frozen=True, kw_only=True):
    """A server's place on GigaSPOT: the lowest bid, 10⁻⁸ CLORE per day, and the host's dollars per kWh."""

    min_bid: int
    energy_price: float | None = None


class BackgroundJob(msgspec.Struct, frozen=True, kw_only=True):
    """What a machine runs while nobody rents it."""

    image: str
    command: str = ""
    env: dict[str, str] = {}


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """A machine offered on the market. Times are Unix seconds.

    `seen_until` is the evidence of its last heartbeat. `generation` changes with what should run on it,
    `background_updates` counts the changes of its background job, `link` the connections of its agent, of
    which the newest counts.
    """

    id: int
    account_id: int
    name: str
    created_at: int
    settings: Settings = Settings()
    init_token: str | None = None
    connected_at: int | None = None
    online: bool = False
    seen_until: int = 0
    generation: int = 1
    public_address: str = ""
    port_low: int = 0
    port_high: int = 0
    last_port: int = 0
    specs: Specs | None = None
    gpu_array: list[str] = []
    cuda_version: str = ""
    gigaspot: GigaspotTerms | None = None
    background_job: BackgroundJob | None = None
    background_updates: int = 0
    link: int = 0
    removed_at: int | None = None

    @property
    def listed(self) -> bool:
        """Whether renters see it on the market."""
        return self.online and self.settings.visibility is Visibility.PUBLIC and bool(self.settings.accepted)


def settings_from(request: SetServerSettings) -> Settings:
    """The settings a request asks for, with prices rounded to the decimals of their currency.

    Both generations of the body are read. A currency is accepted as its `enabled-` member says, or, where
    there is none, if it has a price; one that is not accepted may be priced 0.

    Raises:
        Refused: not_all_parameters_present, invalid_mrl or invalid_input, with a `message` for people.
    """
    if request.availability is None or request.mrl is None:
        raise _missing("availability and mrl")
    if not MRL_HOURS_MIN <= request.mrl <= MRL_HOURS_MAX:
        raise Refused(
            Refusal.INVALID_MRL,
            message=f"mrl: {MRL_HOURS_MIN} to {MRL_HOURS_MAX} hours, got {request.mrl}",
        )
    pegged = _pegged(request)
    legacy = request.bitcoin_on_demand is None and request.bitcoin_spot is None
    bitcoin = (
        (request.on_demand, request.spot) if legacy else (request.bitcoin_on_demand, request.bitcoin_spot)
    )
    if None in bitcoin:
        raise _missing("the bitcoin prices (bitcoin_on_demand and bitcoin_spot)")
    asked = {
        Currency.BITCOIN: (*bitcoin, request.bitcoin_enabled),
        Currency.CLORE: (request.clore_on_demand, request.clore_spot, request.clore_enabled),
        Currency.USD: (request.usd_on_demand, request.usd_spot, request.usd_enabled),
    }
    prices = {
        currency: _pricing(currency, *members, pegged=currency in pegged)
        for currency, members in asked.items()
    }
    return Settings(
        visibility=Visibility.PUBLIC if request.availability else Visibility.HIDDEN,
        mrl_hours=request.mrl,
        prices={currency: pricing for currency, pricing in prices.items() if pricing is not None},
        pegged=pegged,
    )


def _pegged(request: SetServerSettings) -> dict[Currency, Pegged]:
    """The dollar prices of the currencies whose `autoprice` is "usd"."""
    pegged: dict[Currency, Pegged] = {}
    for name, mode in (request.autoprice or {}).items():
        if mode in (None, False):
            continue
        currency = next((c for c in Currency if c == name), None)
        if currency is None or mode != "usd":
            raise Refused(
                Refusal.INVALID_INPUT,
                message='autoprice: currency to "usd" or false; the currencies are ' + ", ".join(Currency),
            )
        dollars = (request.usd_pricing or {}).get(name)
        if dollars is None or dollars.on_demand is None or dollars.spot is None:
            raise _missing(f"usd_pricing of {name}, on_demand and spot,")
        bounds = PRICE_BOUNDS[Currency.USD]
        pegged[currency] = Pegged(
            on_demand=_price(f"usd_pricing.{name}.on_demand", dollars.on_demand, bounds, zero=False),
            spot=_price(f"usd_pricing.{name}.spot", dollars.spot, bounds, zero=False),
        )
    return pegged


def _pricing(
    currency: Currency, on_demand: float | None, spot: float | None, enabled: bool | None, *, pegged: bool
) -> Pricing | None:
    if on_demand is None and spot is None and not enabled and not pegged:
        return None
    if pegged:
        on_demand, spot = on_demand or 0, spot or 0
    if on_demand is None or spot is None:
        raise _missing(f"{currency}_on_demand and {currency}_spot")
    accepted = enabled if enabled is not None else pegged or on_demand > 0
    zero = pegged or not accepted
    return Pricing(
        on_demand=_price(f"{currency}_on_demand", on_demand, PRICE_BOUNDS[currency], zero=zero),
        spot=_price(f"{currency}_spot", spot, PRICE_BOUNDS[currency], zero=zero),
        accepted=accepted,
    )


def _price(member: str, number: float, bounds: PriceBounds, *, zero: bool) -> int:
    low, high = money.from_text(bounds.lowest), money.from_text(bounds.highest)
    try:
        amount = money.rounded(money.from_wire(number), bounds.decimals)
    except money.AmountError as error:
        raise Refused(Refusal.INVALID_INPUT, message=f"{member}: {error}") from None
    if not (low <= amount <= high or (zero and amount == 0)):
        raise Refused(
            Refusal.INVALID_INPUT,
            message=f"{member}: {bounds.lowest} to {bounds.highest} per day, got {number!r}",
        )
    return amount


def _missing(what: str) -> Refused:
    return Refused(Refusal.NOT_ALL_PARAMETERS_PRESENT, message=f"{what} must be given")


def reliability(connected_at: int | None, uptime_seconds: int, until: int) -> float:
    """The share of the last 14 days (or since its first connection) that a server was heard of, 0 to 1.

    Days are UTC, today included. `until` is its last heartbeat written down: what is not written down yet
    counts neither way.
    """
    if connected_at is None:
        return 0.0
    window_seconds = until - max(connected_at, first_reliability_day(until) * DAY_SECONDS)
    return round(min(1.0, uptime_seconds / window_seconds), 4) if window_seconds > 0 else 1.0


def first_reliability_day(now: int) -> int:
    """The first of the days that count, in days since 1970."""
    return now // DAY_SECONDS - RELIABILITY_DAYS + 1


def continues(seen_until: int, now: int, offline_after_seconds: int) -> bool:
    """Whether the last heartbeat vouches for the time until `now`.

    One from the future (the clock was turned back) vouches for nothing.
    """
    return abs(now - seen_until) <= offline_after_seconds

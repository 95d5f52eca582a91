"""What can't be meant in the tables of fleets."""

import re
from collections.abc import Iterator

import msgspec

from openclore.api.complaints import complaint
from openclore.api.currencies import Currency
from openclore.api.orders import CreateOrder

from .budget import FEE_PERCENT
from .file import Budget, CommandCheck, File, Fleet

_COUNTRY = re.compile(r"[A-Za-z]{2}", re.ASCII)
MACHINES_MAX = 1_000
_ORDER_MEMBERS = (
    "image",
    "ports",
    "env",
    "command",
    "ssh_key",
    "ssh_password",
    "jupyter_token",
    "dockerhub_auth",
)


def problems_of_fleet(name: str, fleet: Fleet) -> list[tuple[str, str]]:
    """What can't be meant in [fleets.`name`]: the member, and a sentence."""
    return [
        *_count(fleet),
        *_choice(fleet),
        *_order(fleet),
        *_checks(fleet),
        *((f"budget.{member}", said) for member, said in budget_too_small(fleet.budget, fleet)),
    ]


def budget_too_small(budget: Budget, fleet: Fleet) -> Iterator[tuple[str, str]]:
    """Members of a budget that does not pay for a minute of one machine."""
    percent = min(FEE_PERCENT.values())
    minute = fleet.price_per_hour_max / 60 * (1 + percent / 100)
    for member in ("per_hour", "per_day", "total"):
        limit = getattr(budget, member)
        if limit is not None and 0 < limit < minute:
            yield (
                member,
                f"does not pay for one machine's minute, {minute:.3g} $ with fees at price_per_hour_max",
            )


def alike(file: File) -> list[tuple[str, str]]:
    """Fleets that could not tell their orders apart: the member ("fleets.b.image"), and a sentence."""
    found = []
    fleets = sorted(file.fleets.items())
    for index, (name, fleet) in enumerate(fleets):
        for other, before in fleets[:index]:
            same_type = "cheapest" in (fleet.order_type, before.order_type)
            same_type = same_type or fleet.order_type == before.order_type
            takes = {fleet.orphans, before.orphans} != {"leave"}
            if fleet.image == before.image and same_type and takes:
                found.append(
                    (
                        f"fleets.{name}.image",
                        f"[fleets.{other}] runs the same image and order type, so whose an unknown order is"
                        ' can\'t be told; give one another tag of the image, or both orphans = "leave"',
                    )
                )
    return found


def _count(fleet: Fleet) -> Iterator[tuple[str, str]]:
    if (fleet.machines is None) == (fleet.scale is None):
        yield "machines", "give either machines or scale: how many there should be"
    if fleet.machines is not None and fleet.machines < 0:
        yield "machines", "must be 0 or more"
    if (fleet.machines or 0) > MACHINES_MAX:
        yield "machines", f"must be {MACHINES_MAX} at most"
    scale = fleet.scale
    if scale is not None:
        if bool(scale.command) == (scale.url is not None):
            yield "scale", "give either a command or a url that tells the number"
        if scale.url is not None and not scale.url.startswith(("http://", "https://")):
            yield "scale.url", "must begin with http:// or https://"
        if scale.minimum < 0:
            yield "scale.minimum", "must be 0 or more"
        if scale.maximum < max(1, scale.minimum):
            yield "scale.maximum", "must be at least 1 and not less than minimum"
        if scale.maximum > MACHINES_MAX:
            yield "scale.maximum", f"must be {MACHINES_MAX} at most"
    if fleet.until is not None and fleet.until.tzinfo is None:
        yield "until", "needs a timezone; write it like 2027-01-31T18:00:00Z or ...+01:00"


def _choice(fleet: Fleet) -> Iterator[tuple[str, str]]:
    if fleet.currency not in set(map(str, Currency)):
        yield "currency", f"{fleet.currency} is no currency of the market; there are {', '.join(Currency)}"
    if fleet.gpu == "":
        yield "gpu", "is empty; name a part of the model, such as 4090, or leave it out"
    if not fleet.price_per_hour_max > 0:
        yield "price_per_hour_max", "must be above 0"
    if not 0 <= fleet.reliability_min <= 1:
        yield "reliability_min", "is a share of the time, 0 to 1"
    if not fleet.bid_step > 0:
        yield "bid_step", "must be above 0: a bid that wins is higher than the other"
    for country in fleet.countries:
        if not _COUNTRY.fullmatch(country):
            yield "countries", f"{country!r} is no ISO code of two letters, such as DE"
    if fleet.gpu_count is not None and fleet.gpu_count_min is not None:
        yield "gpu_count_min", "makes no sense beside gpu_count, which is exact"
    for member in ("gpu_count", "gpu_count_min", "vram_gb_min", "ram_gb_min"):
        figure = getattr(fleet, member)
        if figure is not None and figure < 0:
            yield member, "must be 0 or more"
    if fleet.spread_max < 1:
        yield "spread_max", "must be at least 1"
    if fleet.spread is None and fleet.spread_max != 1:
        yield "spread_max", 'needs spread = "host" or "country"'


def _order(fleet: Fleet) -> Iterator[tuple[str, str]]:
    """What the market would refuse."""
    whole = {"renting_server": 1, "type": "on-demand", "currency": str(fleet.currency), "image": fleet.image}
    for member in _ORDER_MEMBERS:
        value = getattr(fleet, member)
        if value is None:
            continue
        try:
            msgspec.convert({**whole, "image": "x", member: value}, CreateOrder)
        except msgspec.ValidationError as error:
            said = complaint(error)
            yield member, said.text.removeprefix(f"{member}: ")


def _checks(fleet: Fleet) -> Iterator[tuple[str, str]]:
    for check in fleet.ready:
        if isinstance(check, CommandCheck):
            if not check.command:
                yield "ready", "a command is a list: the program and its arguments"
        elif str(check.port) not in fleet.ports:
            yield "ready", f'checks port {check.port}, which is not published: add "{check.port}" to ports'
    if fleet.unhealthy_after < 1:
        yield "unhealthy_after", "must be at least 1"
    for member in ("ready_within", "check_every", "lease"):
        if getattr(fleet, member) < 1:
            yield member, "must be longer than 0s"

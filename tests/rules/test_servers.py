from typing import Any

import pytest

from openclore.api.codes import Refusal
from openclore.api.currencies import Currency
from openclore.api.offers import PricePair
from openclore.api.servers import SetServerSettings
from openclore.rules import servers
from openclore.rules.refused import Refused
from openclore.rules.servers import Pricing, Server, Settings, Visibility

LEGACY = {"name": "rack", "availability": True, "mrl": 168, "on_demand": 0.00003, "spot": 0.00002}
MODERN = {
    "name": "rack",
    "availability": True,
    "mrl": 168,
    "bitcoin_on_demand": 0.00003,
    "bitcoin_spot": 0.00002,
    "bitcoin_enabled": False,
    "clore_on_demand": 400,
    "clore_spot": 250,
    "clore_enabled": True,
    "usd_on_demand": 2.005,
    "usd_spot": 1.2,
    "usd_enabled": True,
}


def settings(body: dict[str, Any], **changes: Any) -> Settings:
    return servers.settings_from(SetServerSettings(**(body | changes)))


def test_the_older_body_sets_bitcoin_prices() -> None:
    assert settings(LEGACY) == Settings(
        visibility=Visibility.PUBLIC,
        mrl_hours=168,
        prices={Currency.BITCOIN: Pricing(on_demand=3_000, spot=2_000, accepted=True)},
    )


def test_the_newer_body_sets_every_currency_and_what_is_accepted() -> None:
    assert settings(MODERN).prices == {
        Currency.BITCOIN: Pricing(on_demand=3_000, spot=2_000, accepted=False),
        Currency.CLORE: Pricing(on_demand=400 * 10**8, spot=250 * 10**8, accepted=True),
        Currency.USD: Pricing(on_demand=200_000_000, spot=120_000_000, accepted=True),
    }


def test_a_currency_that_is_not_accepted_may_be_priced_zero() -> None:
    prices = settings(MODERN, bitcoin_on_demand=0, bitcoin_spot=0).prices
    assert prices[Currency.BITCOIN] == Pricing()


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"availability": None}, Refusal.NOT_ALL_PARAMETERS_PRESENT),
        ({"mrl": None}, Refusal.NOT_ALL_PARAMETERS_PRESENT),
        ({"bitcoin_spot": None}, Refusal.NOT_ALL_PARAMETERS_PRESENT),
        ({"clore_spot": None}, Refusal.NOT_ALL_PARAMETERS_PRESENT),
        ({"mrl": 5}, Refusal.INVALID_MRL),
        ({"mrl": 3_001}, Refusal.INVALID_MRL),
        ({"mrl": -1}, Refusal.INVALID_MRL),
        ({"mrl": 10**30}, Refusal.INVALID_MRL),
        ({"clore_on_demand": -1}, Refusal.INVALID_INPUT),
        ({"clore_on_demand": 0}, Refusal.INVALID_INPUT),
        ({"clore_on_demand": 5_001}, Refusal.INVALID_INPUT),
        ({"usd_on_demand": 0.1}, Refusal.INVALID_INPUT),
        ({"usd_on_demand": 1e300}, Refusal.INVALID_INPUT),
        ({"bitcoin_on_demand": -0.1}, Refusal.INVALID_INPUT),
        ({"autoprice": {"bitcoin": "usd"}}, Refusal.NOT_ALL_PARAMETERS_PRESENT),
        ({"autoprice": {"bitcoin": "pow"}}, Refusal.INVALID_INPUT),
        ({"autoprice": {"dogecoin": "usd"}}, Refusal.INVALID_INPUT),
        (
            {"autoprice": {"bitcoin": "usd"}, "usd_pricing": {"bitcoin": PricePair(on_demand=2)}},
            Refusal.NOT_ALL_PARAMETERS_PRESENT,
        ),
        (
            {"autoprice": {"bitcoin": "usd"}, "usd_pricing": {"bitcoin": PricePair(on_demand=300, spot=1)}},
            Refusal.INVALID_INPUT,
        ),
    ],
)
def test_settings_are_refused_by_name_and_with_a_reason(changes: dict[str, Any], refusal: Refusal) -> None:
    with pytest.raises(Refused) as refused:
        settings(MODERN, **changes)
    assert refused.value.refusal is refusal
    assert refused.value.facts["message"]


@pytest.mark.parametrize(
    ("online", "visibility", "accepted", "listed"),
    [
        (True, Visibility.PUBLIC, True, True),
        (False, Visibility.PUBLIC, True, False),
        (True, Visibility.HIDDEN, True, False),
        (True, Visibility.PUBLIC, False, False),
    ],
)
def test_a_server_is_listed_when_it_is_online_public_and_takes_some_currency(
    online: bool, visibility: Visibility, accepted: bool, listed: bool
) -> None:
    server = Server(
        id=1,
        account_id=1,
        name="rack",
        created_at=0,
        online=online,
        settings=Settings(
            visibility=visibility, prices={Currency.USD: Pricing(on_demand=1, accepted=accepted)}
        ),
    )
    assert server.listed is listed


@pytest.mark.parametrize(
    ("connected_at", "uptime", "now", "share"),
    [
        (None, 0, 100, 0.0),
        (100, 0, 100, 1.0),
        (0, 50, 100, 0.5),
        (0, 14 * 86_400, 100 * 86_400, 1.0),
        (0, 200, 100, 1.0),
    ],
)
def test_reliability_is_the_share_of_the_last_fourteen_days(
    connected_at: int | None, uptime: int, now: int, share: float
) -> None:
    assert servers.reliability(connected_at, uptime, now) == share

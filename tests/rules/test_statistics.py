from math import ceil
from random import Random
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openclore.api.offers import Offer, OfferPrice, UsdPrice
from openclore.api.open.statistics import ModelFigures
from openclore.api.specs import Specs
from openclore.rules.listings import MODEL_LENGTH_MAX, Listed, listed, model_of
from openclore.rules.statistics import figures, percentiles


def a_server(gpu: str | None, usd_per_day: float | None = None, *, held: bool = False) -> Listed:
    price = OfferPrice(usd=UsdPrice(on_demand_btc=usd_per_day))
    return listed(Offer(id=1, specs=Specs(gpu=gpu), allowed_coins=["bitcoin"], price=price), held)


def test_a_model_counts_servers_gpus_and_what_is_held() -> None:
    market = [
        a_server("2x NVIDIA GeForce RTX 4090", 4.8),
        a_server("1x NVIDIA GeForce RTX 4090", 7.2, held=True),
        a_server("8x NVIDIA GeForce RTX 4090"),
        a_server("1x NVIDIA GeForce RTX 3090", 2.4),
    ]
    assert figures(market) == [
        ModelFigures("NVIDIA GeForce RTX 3090", 1, 1, 0, 0.0, 0.1, 0.1, 0.1),
        ModelFigures("NVIDIA GeForce RTX 4090", 3, 11, 1, 0.3333, 0.12, 0.2, 0.28),
    ]


def test_machines_without_a_gpu_count_under_what_they_show_and_are_priced_whole() -> None:
    assert figures([a_server("0x no GPU", 2.4)]) == [ModelFigures("no GPU", 1, 0, 0, 0.0, 0.1, 0.1, 0.1)]
    assert [model.gpu for model in figures([a_server(None), a_server("6x Mixed GPUs")])] == [
        "Mixed GPUs",
        "unknown",
    ]


def test_a_market_without_prices_has_no_percentiles() -> None:
    (model,) = figures([a_server("1x A", None), a_server("1x A", 0)])
    assert (model.price_p10, model.price_p50, model.price_p90) == (None, None, None)
    assert figures([]) == []


@pytest.mark.parametrize("gpu", ["1x A\x00B", "x" * 10_000, "\n", "9" * 5_000 + "x A", "\u202e2x", "²x A"])
def test_whatever_a_host_calls_its_gpus_fits_into_a_row(gpu: str) -> None:
    name = model_of(Specs(gpu=gpu))
    assert name.isprintable()
    assert 1 <= len(name) <= MODEL_LENGTH_MAX
    (model,) = figures([a_server(gpu)])
    assert model.gpus < 10_000


@given(st.lists(st.floats(0, 1e4), min_size=1, max_size=50), st.randoms(use_true_random=False))
def test_percentiles_lie_among_the_prices_in_whichever_order_those_come(
    prices: list[float], random: Random
) -> None:
    p10, p50, p90 = percentiles(prices)
    assert None not in (p10, p50, p90)
    assert min(prices) - 1e-8 <= p10 <= p50 <= p90 <= max(prices) + 1e-8
    assert p50 == pytest.approx(median(prices), abs=1e-8)
    assert percentiles(random.sample(prices, len(prices))) == (p10, p50, p90)


@given(st.lists(st.floats(0, 1e4), min_size=1, max_size=50))
def test_no_more_than_a_tenth_of_the_prices_lies_beyond_either_end(prices: list[float]) -> None:
    p10, _, p90 = percentiles(prices)
    assert sum(price < p10 - 1e-8 for price in prices) <= ceil(len(prices) / 10)
    assert sum(price > p90 + 1e-8 for price in prices) <= ceil(len(prices) / 10)

"""The market in figures, per GPU model."""

from collections.abc import Iterable
from statistics import quantiles

from ..api.open.statistics import ModelFigures
from .listings import Listed

HOUR_SECONDS = 3_600
HISTORY_SECONDS = 365 * 86_400


def figures(market: Iterable[Listed]) -> list[ModelFigures]:
    """The figures of each model on the market, by name."""
    by_model: dict[str, list[Listed]] = {}
    for server in market:
        by_model.setdefault(server.model, []).append(server)
    return [_figures(model, by_model[model]) for model in sorted(by_model)]


def _figures(model: str, servers: list[Listed]) -> ModelFigures:
    rented = sum(server.held for server in servers)
    prices = [server.usd / max(1, server.gpu_count) for server in servers if server.usd is not None]
    p10, p50, p90 = percentiles(prices)
    return ModelFigures(
        gpu=model,
        servers=len(servers),
        gpus=sum(server.gpu_count for server in servers),
        rented=rented,
        rented_share=share(rented, len(servers)),
        price_p10=p10,
        price_p50=p50,
        price_p90=p90,
    )


def share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0


def percentiles(prices: list[float]) -> tuple[float | None, float | None, float | None]:
    """The prices below which 10, 50 and 90 percent lie, between two prices in proportion; None of none.

    >>> percentiles([1.0, 2.0, 3.0, 4.0])
    (1.3, 2.5, 3.7)
    """
    if len(prices) < 2:
        only = round(prices[0], 8) if prices else None
        return only, only, only
    tenths = quantiles(prices, n=10, method="inclusive")
    return round(tenths[0], 8), round(tenths[4], 8), round(tenths[8], 8)

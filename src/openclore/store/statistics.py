"""The market's figures per GPU model, one row for each full hour."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Row, select

from ..api.open.statistics import ModelFigures
from ..rules.money import AMOUNT_MAX, SCALE, to_wire
from ..rules.statistics import share
from .tables import statistics


def has(tx: Connection, hour: int) -> bool:
    """Whether the figures of an hour (Unix s) are kept already."""
    return tx.execute(select(statistics.c.at).where(statistics.c.at == hour).limit(1)).first() is not None


def add(tx: Connection, hour: int, models: Iterable[ModelFigures]) -> None:
    """Keep the figures of an hour."""
    rows = [
        {
            "gpu": model.gpu,
            "at": hour,
            "servers": model.servers,
            "gpus": model.gpus,
            "rented": model.rented,
            "price_p10": _amount(model.price_p10),
            "price_p50": _amount(model.price_p50),
            "price_p90": _amount(model.price_p90),
        }
        for model in models
    ]
    if rows:
        tx.execute(statistics.insert(), rows)


def forget(tx: Connection, before: int) -> None:
    """Drop what is older (Unix s)."""
    tx.execute(statistics.delete().where(statistics.c.at < before))


def of_model(
    tx: Connection, gpu: str, since: int | None, until: int | None, limit: int
) -> list[ModelFigures]:
    """A model's figures, oldest first: the first ones after `since`, without it the last ones; Unix s."""
    query = select(statistics).where(statistics.c.gpu == gpu).limit(limit)
    if until is not None:
        query = query.where(statistics.c.at < until)
    if since is None:
        return [_figures(row) for row in tx.execute(query.order_by(statistics.c.at.desc()))][::-1]
    query = query.where(statistics.c.at >= since).order_by(statistics.c.at)
    return [_figures(row) for row in tx.execute(query)]


def _figures(row: Row[*tuple[Any, ...]]) -> ModelFigures:
    return ModelFigures(
        gpu=row.gpu,
        servers=row.servers,
        gpus=row.gpus,
        rented=row.rented,
        rented_share=share(row.rented, row.servers),
        price_p10=_dollars(row.price_p10),
        price_p50=_dollars(row.price_p50),
        price_p90=_dollars(row.price_p90),
        at=row.at,
    )


def _amount(dollars: float | None) -> int | None:
    return None if dollars is None else min(round(dollars * SCALE), AMOUNT_MAX)


def _dollars(amount: int | None) -> float | None:
    return None if amount is None else to_wire(amount)

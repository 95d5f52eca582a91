"""The market in figures: as it is, and hour by hour."""

from collections.abc import Iterable

from ..api.open.statistics import HistoryReply, ReadHistory, ReadStatistics, StatisticsReply
from ..rules import statistics as rules
from ..rules.listings import Listed
from ..store import statistics
from .market import Market


def read_statistics(listed: Iterable[Listed], request: ReadStatistics) -> StatisticsReply:
    """The figures of the models whose name contains what is asked for, of all without; asks no database."""
    wanted = (request.gpu or "").lower()
    return StatisticsReply(code=0, models=rules.figures(one for one in listed if wanted in one.gpu))


def read_history(market: Market, request: ReadHistory) -> HistoryReply:
    """One model's figures over time."""
    with market.store.reading() as tx:
        found = statistics.of_model(tx, request.gpu, request.since, request.until, request.limit)
    return HistoryReply(code=0, history=found)


def keep_hour(market: Market, listed: Iterable[Listed], now: int) -> None:
    """Write down the figures for the full hour before `now`, unless somebody did; forget the oldest."""
    hour = now - now % rules.HOUR_SECONDS
    models = rules.figures(listed)
    with market.store.writing() as tx:
        if not statistics.has(tx, hour):
            statistics.add(tx, hour, models)
            statistics.forget(tx, hour - rules.HISTORY_SECONDS)

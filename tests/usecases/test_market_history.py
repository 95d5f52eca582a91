import pytest

from openclore.api.open.statistics import ModelFigures, ReadHistory, ReadStatistics
from openclore.api.specs import Specs
from openclore.rules.listings import Listed, listed
from openclore.store.store import Store
from openclore.usecases import hosts, servers, statistics

from ..world import START, World, hello

HOUR = 3_600
NOON = START - START % HOUR
DAY = 24 * HOUR


@pytest.fixture
def world(store: Store) -> World:
    return World(store)


def market(world: World) -> list[Listed]:
    found = servers.listings(world.market, None, world.now)
    return [listed(each.offer, each.held) for each in found.values() if each.offer]


def keep(world: World, now: int) -> None:
    statistics.keep_hour(world.market, market(world), now)


def history(world: World, gpu: str = "no GPU", **asked: int) -> list[ModelFigures]:
    return statistics.read_history(world.market, ReadHistory(gpu=gpu, **asked)).history


def test_the_figures_of_a_full_hour_are_kept(world: World) -> None:
    keep(world, NOON + 3_599)
    assert history(world) == [
        ModelFigures("no GPU", 1, 0, 0, 0.0, 0.08333333, 0.08333333, 0.08333333, at=NOON)
    ]


def test_an_hour_is_kept_once_whoever_comes_and_whatever_changed(world: World) -> None:
    keep(world, NOON)
    hosts.connect(world.market, world.server, hello(specs=Specs(gpu="1x Other")), world.now)
    keep(world, NOON + 1)
    assert len(history(world)) == 1
    assert history(world, "Other") == []


def test_a_spot_order_counts_as_rented(world: World) -> None:
    world.credit("10")
    world.rent(type="spot", spotprice=1.5)
    keep(world, NOON)
    assert [(row.rented, row.rented_share) for row in history(world)] == [(1, 1.0)]
    now = statistics.read_statistics(market(world), ReadStatistics()).models
    assert [(row.rented, row.rented_share, row.at) for row in now] == [(1, 1.0, None)]


def test_a_jump_of_days_leaves_one_row_for_the_newest_hour(world: World) -> None:
    keep(world, NOON)
    keep(world, NOON + 5 * DAY + 1_800)
    assert [row.at for row in history(world)] == [NOON, NOON + 5 * DAY]


def test_a_history_is_read_by_time_and_in_pages(world: World) -> None:
    for hour in range(5):
        keep(world, NOON + hour * HOUR)
    assert [row.at for row in history(world, since=NOON + HOUR, until=NOON + 3 * HOUR)] == [
        NOON + HOUR,
        NOON + 2 * HOUR,
    ]
    first = history(world, since=0, limit=3)
    rest = history(world, since=(first[-1].at or 0) + 1)
    assert [row.at for row in [*first, *rest]] == [NOON + hour * HOUR for hour in range(5)]


def test_without_a_beginning_it_is_the_newest_that_are_read(world: World) -> None:
    for hour in range(5):
        keep(world, NOON + hour * HOUR)
    assert [row.at for row in history(world, limit=2)] == [NOON + 3 * HOUR, NOON + 4 * HOUR]
    assert [row.at for row in history(world, limit=2, until=NOON + 4 * HOUR)] == [
        NOON + 2 * HOUR,
        NOON + 3 * HOUR,
    ]


def test_a_history_reaches_back_a_year(world: World) -> None:
    keep(world, NOON)
    keep(world, NOON + 365 * DAY)
    assert [row.at for row in history(world)] == [NOON, NOON + 365 * DAY]
    keep(world, NOON + 365 * DAY + HOUR)
    assert [row.at for row in history(world)] == [NOON + 365 * DAY, NOON + 365 * DAY + HOUR]


def test_a_market_without_offers_has_no_history(world: World) -> None:
    world.set_server("rack-1", availability=False)
    keep(world, NOON)
    assert history(world) == []


def test_any_text_is_a_model_somebody_may_ask_for(world: World) -> None:
    keep(world, NOON)
    assert history(world, "' OR 1=1 --") == []


def test_absurd_prices_and_names_fit_into_the_history(world: World) -> None:
    absurd = market(world)[0]._replace(usd=9e15, gpu_count=9_999, model="\u0416" * 128)
    statistics.keep_hour(world.market, [absurd], NOON)
    assert history(world, "\u0416" * 128)[0].gpus == 9_999


def test_figures_are_narrowed_by_a_part_of_the_name(world: World) -> None:
    hosts.connect(world.market, world.add_server("rack-2"), hello(specs=Specs(gpu="2x RTX 4090")), world.now)
    found = {
        gpu: [model.gpu for model in statistics.read_statistics(market(world), ReadStatistics(gpu)).models]
        for gpu in (None, "", "rtx", "4080")
    }
    both = ["RTX 4090", "no GPU"]
    assert found == {None: both, "": both, "rtx": ["RTX 4090"], "4080": []}

"""A memory survives what ends the process, belongs to one market and key, and to one writer at a time."""

from pathlib import Path

import msgspec
import pytest

from openclore.autopilot.actions import CancelOrder, Outcome, PlaceOrder
from openclore.autopilot.memory import FleetMemory, Intent, Machine, Memory
from openclore.autopilot.remember import AlreadyRunningError, Keeper, Known, NotKeptError, glance
from openclore.client.errors import SetupError

MARKET = ("http://127.0.0.1:1/v1", "0123")
ORDER = PlaceOrder(
    for_="fleets.a",
    reason="one is missing",
    key="k-1",
    fleet="a",
    server_id=5,
    type="spot",
    currency="USD-Blockchain",
    image="ubuntu",
    price=1.5,
    usd_per_hour=0.0633,
)


def full(memory: Memory) -> Memory:
    machine = Machine(
        order_id=7,
        server_id=5,
        type="spot",
        currency="USD-Blockchain",
        image="ubuntu",
        made_at=10,
        usd_per_hour=0.1,
        usd_per_hour_max=0.1,
    )
    fleet = FleetMemory(machines={7: machine}, intents={"k-1": Intent(at=9, order=ORDER)})
    return msgspec.structs.replace(memory, sequence=2, events_after=40, fleets={"a": fleet})


def test_what_was_kept_is_there_after_the_process_ended(tmp_path: Path):
    path = tmp_path / "deep" / "memory.sqlite"
    with Keeper(path, MARKET) as keeper:
        kept = full(keeper.memory)
        keeper.keep(kept)
    with Keeper(path, MARKET) as keeper:
        assert keeper.memory == kept


def test_only_its_owner_may_read_it(tmp_path: Path):
    with Keeper(tmp_path / "m.sqlite", MARKET) as keeper:
        assert keeper.path.stat().st_mode & 0o777 == 0o600


def test_each_memory_has_a_name_of_its_own(tmp_path: Path):
    with Keeper(tmp_path / "a.sqlite", MARKET) as one, Keeper(tmp_path / "b.sqlite", MARKET) as other:
        assert one.memory.name != other.memory.name


def test_a_second_writer_is_turned_away_until_the_first_is_gone(tmp_path: Path):
    path = tmp_path / "m.sqlite"
    with Keeper(path, MARKET), pytest.raises(AlreadyRunningError, match="Another process works with"):
        Keeper(path, MARKET)
    Keeper(path, MARKET).close()


@pytest.mark.parametrize("other", [("http://127.0.0.1:2/v1", "0123"), ("http://127.0.0.1:1/v1", "4567")])
def test_it_is_not_used_for_another_market_or_key(tmp_path: Path, other: tuple[str, str]):
    path = tmp_path / "m.sqlite"
    Keeper(path, MARKET).close()
    with pytest.raises(SetupError, match="another market, API key or version"):
        Keeper(path, other)
    with pytest.raises(SetupError, match="another market, API key or version"):
        glance(path, other)
    Keeper(path, MARKET).close()


def test_a_file_that_is_no_memory_is_left_alone(tmp_path: Path):
    path = tmp_path / "m.sqlite"
    path.write_text("my thesis " * 500)
    with pytest.raises(SetupError, match="is not a memory that this version can read"):
        Keeper(path, MARKET)
    assert path.read_text() == "my thesis " * 500


def test_others_may_look_while_it_is_written(tmp_path: Path):
    path = tmp_path / "m.sqlite"
    assert glance(path, MARKET) is None
    with Keeper(path, MARKET) as keeper:
        kept = full(keeper.memory)
        keeper.keep(kept, Outcome(action=ORDER, at=3, done=False, detail="taken", unknown=False))
        keeper.keep(
            kept, Outcome(action=CancelOrder(for_="fleets.a", reason="r", order_id=7), at=4, done=True)
        )
        keeper.keep(kept, known=Known(at=5, wallets={"bitcoin": 0.5}))
        seen = glance(path, MARKET)
    assert seen is not None
    assert seen.memory == kept
    assert seen.known == Known(at=5, wallets={"bitcoin": 0.5})
    assert [(line.at, line.done, line.detail) for line in seen.log] == [(4, True, ""), (3, False, "taken")]
    assert seen.log[1].action == ORDER


def test_a_memory_that_could_not_be_written_whole_is_as_it_was(tmp_path: Path):
    path = tmp_path / "m.sqlite"
    with Keeper(path, MARKET) as keeper:
        before = keeper.memory
        keeper._db.execute("CREATE TRIGGER t BEFORE INSERT ON log BEGIN SELECT RAISE(ABORT, 'no'); END")
        with pytest.raises(NotKeptError, match="nothing is done that could not be remembered"):
            keeper.keep(full(before), Outcome(action=ORDER, at=3, done=True))
    with Keeper(path, MARKET) as keeper:
        assert keeper.memory == before

"""The file of a market's history: what is written is read, whatever happens in between."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from openclore.api.offers import Offer, OfferPrice, UsdPrice
from openclore.api.servers import MyServer
from openclore.api.specs import Net, Specs
from openclore.autopilot.history import (
    Header,
    History,
    HistoryError,
    Recorder,
    difference,
    document,
    patched,
    read,
)

NAMES = st.sampled_from("abcd")
LEAVES = st.one_of(
    st.booleans(), st.integers(-9, 9), st.floats(-1, 1), st.text(max_size=3), st.lists(st.integers())
)
DOCUMENTS = st.dictionaries(
    NAMES, st.recursive(LEAVES, lambda inner: st.dictionaries(NAMES, inner, max_size=3)), max_size=4
)
HEADER = Header(market="http://market/v1")


def offer(server_id: int, usd: float = 5.0, *, rented: bool = False, reliability: float = 0.99) -> Offer:
    return Offer(
        id=server_id,
        owner=7,
        mrl=72,
        price=OfferPrice(
            on_demand={"USD-Blockchain": usd, "CLORE-Blockchain": usd / 0.02},
            spot={"USD-Blockchain": usd / 2},
            usd=UsdPrice(on_demand_usd=usd, on_demand_clore=usd),
        ),
        rented=rented,
        specs=Specs(gpu="1x NVIDIA GeForce RTX 4090", net=Net(cc="DE", test_history=["S|1|2|3"])),
        reliability=reliability,
        allowed_coins=["USD-Blockchain", "CLORE-Blockchain"],
    )


def record(path: Path, *moments: list[Offer]) -> None:
    with Recorder(path, HEADER) as recorder:
        for offers in moments:
            recorder.append(1_000 + 600 * recorder.scenes, document(offers))


def listed(history: History) -> list[dict[int, tuple[float | None, bool | None]]]:
    return [
        {
            server_id: (one.price_per_day("USD-Blockchain"), one.rented)
            for server_id, one in scene.offers.items()
        }
        for scene in history.scenes
    ]


@given(before=DOCUMENTS, after=DOCUMENTS)
def test_a_document_and_the_difference_give_the_other_document(
    before: dict[str, Any], after: dict[str, Any]
) -> None:
    text = msgspec.json.encode(before)
    made = patched(before, msgspec.json.decode(msgspec.json.encode(difference(before, after))))
    assert msgspec.json.encode(made, order="sorted") == msgspec.json.encode(after, order="sorted")
    assert msgspec.json.encode(before) == text


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.dictionaries(st.integers(1, 5), st.tuples(st.sampled_from([1.0, 2.5]), st.booleans()), max_size=5),
        min_size=1,
        max_size=6,
    )
)
def test_what_was_recorded_is_read(
    tmp_path_factory: pytest.TempPathFactory, moments: list[dict[int, tuple[float, bool]]]
) -> None:
    path = tmp_path_factory.mktemp("history") / "h"
    for moment in moments:
        record(path, [offer(server_id, usd, rented=rented) for server_id, (usd, rented) in moment.items()])
    history = read(path)
    assert listed(history) == moments
    assert [scene.at for scene in history.scenes] == [1_000 + 600 * i for i in range(len(moments))]
    for before, after in zip(history.scenes, history.scenes[1:], strict=False):
        both = before.offers.keys() | after.offers.keys()
        assert after.changed == {one for one in both if before.offers.get(one) != after.offers.get(one)}


def test_only_what_changed_is_written_again(tmp_path: Path) -> None:
    offers = [offer(server_id) for server_id in range(1, 200)]
    path = tmp_path / "h"
    record(path, offers)
    whole = path.stat().st_size
    record(path, [offer(1, rented=True), *offers[1:]])
    assert path.stat().st_size - whole < 100
    assert read(path).scenes[1].changed == {1}


def test_rates_stand_for_prices_restated_in_dollars(tmp_path: Path) -> None:
    record(tmp_path / "h", [offer(1)])
    (scene,) = read(tmp_path / "h").scenes
    assert scene.rates["CLORE-Blockchain"] == pytest.approx(0.02)
    price = scene.offers[1].price
    assert price is not None
    assert price.usd is None


def test_a_servers_secret_is_not_kept(tmp_path: Path) -> None:
    found = document([], [MyServer(id=3, name="rig", init_token="secret-1234")], {"bitcoin": 0.5})
    with Recorder(tmp_path / "h", HEADER) as recorder:
        recorder.append(5, found)
    (scene,) = read(tmp_path / "h").scenes
    assert scene.servers["rig"] == MyServer(id=3, name="rig")
    assert scene.wallets == {"bitcoin": 0.5}


@pytest.mark.parametrize("lost_bytes", [1, 5, 40])
def test_a_torn_end_is_left_out_and_written_over(tmp_path: Path, lost_bytes: int) -> None:
    path = tmp_path / "h"
    record(path, [offer(1)], [offer(1), offer(2)])
    path.write_bytes(path.read_bytes()[:-lost_bytes])
    torn = read(path)
    assert len(torn.scenes) == 1
    assert torn.torn_bytes > 0
    record(path, [offer(1), offer(3)])
    assert [set(scene.offers) for scene in read(path).scenes] == [{1}, {1, 3}]
    assert read(path).torn_bytes == 0


def test_a_file_torn_in_its_header_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "h"
    record(path, [])
    path.write_bytes(path.read_bytes()[:10])
    record(path, [offer(1)])
    assert read(path).header == HEADER
    assert len(read(path).scenes) == 1


def test_damage_in_the_middle_is_told_with_what_can_be_kept(tmp_path: Path) -> None:
    path = tmp_path / "h"
    record(path, [offer(1)])
    whole = path.stat().st_size
    record(path, [offer(2)], [offer(3)])
    content = bytearray(path.read_bytes())
    content[whole + 12] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(HistoryError, match=rf"damaged after byte {whole}"):
        read(path)
    with pytest.raises(HistoryError, match="damaged"):
        record(path, [offer(4)])
    assert path.read_bytes() == content
    path.write_bytes(content[:whole])
    assert len(read(path).scenes) == 1
    path.write_bytes(b"notes")
    with pytest.raises(HistoryError, match="is no history; openclore market record FILE writes one"):
        read(path)


def test_other_files_are_refused_and_not_written_to(tmp_path: Path) -> None:
    path = tmp_path / "h"
    for content in (b'{"servers": []}', zstandard.compress(b"[1]\n"), zstandard.compress(b'{"at": "x"}')):
        path.write_bytes(content)
        with pytest.raises(HistoryError, match="no history"):
            record(path, [offer(1)])
        assert path.read_bytes() == content
    with pytest.raises(HistoryError, match="can't be read"):
        read(tmp_path / "missing")


def test_two_markets_or_two_writers_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "h"
    with Recorder(path, HEADER), pytest.raises(HistoryError, match="another process"):
        Recorder(path, HEADER)
    with pytest.raises(HistoryError, match="http://other/v1"):
        Recorder(path, Header(market="http://other/v1"))


def test_a_later_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "h"
    path.write_bytes(zstandard.compress(b'{"openclore_history": 2, "market": ""}\n'))
    with pytest.raises(HistoryError, match="format 2"):
        read(path)


def test_a_clock_that_was_turned_back_turns_nothing_around(tmp_path: Path) -> None:
    for at in (1_000, 400):
        with Recorder(tmp_path / "h", HEADER) as recorder:
            recorder.append(at, document([offer(1)]))
    assert [scene.at for scene in read(tmp_path / "h").scenes] == [1_000, 1_001]

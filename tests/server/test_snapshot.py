import gzip
import json
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from openclore.api.offers import Offer
from openclore.server.snapshot import Piece, Snapshot, View, preferred_encoding
from openclore.usecases.servers import Listing

from .conftest import Door


def unpacked(encoding: str, body: bytes) -> bytes:
    if encoding == "gzip":
        return gzip.decompress(body)
    if encoding == "zstd":
        return zstandard.ZstdDecompressor().decompressobj().decompress(body)
    return body


def joined(view: View, encoding: str, tail: bytes) -> bytes:
    return b"".join(view.parts(encoding, tail))


@pytest.mark.parametrize("encoding", ["", "gzip", "zstd"])
@given(
    pieces=st.lists(st.binary(min_size=1, max_size=3_000), min_size=1, max_size=4),
    tail=st.binary(min_size=1, max_size=3_000),
)
def test_every_encoding_holds_rows_and_tail(encoding: str, pieces: list[bytes], tail: bytes) -> None:
    view = View([Piece(text) for text in pieces])
    assert unpacked(encoding, joined(view, encoding, tail)) == b"".join(pieces) + tail


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_tail_larger_than_a_block_fits(encoding: str) -> None:
    rows, tail = b"x" * 5_000_000, b"12345," * 60_000
    assert unpacked(encoding, joined(View([Piece(rows)]), encoding, tail)) == rows + tail


def test_a_row_is_encoded_again_only_when_its_server_changes() -> None:
    snapshot = Snapshot()
    snapshot.put({n: Listing(7, Offer(id=n)) for n in range(1, 4)})
    view = snapshot.view()
    snapshot.put({2: Listing(7, Offer(id=2))})
    assert snapshot.view() is view
    snapshot.put({2: Listing(7, Offer(id=2, rented=True)), 3: Listing(7, None)})
    reply: Any = json.loads(joined(snapshot.view(), "", snapshot.tail(7)))
    assert reply == {
        "servers": [{"id": 1}, {"id": 2, "rented": True}],
        "my_servers": [1, 2, 3],
        "code": 0,
    }
    assert json.loads(joined(snapshot.view(), "", snapshot.tail(8)))["my_servers"] == []


def test_a_change_packs_its_own_piece_only() -> None:
    snapshot = Snapshot()
    snapshot.put({n: Listing(7, Offer(id=n)) for n in range(1, 1_001)})
    before = snapshot.view().pieces
    snapshot.put({600: Listing(7, Offer(id=600, rented=True))})
    after = snapshot.view().pieces
    assert [a is b for a, b in zip(before, after, strict=True)] == [True, True, True, False, True]


@given(
    st.lists(st.tuples(st.integers(1, 700), st.booleans()), max_size=40),
    st.sampled_from(["", "gzip", "zstd"]),
)
def test_whatever_comes_and_goes_the_reply_has_the_rows_that_are_there(
    moves: list[tuple[int, bool]], encoding: str
) -> None:
    snapshot = Snapshot()
    snapshot.put({n: Listing(7, Offer(id=n)) for n in range(1, 600)})
    there = set(range(1, 600))
    for server_id, listed in [*((n, False) for n in range(1, 257)), *moves]:
        snapshot.put({server_id: Listing(7, Offer(id=server_id) if listed else None)})
        there = there | {server_id} if listed else there - {server_id}
        assert len(snapshot.listed()) == len(there)
    reply: Any = json.loads(unpacked(encoding, joined(snapshot.view(), encoding, snapshot.tail(7))))
    assert sorted(server["id"] for server in reply["servers"]) == sorted(there)


def test_a_market_without_servers_has_no_rows() -> None:
    snapshot = Snapshot()
    assert json.loads(joined(snapshot.view(), "", snapshot.tail(None)))["servers"] == []
    snapshot.put({1: Listing(7, Offer(id=1))})
    snapshot.put({1: Listing(None, None)})
    reply: Any = json.loads(joined(snapshot.view(), "", snapshot.tail(7)))
    assert (reply["servers"], reply["my_servers"], snapshot.listed()) == ([], [], [])


@pytest.mark.parametrize(
    ("header", "encoding"),
    [
        ("", ""),
        ("identity", ""),
        ("gzip, deflate, br", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("GZIP;q=1.0", "gzip"),
        ("zstd;q=0, gzip", "gzip"),
        ("gzip;q=0", ""),
    ],
)
def test_the_callers_best_encoding_is_used(header: str, encoding: str) -> None:
    assert preferred_encoding(header) == encoding


def test_an_unchanged_marketplace_is_not_sent_again(door: Door) -> None:
    first = door.http.get("/v1/marketplace")
    again = door.http.get("/v1/marketplace", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    door.world.credit("10")
    door.world.rent()
    door.service.catch_up()
    changed = door.http.get("/v1/marketplace", headers={"if-none-match": first.headers["etag"]})
    assert changed.status_code == 200
    assert changed.headers["etag"] != first.headers["etag"]


@pytest.mark.parametrize("encoding", ["identity", "gzip", "zstd"])
def test_any_encoding_reads_the_same(door: Door, encoding: str) -> None:
    reply = door.http.get("/v1/marketplace", headers={"accept-encoding": encoding})
    assert reply.headers.get("content-encoding", "identity") == encoding
    assert reply.json()["servers"][0]["id"] == 1


def test_a_caller_with_servers_has_an_etag_of_its_own(door: Door) -> None:
    mine = door.http.get("/v1/marketplace", headers={"auth": door.keys["host"]})
    assert mine.headers["etag"] != door.http.get("/v1/marketplace").headers["etag"]

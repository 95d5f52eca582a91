"""Reading replies that are not as documented: nothing raises, nothing is lost that has a use."""

import contextlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openclore.api.endpoints import ENDPOINTS, MARKETPLACE, MY_ORDERS, MY_SERVERS, Endpoint
from openclore.client import CloreError
from openclore.client._wire import Answer, decoded

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def members(kind: type[msgspec.Struct]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with the right names and anything in them."""
    names = [f.encode_name for f in msgspec.structs.fields(kind) if f.encode_name not in ("id", "code")]
    return st.dictionaries(st.sampled_from([*names, "new"]), JSON, max_size=6)


def decode(endpoint: Endpoint[Any, Any], content: Any) -> Any:
    return decoded(endpoint, Answer(200, {}, json.dumps(content).encode()))


@given(st.data())
def test_no_row_with_an_id_is_ever_lost(data):
    for endpoint, member in ((MARKETPLACE, "servers"), (MY_ORDERS, "orders")):
        kind = type(decode(endpoint, {"code": 0, member: [{"id": 1}]}).__getattribute__(member)[0])
        rows = [{**m, "id": n} for n, m in enumerate(data.draw(st.lists(members(kind), max_size=4)), 1)]
        content = {"code": 0, member: [*rows, {"id": None}, {}, 7]}
        assert [row.id for row in getattr(decode(endpoint, content), member)] == [r["id"] for r in rows]


@given(
    st.lists(members(msgspec.defstruct("Row", [("name", Any), ("specs", Any), ("pricing", Any)])), max_size=4)
)
def test_servers_of_a_host_need_no_id(rows):
    assert len(decode(MY_SERVERS, {"code": 0, "servers": rows}).servers) == len(rows)


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda e: e.name)
def test_whatever_a_success_holds_it_is_read(endpoint):
    @given(members(endpoint.reply) | st.dictionaries(st.text(), JSON, max_size=4))
    def read(content: dict[str, Any]) -> None:
        assert isinstance(decode(endpoint, {**content, "code": 0}), endpoint.reply)

    read()


@given(JSON)
def test_whatever_an_answer_is_only_our_errors_come_of_it(content):
    with contextlib.suppress(CloreError):
        decode(MY_ORDERS, content)


@given(st.binary(max_size=64), st.integers(200, 599))
def test_bytes_that_are_no_reply_become_our_errors(body, status):
    with pytest.raises(CloreError):
        decoded(MY_ORDERS, Answer(status, {}, body))


def test_a_member_of_an_unexpected_type_is_left_out_and_the_rest_kept():
    row = {
        "id": "70123",
        "mrl": "soon",
        "rented": 0,
        "cuda_version": 12.4,
        "reliability": "0.99",
        "allowed_coins": ["bitcoin", 7, None],
        "price": {
            "on_demand": {"bitcoin": "0.00003", "x": [], "CLORE-Blockchain": None},
            "spot": "no",
            "usd": 3,
        },
        "specs": {"gpu": "2x NVIDIA GeForce RTX 4090", "ram": "much", "net": {"cc": "DE", "down": {}}},
    }
    (offer,) = decode(MARKETPLACE, {"code": 0, "servers": [row]}).servers
    assert (offer.id, offer.mrl, offer.rented, offer.cuda_version) == (70123, None, False, "12.4")
    assert offer.reliability == 0.99
    assert offer.allowed_coins == ["bitcoin", "7"]
    assert offer.price.on_demand == {"bitcoin": 0.00003, "CLORE-Blockchain": None}
    assert (offer.price.spot, offer.price.usd) == (None, None)
    assert (offer.specs.gpu_count, offer.specs.ram, offer.specs.net.cc) == (2, None, "DE")


def test_older_shapes_of_an_order_are_read():
    row = {
        "id": 5,
        "pub_cluster": "n1.example",
        "tcp_ports": "22:31022",
        "http_port": 8080,
        "http_pub": "x.example",
    }
    (order,) = decode(MY_ORDERS, {"code": 0, "orders": [row]}).orders
    assert order.endpoints == {22: ("n1.example", 31022), 8080: ("x.example", 443)}

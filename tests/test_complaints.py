from typing import Any

import msgspec
import pytest

from openclore.api.complaints import complaint
from openclore.api.gigaspot import CreateGigaspotOrders
from openclore.api.open.offers import SearchOffers
from openclore.api.open.servers import AddServer
from openclore.api.orders import CancelOrder, CreateOrder

ORDER = {"renting_server": 1, "type": "on-demand", "currency": "bitcoin", "image": "busybox"}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"renting_server": "x"}, "renting_server: must be a whole number, got text"),
        ({"renting_server": 0}, "renting_server: must be a whole number >= 1"),
        ({"image": "a:b:c"}, "image: must be at most 128 letters"),
        ({"ports": {"0": "tcp"}}, "ports: container ports are"),
        ({"ports": {"22": "udp"}}, "ports: container ports are"),
        ({"ports": []}, "ports: must be an object, got a list"),
        ({"env": {"A": "s3cret&"}}, "env: may hold only"),
        ({"type": "s3cret"}, "type: must be on-demand or spot"),
        ({"ssh_password": "s3cret" * 9}, "ssh_password: must be text of length <= 32"),
        ({"ports": {str(n): "tcp" for n in range(1, 9)}}, "ports: at most 5 ports, got 8"),
    ],
)
def test_a_complaint_names_the_member_and_keeps_its_value_to_itself(
    changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(msgspec.ValidationError) as error:
        msgspec.convert(ORDER | changes, CreateOrder)
    assert str(complaint(error.value)).startswith(sentence)
    assert "s3cret" not in str(complaint(error.value))


def test_a_missing_member_is_required() -> None:
    with pytest.raises(msgspec.ValidationError) as error:
        msgspec.convert({}, CancelOrder)
    assert str(complaint(error.value)) == "id: is required"


SEARCHED = [
    ("gpu", "a\x00", "gpu: must be text without NUL"),
    ("gpu", "x" * 129, "gpu: must be text of length <= 128"),
    ("gpu_count", "two", "gpu_count: must be a whole number, got text"),
    ("gpu_count_min", "-1", "gpu_count_min: must be a whole number >= 0"),
    ("vram_gb_min", "nan", "vram_gb_min: must be a number >= 0.0"),
    ("ram_gb_min", "inf", "ram_gb_min: must be a number <= 1000000.0"),
    ("price_per_hour_max", "$1", "price_per_hour_max: must be a number, got text"),
    ("reliability_min", "99", "reliability_min: must be a number <= 1.0"),
    ("country", "Germany", "country: must be the two letters of a country, such as DE"),
    ("currency", "btc", "currency: must be one of bitcoin, CLORE-Blockchain, USD-Blockchain"),
    ("order_type", "bid", "order_type: must be on-demand or spot"),
    ("rented", "yes", "rented: must be true or false, got text"),
    ("sort", "cheap", "sort: must be price, reliability, vram or gpu_count, with - in front"),
    ("limit", "501", "limit: must be a whole number <= 500"),
    ("after", "x" * 257, "after: must be text of length <= 256"),
]
"""Each filter, what somebody typed, and the beginning of the answer."""


@pytest.mark.parametrize(("member", "typed", "sentence"), SEARCHED)
def test_every_filter_of_a_search_says_what_it_takes(member: str, typed: str, sentence: str) -> None:
    with pytest.raises(msgspec.ValidationError) as error:
        msgspec.convert({member: typed}, SearchOffers, strict=False)
    assert str(complaint(error.value)).startswith(sentence)


def test_every_filter_of_a_search_is_tried() -> None:
    assert {member for member, _, _ in SEARCHED} == set(SearchOffers.__struct_fields__)


@pytest.mark.parametrize("name", ["rack/1", "rack-1 (removed 7)", "ünicode"])
def test_a_servers_name_is_explained(name: str) -> None:
    with pytest.raises(msgspec.ValidationError) as error:
        msgspec.convert({"name": name}, AddServer)
    assert str(complaint(error.value)) == "name: must be 1 to 64 letters, digits, spaces, _ or -"


BID = {"renting_server": 1, "image": "a3f9c4d7e5b088d8a0bff880", "price": 1, "oc": [{"pl": 200}]}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"price": 0}, "[1].price: must be a number >= 0.0001"),
        ({"image": "busybox"}, "[1].image: must be the 24-digit hexadecimal id of an image"),
        ({"oc": []}, "[1].oc: must be a list of length >= 1"),
        ({"oc": [{"pl": 200}, {"pl": 0}]}, "[1].oc[1].pl: must be a whole number >= 1"),
        ({"oc": [{}]}, "[1].oc[0].pl: is required"),
        ({"env": {"A": "s3cret&"}}, "[1].env: may hold only"),
        ({"env": {f"A{n}": "s3cret" * 200 for n in range(20)}}, "[1].env: as JSON it must be shorter"),
    ],
)
def test_of_a_list_the_item_is_named_too(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(msgspec.ValidationError) as error:
        msgspec.convert([BID, BID | changes], CreateGigaspotOrders)
    assert str(complaint(error.value)).startswith(sentence)
    assert "s3cret" not in str(complaint(error.value))


def test_an_item_that_is_no_object_is_named() -> None:
    for wrong, sentence in (([BID, 3], "[1]: must be an object"), ([BID, {}], "[1].renting_server: is")):
        with pytest.raises(msgspec.ValidationError) as error:
            msgspec.convert(wrong, CreateGigaspotOrders)
        assert str(complaint(error.value)).startswith(sentence)

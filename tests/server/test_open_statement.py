"""Statements as a caller of /open/v1 sees them."""

import pytest

from .conftest import Door


def test_a_statement_is_the_callers(any_door: Door) -> None:
    door = any_door
    door.world.credit("10")
    order = door.world.rent()
    door.world.jump(600)
    door.world.cancel(order.id)
    status, reply = door.call("statement", open=True)
    assert (status, reply["code"], reply["more"]) == (200, 0, False)
    assert [line["kind"] for line in reply["lines"]][:3] == ["credit", "rental", "fees"]
    assert reply["wallets"] == [
        {
            "currency": "USD-Blockchain",
            "balance": reply["lines"][-1]["balance"],
            "hash": reply["lines"][-1]["hash"],
        }
    ]
    _, hosts = door.call("statement", open=True, key="host")
    assert {line["kind"] for line in hosts["lines"]} == {"rental"}
    _, page = door.call("statement", open=True, params={"limit": 1, "after": reply["lines"][0]["id"]})
    assert (page["lines"], page["more"]) == (reply["lines"][1:2], True)


@pytest.mark.parametrize(
    "params",
    [{"currency": "gold"}, {"limit": 0}, {"limit": 1_001}, {"after": -1}, {"since": 9, "until": 8}],
)
def test_a_statement_that_can_not_be_is_refused(door: Door, params: dict[str, str]) -> None:
    status, reply = door.call("statement", open=True, params=params)
    assert (status, reply["code"]) == (400, 2)
    assert list(params)[-1] in reply["error"]


def test_a_statement_needs_a_key(door: Door) -> None:
    status, _ = door.call("statement", open=True, key=None)
    assert status == 401

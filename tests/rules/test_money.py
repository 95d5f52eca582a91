import pytest
from hypothesis import given
from hypothesis import strategies as st

from openclore.rules import money
from openclore.rules.refused import InvalidInput


@pytest.mark.parametrize(
    ("number", "amount"),
    [(0.0000312, 3_120), (2, 200_000_000), (0.1 + 0.2, 30_000_000), (1e-9, 0), (-1.5, -150_000_000)],
)
def test_a_wire_number_becomes_a_count_of_its_hundred_millionth(number: float, amount: int) -> None:
    assert money.from_wire(number) == amount


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 1e30, -1e30])
def test_a_wire_number_that_is_no_amount_is_refused(number: float) -> None:
    with pytest.raises(money.AmountError):
        money.from_wire(number)


def test_a_member_that_is_no_amount_is_named() -> None:
    assert money.of_member("amount", 2) == 200_000_000
    with pytest.raises(InvalidInput, match=r"^amount: an amount can't exceed"):
        money.of_member("amount", 1e30)


@pytest.mark.parametrize("text", ["", "five", "1.234567891", "NaN", "inf", "1e40", "1e999999999", "1,5"])
def test_a_typed_amount_is_never_guessed(text: str) -> None:
    with pytest.raises(money.AmountError):
        money.from_text(text)


@given(st.integers(-(10**15), 10**15))
def test_an_amount_survives_the_wire_up_to_fifteen_digits(amount: int) -> None:
    assert money.from_wire(money.to_wire(amount)) == amount


@given(st.integers(-money.AMOUNT_MAX, money.AMOUNT_MAX))
def test_an_amount_survives_being_written_and_typed_again(amount: int) -> None:
    assert money.from_text(money.to_text(amount)) == amount


@given(st.integers(0, 10**18), st.integers(0, 8))
def test_rounding_moves_an_amount_by_half_a_step_at_most(amount: int, decimals: int) -> None:
    step = 10 ** (8 - decimals)
    assert money.rounded(amount, decimals) % step == 0
    assert abs(money.rounded(amount, decimals) - amount) * 2 <= step

"""Money: an integer count of 10⁻⁸ of its currency. Decimals exist only at the wire and at the keyboard."""

from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation

from .refused import InvalidInput

SCALE = 10**8
AMOUNT_MAX = 10**18
"""Ten billion of a currency: far above any real amount, far below what a 64-bit column holds."""


class AmountError(ValueError):
    """A number that is no amount of money; the message says why, for the person who wrote it."""


def from_wire(number: float) -> int:
    """A JSON number as an amount, rounded half to even at the eighth decimal.

    >>> from_wire(0.0000312)
    3120
    """
    return _scaled(Decimal(repr(number)))


def of_member(member: str, number: float) -> int:
    """The amount in a member of a request.

    Raises:
        InvalidInput: it is none; the message names the member.
    """
    try:
        return from_wire(number)
    except AmountError as error:
        raise InvalidInput(f"{member}: {error}") from None


def from_text(text: str) -> int:
    """A typed decimal as an amount; refuses more than eight decimals rather than rounding what was typed."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise AmountError(f"{text!r} is not a number, write it like 12.5") from None
    if number.is_finite() and -int(number.as_tuple().exponent) > 8 and number != round(number, 8):
        raise AmountError(f"{text!r} has more than eight decimals")
    return _scaled(number)


def to_wire(amount: int) -> float:
    """The JSON number of an amount.

    >>> to_wire(138888)
    0.00138888
    """
    return amount / SCALE


def to_text(amount: int) -> str:
    """An amount as people write it, without trailing zeros.

    >>> to_text(1_250_000_000), to_text(-1), to_text(0)
    ('12.5', '-0.00000001', '0')
    """
    whole, rest = divmod(abs(amount), SCALE)
    text = f"{whole}.{rest:08d}".rstrip("0").rstrip(".") if rest else str(whole)
    return f"-{text}" if amount < 0 else text


def rounded(amount: int, decimals: int) -> int:
    """An amount rounded half to even to so many decimals of its currency."""
    step = Decimal(10) ** (8 - decimals)
    return int((Decimal(amount) / step).quantize(Decimal(1), ROUND_HALF_EVEN) * step)


def _scaled(number: Decimal) -> int:
    if not number.is_finite():
        raise AmountError("an amount must be a finite number")
    if number.copy_abs() > AMOUNT_MAX // SCALE:
        raise AmountError(f"an amount can't exceed {AMOUNT_MAX // SCALE}")
    return int((number * SCALE).quantize(Decimal(1), ROUND_HALF_EVEN))

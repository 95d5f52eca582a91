"""Durations as people write them: 90, 90s, 5m, 1h, 1d12h, 2w."""

import re

_UNIT_SECONDS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_WRITTEN = re.compile(r" ?".join(rf"(?:([0-9]{{1,9}}){unit})?" for unit in _UNIT_SECONDS), re.ASCII)


def seconds_of(text: str) -> int:
    """The seconds in a text like "1d12h", "1h 30m" or "90"; plain digits are seconds.

    Raises:
        ValueError: it is no duration, with a sentence that says what one looks like.
    """
    plain = text.strip().lower()
    if re.fullmatch("[0-9]{1,9}", plain):
        return int(plain)
    written = _WRITTEN.fullmatch(plain)
    if not plain or not written:
        raise ValueError(f"{text!r} is no duration; write it like 30s, 10m, 2h, 1d12h, 1w, or in seconds")
    parts = zip(written.groups(), _UNIT_SECONDS.values(), strict=True)
    return sum(int(number) * seconds for number, seconds in parts if number)


def words_of(seconds: float) -> str:
    """A duration, not negative, in its two largest units and rounded down: 5400 is "1h 30m"."""
    left = int(seconds)
    parts: list[tuple[int, str]] = []
    for unit in "dhms":
        number, left = divmod(left, _UNIT_SECONDS[unit])
        if number or parts:
            parts.append((number, unit))
    return " ".join(f"{number}{unit}" for number, unit in parts[:2] if number) or "0s"

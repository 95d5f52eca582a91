"""Durations as people write and read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openclore.api.durations import seconds_of, words_of


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("5m", 300),
        ("1h", 3_600),
        ("1d12h", 129_600),
        ("1h 30m", 5_400),
        (" 2W ", 1_209_600),
        ("0", 0),
    ],
)
def test_a_duration_is_read_as_written(text: str, seconds: int) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    "text", ["", " ", "soon", "1h30", "30m1h", "1.5h", "-1h", "h", "1h1h", "٣h", "9" * 10]
)
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration; write it like 30s, 10m, 2h, 1d12h, 1w"):
        seconds_of(text)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0s"), (0.9, "0s"), (59, "59s"), (61, "1m 1s"), (5_400, "1h 30m"), (3_659, "1h"), (864_000, "10d")],
)
def test_a_duration_is_said_in_its_two_largest_units(seconds: float, words: str) -> None:
    assert words_of(seconds) == words


@given(st.integers(min_value=0, max_value=10**9))
def test_words_read_back_are_never_longer_and_lose_little(seconds: int) -> None:
    assert seconds * 0.95 - 1 <= seconds_of(words_of(seconds)) <= seconds

"""Events as they happen: each once, in order, however often the connection breaks."""

import itertools
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openclore.api.dialects import DIALECT_HEADER
from openclore.client import InputError, NetworkError, ReplyError, SignInError

from .fakes import Clock, Script, make, reply

HEADERS = {"Content-Type": "text/event-stream", DIALECT_HEADER: "open"}


def event(number: int, **more: Any) -> bytes:
    data = json.dumps({"id": number, "at": 100 + number, "kind": "order_ended", **more})
    return f"id: {number}\nevent: order_ended\ndata: {data}\n\n".encode()


class Breaking(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """A body that ends in the middle: the connection is gone."""

    def __init__(self, *chunks: bytes) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        yield from self._chunks
        raise httpx2.ReadError("reset")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk
        raise httpx2.ReadError("reset")


def breaking(*chunks: bytes) -> Any:
    return lambda _: httpx2.Response(200, headers=HEADERS, stream=Breaking(*chunks))


def whole(*chunks: bytes) -> httpx2.Response:
    return httpx2.Response(200, headers=HEADERS, content=b"".join(chunks))


def first(clore: Any, count: int, *args: Any, **kwargs: Any) -> list[int]:
    stream = clore.walk("stream_events", *args, **kwargs)
    seen = [event.id for event in itertools.islice(stream, count)]
    stream.close()
    return seen


def test_events_come_as_they_are_sent(connect):
    clore, script = connect(whole(b":\n\n", event(5, data={"reason": "expired"}, fresh=1), event(6)))
    stream = clore.walk("stream_events", after=4, kinds=["order_ended", "order_created"])
    five, six = next(stream), next(stream)
    stream.close()
    assert (five.id, five.at, five.kind, five.data) == (5, 105, "order_ended", {"reason": "expired"})
    assert (five.extra, six.id) == ({"fresh": 1}, 6)
    (request,) = script.requests
    assert request.url.path == "/open/v1/events/stream"
    assert dict(request.url.params) == {"after": "4", "kinds": "order_ended,order_created"}
    assert request.headers["accept"] == "text/event-stream"


def test_a_broken_stream_goes_on_after_the_last_event(connect, clock):
    clore, script = connect(
        breaking(event(5), event(6)),
        httpx2.ConnectError("refused"),
        reply(b"<html>", 502),
        reply({"code": 1}, 500),
        whole(event(7)),
        whole(event(7), event(8)),
    )
    assert first(clore, 4) == [5, 6, 7, 8]
    assert [r.headers.get("last-event-id") for r in script.requests] == [None, "6", "6", "6", "6", "7"]
    assert all(seconds >= 2 for seconds in clock.slept)


def test_half_an_event_does_not_count(connect):
    half = event(6)[:-10]
    clore, script = connect(breaking(event(5), half), whole(event(6)))
    assert first(clore, 2) == [5, 6]
    assert script.requests[1].headers["last-event-id"] == "5"


def test_a_cursor_without_an_event_is_one_too(connect):
    clore, script = connect(breaking(b"id: 41\n\n"), whole(event(42)))
    assert first(clore, 1) == [42]
    assert script.requests[1].headers["last-event-id"] == "41"


def test_a_stream_that_breaks_before_its_first_event_misses_none(connect):
    headers = HEADERS | {"Last-Event-ID": "41"}
    quiet = httpx2.Response(200, headers=headers, stream=Breaking(b":\n\n"))
    clore, script = connect(lambda _: quiet, whole(event(42)))
    assert first(clore, 1) == [42]
    assert [r.headers.get("last-event-id") for r in script.requests] == [None, "41"]


def test_it_is_opened_again_for_ever_once_it_was_open(connect):
    clore, script = connect(whole(event(1)), *[reply(b"", 503)] * 30, whole(event(2)))
    assert first(clore, 2) == [1, 2]
    assert len(script.requests) == 32


def test_a_market_that_is_not_there_is_told_after_a_while(connect, clock):
    clore, script = connect(httpx2.ConnectError("refused"))
    with pytest.raises(NetworkError):
        first(clore, 1)
    assert len(script.requests) == 4
    assert clock.now - 1_000 < 30


def test_what_waiting_does_not_help_is_told_at_once(connect):
    clore, script = connect(whole(event(1)), reply({"code": 3}, 401))
    with pytest.raises(SignInError):
        first(clore, 2)
    assert len(script.requests) == 2
    clore, _ = connect(whole(b"id: 3\ndata: nonsense\n\n"))
    with pytest.raises(ReplyError):
        first(clore, 1)
    with pytest.raises(InputError):
        first(clore, 1, after=-1)


def test_the_market_says_when_to_come_again(connect, clock):
    busy = reply({"code": 5}, 429, headers={"Retry-After": "17"})
    clore, _ = connect(busy, whole(event(1)))
    assert first(clore, 1) == [1]
    assert 17 in clock.slept


def test_other_calls_go_on_while_a_stream_is_open(connect):
    clore, script = connect(whole(event(1), event(2)), reply({"code": 0, "webhooks": []}, headers=HEADERS))
    stream = clore.walk("stream_events")
    assert next(stream).id == 1
    assert clore.webhooks() == []
    assert next(stream).id == 2
    stream.close()
    assert script.paths == ["/open/v1/events/stream", "/open/v1/webhooks"]


CONNECTIONS = st.lists(st.tuples(st.integers(0, 600), st.integers(1, 60), st.integers(0, 2)), max_size=6)


@given(st.integers(1, 6), CONNECTIONS)
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_wherever_the_stream_breaks_no_event_is_missed_or_doubled(kind, count, connections):
    """Each connection: after how many bytes it breaks, how they are cut, how many events come again."""

    def answer(cut: int, piece: int, again: int) -> Any:
        def stream(request: httpx2.Request) -> httpx2.Response:
            start = max(1, int(request.headers.get("last-event-id", 0)) + 1 - again)
            content = b":\n\n" + b"".join(event(n) for n in range(start, count + 1))
            end = min(cut, len(content))
            return breaking(*[content[at : min(at + piece, end)] for at in range(0, end, piece)])(request)

        return stream

    clock = Clock()
    script = Script([*(answer(*each) for each in connections), answer(10_000, 1_000, 0)], clock)
    clore = make(kind, script, clock)
    try:
        assert first(clore, count, after=0) == list(range(1, count + 1))
    finally:
        clore.close()

"""Checks that no endpoint escapes: keys, codes, the pace."""

from collections.abc import Iterator

from openclore.api.codes import Code
from openclore.api.dialects import DIALECT_HEADER, Dialect

from .findings import Finding, Mark, judged, not_checked
from .market import Market, Seen

ABOUT = "every endpoint"
SHARED_KEY = "something else may use this key at the same time: give the check a key of its own"
NOBODYS_KEY = "0123456789abcdef0123456789abcdef"


def keys(market: Market) -> Iterator[Finding]:
    seen = market.get("wallets")
    yield judged(ABOUT, "a good key is accepted", Mark.DOC, seen.is_(200, Code.OK), seen, "HTTP 200, code 0")
    yield _dialect(market, seen)
    for check, mark, headers in (
        ("no key", Mark.SEEN, {}),
        ("an unknown key", Mark.SEEN, {"auth": NOBODYS_KEY}),
        ("the key in Authorization", Mark.DOC, market.key_as("{key}")),
    ):
        seen = market.ask("GET", "wallets", headers=headers)
        yield judged(ABOUT, check, mark, seen.is_(401, Code.INVALID_TOKEN), seen, "HTTP 401, code 3")
    seen = market.ask("GET", "wallets", headers=market.key_as("Bearer {key}"))
    if market.says_open:
        yield judged(
            ABOUT, "the key as a Bearer", Mark.OPEN, seen.is_(200, Code.OK), seen, "HTTP 200, code 0"
        )
    else:
        holds = seen.is_(401, Code.INVALID_TOKEN)
        yield judged(ABOUT, "the key as a Bearer", Mark.DOC, holds, seen, "HTTP 401, code 3")


def _dialect(market: Market, seen: Seen) -> Finding:
    named = seen.headers.get(DIALECT_HEADER.lower())
    check = "names its dialect"
    if named is None:
        return not_checked(ABOUT, check, Mark.OPEN, f"no {DIALECT_HEADER}: taken for live")
    return judged(ABOUT, check, Mark.OPEN, named in list(Dialect), named, " or ".join(Dialect))


def codes(market: Market) -> Iterator[Finding]:
    seen = market.get("no_such_endpoint")
    holds = seen.is_(404, Code.INVALID_ENDPOINT)
    yield judged(ABOUT, "an unknown endpoint", Mark.DOC, holds, seen, "HTTP 404, code 4")
    for check, body in (("a body that is no JSON", b"{"), ("a member that is missing", {})):
        seen = market.post("cancel_order", body)
        yield judged(ABOUT, check, Mark.DOC, seen.is_(400, Code.INVALID_INPUT), seen, "HTTP 400, code 2")


def pace(market: Market) -> Iterator[Finding]:
    seen = market.at_once("wallets", "my_orders")
    too_fast = seen.is_(429, Code.RATE_EXCEEDED)
    expected = "HTTP 429, code 5, whichever endpoint was called before"
    yield judged(ABOUT, "two calls at once", Mark.DOC, too_fast, seen, expected)
    if not too_fast:
        return
    if market.says_open:
        after = seen.headers.get("retry-after", "")
        holds = after.isascii() and after.isdigit() and int(after) >= 1
        yield judged(ABOUT, "Retry-After", Mark.OPEN, holds, after or "none", "whole seconds")
    else:
        bare = seen.body == b'{"code":5}'
        yield judged(ABOUT, "too fast says code 5 alone", Mark.SEEN, bare, seen, '{"code":5}')


def tally(market: Market) -> Iterator[Finding]:
    """What only all answers together can tell; comes last."""
    told = f"{market.answers - market.without_code} of {market.answers} answers"
    yield judged(ABOUT, "every answer has a code", Mark.DOC, not market.without_code, told, "a code in each")
    spacing = f"{market.spacing.every:g} s"
    told = f"refused {market.too_fast} times" if market.too_fast else f"never refused at {spacing}"
    yield judged(
        ABOUT,
        "who keeps the pace is let in",
        Mark.DOC,
        not market.too_fast,
        told,
        f"code 5 never, {spacing} apart",
        (SHARED_KEY,) if market.too_fast else (),
    )

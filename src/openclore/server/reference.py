"""The reference page: both APIs for people, rendered here, without scripts or anybody else's files."""

import base64
import functools
import hashlib
import html
import json
import re
from dataclasses import dataclass
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.response import Redirect

from ..api import describe
from ..api.base import Reply
from ..api.codes import HTTP_STATUS, MEANINGS, OPEN_HTTP_STATUS, REFUSAL_MEANINGS, Code, Refusal
from ..api.endpoints import BASE_PATH, ENDPOINTS, Endpoint
from ..api.examples import EVENT_STREAM, EXAMPLES, IDS
from ..api.open.endpoints import OPEN_ENDPOINTS, OPEN_PATH, STREAM_EVENTS
from .openapi import OPEN_DOCUMENT, V1_DOCUMENT
from .service import Service

PATH = "/reference"

LINE_LENGTH = 48
"""Of JSON: what fits beside the text without scrolling."""

_TEMPLATES = Path(__file__).parent / "templates"
_MARKET = "market.invalid"
"""Stands in the rendered page where the market's own address will."""
_EVERY = (*ENDPOINTS, *OPEN_ENDPOINTS)


def routes(service: Service) -> list[HTTPRouteHandler]:
    @get(PATH, sync_to_thread=True)
    def reference(request: Request[Any, Any, Any]) -> Response[bytes]:
        """The page, with the address under which this caller reached the market."""
        address = service.settings.public_url or str(request.base_url)
        page, policy = _rendered()
        body = page.replace(_MARKET, html.escape(address.rstrip("/"))).encode()
        headers = {
            "Content-Security-Policy": policy,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-cache",
        }
        return Response(body, media_type="text/html", headers=headers)

    @get("/", sync_to_thread=False)
    def front() -> Redirect:
        """Who opens the market in a browser wants to read."""
        return Redirect(PATH)

    return [reference, front]


@functools.cache
def _rendered() -> tuple[str, str]:
    """The page for the address `_MARKET`, and the content security policy that goes with it."""
    # Imported late: a server that nobody looks at starts without it.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    style = (_TEMPLATES / "reference.css").read_text()
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"prose": _prose, "json": _coloured}
    page = environment.get_template("reference.html").render(
        style=style,
        version=version("openclore"),
        market=_MARKET,
        chapters=[
            Chapter("The Clore API", BASE_PATH, V1_DOCUMENT, [view(e) for e in ENDPOINTS]),
            Chapter("The OpenClore API", OPEN_PATH, OPEN_DOCUMENT, [view(e) for e in OPEN_ENDPOINTS]),
        ],
        codes=[(code, HTTP_STATUS[code], OPEN_HTTP_STATUS[code], *MEANINGS[code]) for code in Code],
        refusals=[(each, *REFUSAL_MEANINGS[each], _senders(each)) for each in Refusal],
        objects=[(each.__name__, describe.prose(each), _rows(each)) for each in describe.objects(_EVERY)],
    )
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return page, f"{policy}; frame-ancestors 'none'"


# What the template shows ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """A member in a table. `type` is HTML: words, and links to objects."""

    name: str
    type: str
    required: bool
    facts: str


@dataclass(frozen=True)
class View:
    """An endpoint as the page shows it. `where` says what carries the request; empty if there is none."""

    name: str
    methods: tuple[str, ...]
    path: str
    summary: str
    facts: list[str]
    where: str
    prose: str
    request: list[Row]
    curl: str
    reply_prose: str
    reply: list[Row]
    answer: Any
    stream: str
    refusals: tuple[Refusal, ...]


@dataclass(frozen=True)
class Chapter:
    title: str
    base: str
    document: str
    endpoints: list[View]


def view(endpoint: Endpoint[Any, Any]) -> View:
    sent, is_array = describe.request_struct(endpoint)
    nothing = endpoint.carries == "nothing"
    carrier = "query" if endpoint.carries == "query" else "JSON body" + (", an array of" if is_array else "")
    streams = endpoint is STREAM_EVENTS
    return View(
        name=endpoint.name,
        methods=endpoint.methods,
        path=endpoint.below + endpoint.path,
        summary=endpoint.summary,
        facts=_facts(endpoint),
        where="" if nothing else carrier,
        prose="" if nothing else describe.prose(sent),
        request=[] if nothing else _rows(sent),
        curl=_curl(endpoint),
        reply_prose="" if endpoint.reply is Reply else describe.prose(endpoint.reply),
        reply=[] if streams else [row for row in _rows(endpoint.reply) if row.name != "code"],
        answer=EXAMPLES[endpoint.name].reply,
        stream=EVENT_STREAM if streams else "",
        refusals=endpoint.may_refuse,
    )


def _facts(endpoint: Endpoint[Any, Any]) -> list[str]:
    facts = ["key optional" if endpoint.key == "optional" else "needs a key"]
    if endpoint.spacing_seconds:
        facts.append(f"once in {endpoint.spacing_seconds:g} s")
    if endpoint.writes:
        facts.append("takes an Idempotency-Key")
    return facts


def _senders(refusal: Refusal) -> list[str]:
    """Names of endpoints; none where it may be any write."""
    if refusal is Refusal.WAIT:
        return []
    return [endpoint.name for endpoint in _EVERY if refusal in endpoint.may_refuse]


def _rows(struct: type[msgspec.Struct]) -> list[Row]:
    return [_row(member) for member in describe.members(struct)]


def _row(member: describe.Member) -> Row:
    default = "" if member.default is None else f"default `{msgspec.json.encode(member.default).decode()}`"
    facts = "; ".join(filter(None, [member.bounds, default]))
    return Row(member.name, "".join(map(_type, member.type)), member.required, facts)


def _type(word: str | type[msgspec.Struct]) -> str:
    if isinstance(word, str):
        return _prose(word)
    return f'<a href="#{word.__name__}">{word.__name__}</a>'


def _curl(endpoint: Endpoint[Any, Any]) -> str:
    """A command line that does it."""
    request = EXAMPLES[endpoint.name].request
    sends = "-N" if endpoint is STREAM_EVENTS else ""
    if endpoint.carries == "query":
        sends += " -G"
    elif endpoint.method != ("POST" if request else "GET"):
        sends += f" -X {endpoint.method}"
    address = f"{_MARKET}{endpoint.below}{endpoint.path.format(**IDS)}"
    words = [" ".join(["curl", *sends.split(), address])]
    if endpoint.carries == "query":
        words += [f"-d {_pair(name, value)}" for name, value in request.items()]
    if endpoint.key == "required":
        words.append('-H "auth: $CLORE_API_KEY"')
    if endpoint.carries == "body":
        words.append("-H 'Content-Type: application/json'")
        words.append(f"-d '{_indented(request)}'")
    return " \\\n  ".join(words)


def _pair(name: str, value: Any) -> str:
    text = urlencode(
        {name: json.dumps(value) if isinstance(value, bool) else value}, safe=",", quote_via=quote
    )
    return f"'{text}'" if "%" in text else text


# Text to HTML ---------------------------------------------------------------------------------------


def _prose(text: str) -> str:
    """Docstring prose as HTML: `code` and **strong**."""
    escaped = html.escape(text, quote=False)
    escaped = re.sub(r"`([^`]+)`", r"<code>\1</code>", escaped)
    return re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", escaped)


_TOKENS = re.compile(r'("(?:[^"\\]|\\.)*")(\s*:)?|\b(true|false|null|-?\d[\d.eE+-]*)\b')


def _coloured(value: Any) -> str:
    """JSON as HTML, its names, strings and other values told apart."""
    text = html.escape(_indented(value), quote=False)

    def span(found: re.Match[str]) -> str:
        text, colon, other = found.groups()
        kind = "n" if colon else "s" if text else "v"
        return f'<span class="{kind}">{text or other}</span>{colon or ""}'

    return _TOKENS.sub(span, text)


def _indented(value: Any, indent: str = "", before: int = 0) -> str:
    """JSON with small objects and lists on one line, and numbers without exponents.

    `before` is how much stands on the line already, besides the indent.
    """
    if isinstance(value, float):
        return f"{Decimal(repr(value)):f}"
    if not isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    inner = indent + "  "
    if isinstance(value, dict):
        names = [f"{json.dumps(name)}: " for name in value]
        pieces = [n + _indented(e, inner, len(n)) for n, e in zip(names, value.values(), strict=True)]
        opening, closing = "{}"
    else:
        pieces = [_indented(each, inner) for each in value]
        opening, closing = "[]"
    flat = f"{opening}{', '.join(pieces)}{closing}"
    if len(indent) + before + len(flat) <= LINE_LENGTH and "\n" not in flat:
        return flat
    return f"{opening}\n{inner}" + f",\n{inner}".join(pieces) + f"\n{indent}{closing}"

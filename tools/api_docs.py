"""Write docs/api.md from the endpoint tables and the types; --check only says whether it is up to date."""

import sys
from pathlib import Path
from typing import Any

import msgspec

from openclore.api import describe
from openclore.api.base import Reply
from openclore.api.codes import HTTP_STATUS, MEANINGS, OPEN_HTTP_STATUS, REFUSAL_MEANINGS, Refusal
from openclore.api.endpoints import BASE_PATH, ENDPOINTS, SPACING_SECONDS, Endpoint
from openclore.api.open.endpoints import IDEMPOTENCY_HEADER, OPEN_ENDPOINTS, OPEN_PATH

FILE = Path(__file__).parent.parent / "docs" / "api.md"
ALL = (*ENDPOINTS, *OPEN_ENDPOINTS)
HEAD = f"""# The API

<!-- Written by tools/api_docs.py from src/openclore/api; change it there. -->

What other markets speak too is below `{BASE_PATH}`, what OpenClore adds below `{OPEN_PATH}`. A running market
shows the same with examples at `/reference`, and for programs as OpenAPI 3.1 at `/openapi/v1.json` and
`/openapi/open-v1.json`.

The key travels as `auth: KEY` or `Authorization: Bearer KEY`. A key may call once in {SPACING_SECONDS:g} s
over all endpoints of `{BASE_PATH}`. Prices are per **day** for the whole machine unless a name says
otherwise. Every JSON reply has a `code`; members this page does not know may come, and any but identities
may be missing. A write with a header `{IDEMPOTENCY_HEADER}` is carried out once, however often it is sent;
the live dialect ignores it.

"""


def page() -> str:
    parts = [HEAD, _codes(), _refusals(), *map(_endpoint, ALL), _objects()]
    return "".join(parts)


def _codes() -> str:
    rows = [
        f"| {code.value} | {HTTP_STATUS[code]} | {OPEN_HTTP_STATUS[code]} | {' '.join(sentences).strip()} |"
        for code, sentences in MEANINGS.items()
    ]
    head = [f"| Code | HTTP, `{BASE_PATH}` | HTTP, `{OPEN_PATH}` | |", "|---|---|---|---|"]
    return "\n".join(head + rows) + "\n"


def _refusals() -> str:
    head = "\n## Refusals\n\nWhat `error` says with code 6.\n\n| `error` | Meaning | What to do |\n"
    rows = [f"| `{refusal}` | {' | '.join(REFUSAL_MEANINGS[refusal])} |\n" for refusal in Refusal]
    return head + "|---|---|---|\n" + "".join(rows)


def _endpoint(endpoint: Endpoint[Any, Any]) -> str:
    lines = [f"\n## {' or '.join(endpoint.methods)} {endpoint.below}{endpoint.path}\n", endpoint.summary]
    facts = [f"Key {endpoint.key}."]
    if endpoint.spacing_seconds:
        facts.append(f"Once in {endpoint.spacing_seconds:g} s per key.")
    lines.append(" ".join(facts))
    if endpoint.carries != "nothing":
        request, is_array = describe.request_struct(endpoint)
        where = (
            "query" if endpoint.carries == "query" else "JSON body" + (", an array of" if is_array else "")
        )
        lines.append(f"{_prose(request)}\nRequest, in the {where}:\n\n{_members(request)}")
    lines.append(f"{_prose(endpoint.reply)}\nReply:\n\n{_members(endpoint.reply)}")
    if endpoint.may_refuse:
        lines.append(
            "\nMay be refused: " + ", ".join(f"`{refusal}`" for refusal in endpoint.may_refuse) + "."
        )
    return "\n".join(lines) + "\n"


def _objects() -> str:
    parts = [
        f"\n### {struct.__name__}\n{_prose(struct)}\n{_members(struct)}\n" for struct in describe.objects(ALL)
    ]
    return "\n## Objects\n" + "".join(parts)


def _members(struct: type[msgspec.Struct]) -> str:
    rows = ["| Member | Type | |", "|---|---|---|"]
    for member in describe.members(struct):
        rows.append(f"| `{member.name}` | {_type(member)} | {_facts(member)} |")
    return "\n".join(rows)


def _type(member: describe.Member) -> str:
    return "".join(
        word if isinstance(word, str) else f"[{word.__name__}](#{word.__name__.lower()})"
        for word in member.type
    )


def _facts(member: describe.Member) -> str:
    default = "" if member.default is None else f"default `{msgspec.json.encode(member.default).decode()}`"
    return ", ".join(filter(None, ["required" if member.required else "", member.bounds, default]))


def _prose(struct: type[msgspec.Struct]) -> str:
    text = "" if struct is Reply else describe.prose(struct)
    return f"\n{text.replace(chr(10), chr(10) * 2)}\n" if text else ""


if __name__ == "__main__":
    if "--check" in sys.argv:
        if not FILE.exists() or FILE.read_text() != page():
            sys.exit(f"{FILE} is not up to date: run python tools/api_docs.py")
    else:
        FILE.write_text(page())

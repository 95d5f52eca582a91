"""Write docs/api.md from the table of endpoints and the types; --check only says whether it is up to date."""

import sys
import types
import typing
from pathlib import Path
from typing import Any

import msgspec

from openclore.api.codes import HTTP_STATUS, Code, Refusal
from openclore.api.endpoints import BASE_PATH, ENDPOINTS, SPACING_SECONDS, Endpoint

FILE = Path(__file__).parent.parent / "docs" / "api.md"
MEANINGS = {
    Code.OK: "normal",
    Code.DATABASE_ERROR: "database error: the outcome of a write is unknown, look before trying again",
    Code.INVALID_INPUT: "invalid input; `error` names the member",
    Code.INVALID_TOKEN: "missing, unknown or revoked API key",
    Code.INVALID_ENDPOINT: "no such endpoint",
    Code.RATE_EXCEEDED: "too fast; `Retry-After` says in how many seconds",
    Code.BUSINESS: "refused for the reason in `error`",
}
HEAD = f"""# The API

<!-- Written by tools/api_docs.py from src/openclore/api; change it there. -->

Every endpoint is one path segment below `{BASE_PATH}`. The key travels as `auth: KEY` or
`Authorization: Bearer KEY`. A key may call once in {SPACING_SECONDS:g} s over all endpoints. Prices are per
**day** for the whole machine. Every JSON reply has a `code`; members this page does not know may come, and
any but identities may be missing.

| Code | HTTP | Meaning |
|---|---|---|
"""


def page() -> str:
    codes = "".join(f"| {code.value} | {HTTP_STATUS[code]} | {MEANINGS[code]} |\n" for code in Code)
    refusals = "\nThe `error` of code 6 is one of: " + ", ".join(f"`{r}`" for r in Refusal) + ".\n"
    return HEAD + codes + refusals + "".join(map(_endpoint, ENDPOINTS)) + _objects()


def _endpoint(endpoint: Endpoint[Any, Any]) -> str:
    lines = [f"\n## {' or '.join(endpoint.methods)} {BASE_PATH}{endpoint.path}\n", endpoint.summary]
    facts = [f"Key {endpoint.key}."]
    if endpoint.spacing_seconds:
        facts.append(f"Once in {endpoint.spacing_seconds:g} s per key.")
    lines.append(" ".join(facts))
    if endpoint.carries != "nothing":
        request = _structs(endpoint.request)[0]
        array = ", an array of" if request is not endpoint.request else ""
        lines.append(f"\n{_prose(request)}\n")
        lines.append(f"Request, in the {'query' if endpoint.carries == 'query' else f'JSON body{array}'}:\n")
        lines.append(_members(request))
    lines.append(f"\nReply:\n\n{_members(endpoint.reply)}")
    return "\n".join(lines) + "\n"


def _objects() -> str:
    """Every struct that replies are made of, each once, in the order they appear."""
    seen: dict[type, None] = {}
    waiting: list[type] = [endpoint.reply for endpoint in ENDPOINTS]
    while waiting:
        struct = waiting.pop(0)
        for hint in typing.get_type_hints(struct).values():
            for inner in _structs(hint):
                if inner not in seen:
                    seen[inner] = None
                    waiting.append(inner)
    parts = [f"\n### {struct.__name__}\n\n{_prose(struct)}\n\n{_members(struct)}\n" for struct in seen]
    return "\n## Objects\n" + "".join(parts)


def _members(struct: type) -> str:
    rows = ["| Member | Type | |", "|---|---|---|"]
    hints = typing.get_type_hints(struct)
    for field in msgspec.structs.fields(struct):
        required = "required" if field.required else ""
        rows.append(f"| `{field.encode_name}` | {_type(hints[field.name])} | {required} |")
    return "\n".join(rows)


def _type(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return "any"
    if origin in (typing.Union, types.UnionType):
        kinds = [_type(a) for a in arguments if a not in (type(None), msgspec.UnsetType)]
        return " or ".join(dict.fromkeys(kinds))
    if origin is typing.Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin is list:
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return f"object of {_type(arguments[1])}"
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return f"[{hint.__name__}](#{hint.__name__.lower()})"
    return {int: "integer", float: "number", str: "string", bool: "boolean"}.get(hint, str(hint))


def _structs(hint: Any) -> list[type]:
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return [hint]
    return [struct for argument in typing.get_args(hint) for struct in _structs(argument)]


def _prose(struct: type) -> str:
    lines = (struct.__doc__ or "").strip().splitlines()
    return "\n".join(line.strip() for line in lines)


if __name__ == "__main__":
    if "--check" in sys.argv:
        if not FILE.exists() or FILE.read_text() != page():
            sys.exit(f"{FILE} is not up to date: run python tools/api_docs.py")
    else:
        FILE.write_text(page())

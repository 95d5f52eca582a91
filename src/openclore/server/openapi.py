"""OpenAPI 3.1 documents of both APIs, made from the tables of endpoints and the types."""

import functools
import re
from importlib.metadata import version
from typing import Any

import msgspec
from litestar import Response, get
from litestar.handlers import HTTPRouteHandler

from ..api import describe
from ..api.base import Reply
from ..api.codes import (
    DOCKERHUB_REFUSAL_PREFIX,
    HTTP_STATUS,
    MEANINGS,
    OPEN_HTTP_STATUS,
    REFUSAL_MEANINGS,
    Code,
)
from ..api.dialects import DIALECT_HEADER, Dialect
from ..api.endpoints import BASE_PATH, CREATE_REFUSALS, ENDPOINTS, MARKETPLACE, SERVER_CONFIG, Endpoint
from ..api.examples import EVENT_STREAM, EXAMPLES, IDS
from ..api.open.endpoints import (
    IDEMPOTENCY_HEADER,
    IDEMPOTENCY_KEY_PATTERN,
    OPEN_ENDPOINTS,
    OPEN_PATH,
    REPLAYED_HEADER,
    STREAM_EVENTS,
)
from ..api.open.events import LAST_EVENT_ID
from .requests import REQUEST_ID_HEADER

V1_DOCUMENT = "/openapi/v1.json"
OPEN_DOCUMENT = "/openapi/open-v1.json"

Json = dict[str, Any]

_SCHEMAS = "#/components/schemas/"
_V1_INFO = """The Clore API, as other markets speak it too. Prices are per day for the whole machine. Replies
may have members that this document does not know.

A market speaks one of two dialects, named in the header `OpenClore-Dialect` of every reply. This document is
about both; what is different in the live dialect is said where it is."""
_OPEN_INFO = "What OpenClore adds to the Clore API: the same keys and the same envelope, in one dialect."


def routes() -> list[HTTPRouteHandler]:
    @get(V1_DOCUMENT, sync_to_thread=False)
    def v1_document() -> Response[bytes]:
        """What programs read to learn /v1."""
        return _served(_encoded(BASE_PATH))

    @get(OPEN_DOCUMENT, sync_to_thread=False)
    def open_document() -> Response[bytes]:
        """What programs read to learn /open/v1."""
        return _served(_encoded(OPEN_PATH))

    return [v1_document, open_document]


def v1() -> Json:
    return document("The Clore API", _V1_INFO, BASE_PATH, ENDPOINTS)


def open_v1() -> Json:
    return document("The OpenClore API", _OPEN_INFO, OPEN_PATH, OPEN_ENDPOINTS)


def document(title: str, description: str, base: str, endpoints: tuple[Endpoint[Any, Any], ...]) -> Json:
    """The OpenAPI 3.1 document of these endpoints, all below `base`."""
    types = [each for e in endpoints for each in (e.request, e.reply)]
    schemas, components = msgspec.json.schema_components(types, ref_template=_SCHEMAS + "{name}")
    components = _portable(components)
    paths: dict[str, Json] = {}
    for endpoint, request in zip(endpoints, schemas[::2], strict=True):
        for method in endpoint.methods:
            operation = _operation(endpoint, method, request, components)
            paths.setdefault(endpoint.path, {})[method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version("openclore"), "description": description},
        "servers": [{"url": base}],
        "paths": paths,
        "components": {
            "schemas": components | _failure_schemas(base),
            "responses": _failure_responses(base),
            "headers": _COMPONENT_HEADERS,
            "parameters": {"IdempotencyKey": _IDEMPOTENCY_KEY},
            "securitySchemes": _SECURITY_SCHEMES,
        },
    }


@functools.cache
def _encoded(base: str) -> bytes:
    return msgspec.json.encode(v1() if base == BASE_PATH else open_v1())


def _served(body: bytes) -> Response[bytes]:
    # Readable from pages of other origins, where people keep their viewers; there is nothing secret in it.
    headers = {"Access-Control-Allow-Origin": "*", "Cache-Control": "no-cache"}
    return Response(body, media_type="application/json", headers=headers)


# Operations -----------------------------------------------------------------------------------------


def _operation(endpoint: Endpoint[Any, Any], method: str, request: Json, components: Json) -> Json:
    operation: Json = {
        "operationId": endpoint.name if method == endpoint.method else f"{endpoint.name}_{method.lower()}",
        "summary": endpoint.summary,
        "description": _description(endpoint, method),
        "security": ([{}] if endpoint.key == "optional" else []) + [{"auth": []}, {"bearer": []}],
        "parameters": _parameters(endpoint, method, components),
        "responses": _outcomes(endpoint),
    }
    if endpoint.carries == "body" and method != "GET":
        content: Json = {"schema": request, "example": EXAMPLES[endpoint.name].request}
        operation["requestBody"] = {"required": True, "content": {"application/json": content}}
    return {name: value for name, value in operation.items() if value not in ([], "")}


def _description(endpoint: Endpoint[Any, Any], method: str) -> str:
    parts = [describe.prose(describe.request_struct(endpoint)[0]) if endpoint.carries != "nothing" else ""]
    if endpoint is SERVER_CONFIG and method == "GET":
        parts = [
            "Programs made for the public service send the name in a JSON body with this GET. OpenAPI gives "
            "such a body no meaning, so this document shows the query; the market takes both."
        ]
    if endpoint.reply is not Reply:
        parts.append(describe.prose(endpoint.reply))
    if endpoint.spacing_seconds:
        parts.append(f"Once in {endpoint.spacing_seconds:g} s per key.")
    return "\n\n".join(part.replace("\n", "\n\n") for part in parts if part)


def _parameters(endpoint: Endpoint[Any, Any], method: str, components: Json) -> list[Json]:
    parameters: list[Json] = [_id_parameter(name) for name in re.findall(r"{(\w+)}", endpoint.path)]
    if endpoint.carries == "query" or (endpoint.carries == "body" and method == "GET"):
        parameters += _query_parameters(endpoint, components)
    if endpoint is MARKETPLACE:
        parameters.append(_IF_NONE_MATCH)
    if endpoint is STREAM_EVENTS:
        parameters.append(_LAST_EVENT_ID)
    if endpoint.writes:
        parameters.append({"$ref": "#/components/parameters/IdempotencyKey"})
    return parameters


def _id_parameter(name: str) -> Json:
    schema = {"type": "integer", "minimum": 1, "maximum": 2**63 - 1}
    return {"name": name, "in": "path", "required": True, "schema": schema, "example": IDS[name]}


def _query_parameters(endpoint: Endpoint[Any, Any], components: Json) -> list[Json]:
    struct = describe.request_struct(endpoint)[0]
    schema = components[struct.__name__]
    parameters = []
    for name, member in schema["properties"].items():
        parameter = {
            "name": name,
            "in": "query",
            "required": name in schema["required"],
            "description": describe.about(struct, name),
            "schema": _not_null(member),
        }
        if name in EXAMPLES[endpoint.name].request:
            parameter["example"] = EXAMPLES[endpoint.name].request[name]
        parameters.append({key: value for key, value in parameter.items() if value != ""})
    return parameters


def _not_null(schema: Json) -> Json:
    """A query has no null: a member without a value is left out."""
    if "anyOf" not in schema:
        return schema
    arms = [arm for arm in schema["anyOf"] if arm != {"type": "null"}]
    return arms[0] if len(arms) == 1 else {"anyOf": arms}


# Replies --------------------------------------------------------------------------------------------


def _outcomes(endpoint: Endpoint[Any, Any]) -> Json:
    """HTTP status to what comes with it."""
    refused = bool(endpoint.may_refuse)
    statuses = OPEN_HTTP_STATUS if endpoint.below == OPEN_PATH else HTTP_STATUS
    refused_with_success = refused and statuses[Code.BUSINESS] == statuses[Code.OK]
    outcomes: Json = {str(statuses[Code.OK]): _success(endpoint, refused_with_success)}
    if endpoint is MARKETPLACE:
        outcomes["304"] = {
            "description": "The marketplace is as in the reply whose ETag was sent.",
            "headers": _headers("ETag"),
        }
    if refused and not refused_with_success:
        outcomes[str(statuses[Code.BUSINESS])] = {
            "description": " ".join(MEANINGS[Code.BUSINESS]),
            "headers": _headers(),
            "content": {"application/json": {"schema": _refused(endpoint)}},
        }
    for code in _FAILURES:
        outcomes[str(statuses[code])] = {"$ref": f"#/components/responses/{_name(code)}"}
    return dict(sorted(outcomes.items()))


def _success(endpoint: Endpoint[Any, Any], refused_too: bool) -> Json:
    if endpoint is STREAM_EVENTS:
        content: Json = {"text/event-stream": {"schema": {"type": "string"}, "example": EVENT_STREAM}}
        return {"description": endpoint.summary, "headers": _headers(), "content": content}
    more = ["ETag"] if endpoint is MARKETPLACE else [REPLAYED_HEADER] if endpoint.writes else []
    reply: Json = {"allOf": [_ref(endpoint.reply.__name__), {"properties": {"code": {"const": Code.OK}}}]}
    schema = {"anyOf": [reply, _refused(endpoint)]} if refused_too else reply
    return {
        "description": "Done (code 0), or refused (code 6)." if refused_too else "Done.",
        "headers": _headers(*more),
        "content": {"application/json": {"schema": schema, "example": EXAMPLES[endpoint.name].reply}},
    }


def _refused(endpoint: Endpoint[Any, Any]) -> Json:
    """A failure with one of the reasons that this endpoint may have."""
    explained = "\n".join(f"- `{each}`: {' '.join(REFUSAL_MEANINGS[each])}" for each in endpoint.may_refuse)
    reasons: list[Json] = [{"enum": list(endpoint.may_refuse), "description": explained}]
    if endpoint.refusals is CREATE_REFUSALS:
        reasons.append({"type": "string", "pattern": f"^{DOCKERHUB_REFUSAL_PREFIX}"})
    error = reasons[0] if len(reasons) == 1 else {"anyOf": reasons}
    return {"allOf": [_ref(_name(Code.BUSINESS)), {"properties": {"error": error}}]}


_FAILURES = (
    Code.INVALID_INPUT,
    Code.INVALID_TOKEN,
    Code.INVALID_ENDPOINT,
    Code.RATE_EXCEEDED,
    Code.DATABASE_ERROR,
)
"""What any endpoint may answer."""
_IN_LIVE = {
    Code.RATE_EXCEEDED: "In the live dialect there is no `Retry-After`.",
    Code.DATABASE_ERROR: (
        "In the live dialect also, with code 1 and no `error`, for a forbidden character in `env`, and with "
        "code 6 for `currency-not-allowed`."
    ),
}


def _failure_responses(base: str) -> Json:
    return {
        _name(code): {
            "description": " ".join((*MEANINGS[code], _IN_LIVE.get(code, "") if base == BASE_PATH else "")),
            "headers": _headers(*(["Retry-After"] if code is Code.RATE_EXCEEDED else [])),
            "content": {"application/json": {"schema": _ref(_name(code))}},
        }
        for code in _FAILURES
    }


def _failure_schemas(base: str) -> Json:
    schemas = {_name(code): _failure_schema(code) for code in (*_FAILURES, Code.BUSINESS)}
    per_day = {"type": "number", "description": "Per day, in the order's currency."}
    schemas[_name(Code.BUSINESS)]["properties"] |= {
        "message": {"type": "string", "description": "The reason in a sentence, for people."},
        "min_price": per_day,
        "max_step": per_day,
        "time_to_lowering": {"type": "number", "description": "Seconds."},
        "limit": {"type": "integer", "description": "Orders per day."},
    }
    schemas[_name(Code.RATE_EXCEEDED)]["required"] = ["code"]
    if base == BASE_PATH:
        failed = schemas[_name(Code.DATABASE_ERROR)]
        failed["properties"]["code"] = {"enum": [Code.DATABASE_ERROR, Code.BUSINESS]}
        failed["required"] = ["code"]
    return schemas


def _failure_schema(code: Code) -> Json:
    return {
        "description": MEANINGS[code][0],
        "type": "object",
        "properties": {"code": {"const": code}, "error": {"type": "string"}},
        "required": ["code", "error"],
    }


def _name(code: Code) -> str:
    """ "InvalidInput"."""
    return "Refused" if code is Code.BUSINESS else code.name.title().replace("_", "")


def _headers(*more: str) -> Json:
    return {
        name: {"$ref": f"#/components/headers/{name}"} for name in (DIALECT_HEADER, REQUEST_ID_HEADER, *more)
    }


def _ref(name: str) -> Json:
    return {"$ref": _SCHEMAS + name}


# Schemas --------------------------------------------------------------------------------------------


def _portable(schema: Any) -> Any:
    """A schema as any reader of OpenAPI understands it: prose without indents, patterns without Python."""
    if isinstance(schema, list):
        return [_portable(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {name: _portable(each) for name, each in schema.items()}
    if isinstance(made.get("description"), str):
        made["description"] = describe.paragraphs(made["description"]).replace("\n", "\n\n")
    if isinstance(made.get("pattern"), str):
        made["pattern"] = describe.portable(made["pattern"])
    if made.get("default", ...) is None:
        del made["default"]
    return made


_COMPONENT_HEADERS: Json = {
    DIALECT_HEADER: {
        "description": "How this key is spoken to: as documented, or as the public service was recorded.",
        "required": True,
        "schema": {"enum": list(Dialect)},
    },
    REQUEST_ID_HEADER: {
        "description": "The request's own `X-Request-Id`, if it is at most 40 letters, digits and . _ : -, or"
        " a new one. The market's operator finds a request that failed by it.",
        "required": True,
        "schema": {"type": "string"},
    },
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}},
    REPLAYED_HEADER: {
        "description": "This was done before, and the answer is the one given then.",
        "schema": {"const": "true"},
    },
    "ETag": {"description": "Names this state of the marketplace.", "schema": {"type": "string"}},
}
_IDEMPOTENCY_KEY: Json = {
    "name": IDEMPOTENCY_HEADER,
    "in": "header",
    "description": "A word of your own. Sent again with the same key and content, the call is answered as "
    "the first time and nothing is done; other content is refused (code 2). The live dialect ignores it.",
    "schema": {"type": "string", "pattern": describe.portable(IDEMPOTENCY_KEY_PATTERN)},
}
_IF_NONE_MATCH: Json = {
    "name": "If-None-Match",
    "in": "header",
    "description": "The `ETag` of the last reply: if nothing changed, the answer is HTTP 304 without a body.",
    "schema": {"type": "string"},
}
_LAST_EVENT_ID: Json = {
    "name": LAST_EVENT_ID,
    "in": "header",
    "description": "Says the same as `after`; browsers send it when they connect again.",
    "schema": {"type": "string", "pattern": "^[0-9]{1,19}$"},
}
_SECURITY_SCHEMES: Json = {
    "auth": {"type": "apiKey", "in": "header", "name": "auth"},
    "bearer": {"type": "http", "scheme": "bearer"},
}

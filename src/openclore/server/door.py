"""From an HTTP request to a use case and back: what both APIs share."""

import hashlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar

import msgspec
from litestar import Request, Response
from litestar.enums import HttpMethod
from litestar.handlers import HTTPRouteHandler
from sqlalchemy.exc import SQLAlchemyError

from ..api.base import Empty, Reply
from ..api.codes import Code, Refusal
from ..api.complaints import complaint
from ..api.dialects import Dialect
from ..api.endpoints import Endpoint
from ..api.open.endpoints import IDEMPOTENCY_HEADER, IDEMPOTENCY_KEY_PATTERN, OPEN_PATH, REPLAYED_HEADER
from ..rules.refused import InvalidInput, NotFound, Refused
from ..store.accounts import ApiKey
from ..store.failures import cause
from ..store.store import StoreBusy
from ..usecases import idempotency
from ..usecases.idempotency import Once
from ..usecases.market import Market
from . import bodies
from .keys import presented
from .replies import Answer, Voice
from .requests import Asked, asked
from .service import Service

BODY_BYTES_MAX = 1_048_576
ALL_METHODS = list(HttpMethod)
"""Taken so that the wrong ones are answered like everything unknown, and by nobody else."""

P = ParamSpec("P")
T = TypeVar("T")

AnyRequest = Request[Any, Any, Any]
AnyResponse = Response[Any]


@dataclass(slots=True)
class Call:
    """An admitted request: which key asks (None: nobody's), when (Unix s), for which ids of the path,
    and how to answer.
    """

    service: Service
    key: ApiKey | None
    now: int
    http: AnyRequest
    ids: dict[str, int]
    voice: Voice
    idempotency_key: str | None
    request_hash: str

    @property
    def account_id(self) -> int | None:
        return self.key.account_id if self.key else None

    @property
    def key_id(self) -> int | None:
        return self.key.id if self.key else None

    @property
    def signed_in(self) -> ApiKey:
        """The key, where the endpoint requires one."""
        assert self.key is not None
        return self.key

    @property
    def caller(self) -> int:
        """The account, where the endpoint requires a key."""
        return self.signed_in.account_id

    async def read(
        self, use_case: Callable[Concatenate[Market, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a use case that changes nothing."""
        return await self.service.read(use_case, self.service.market, *args, **kwargs)

    async def write(
        self,
        use_case: Callable[Concatenate[Market, P], Reply | None],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Reply:
        """Run a use case that changes something; once, where the caller sent an idempotency key."""
        service = self.service
        if self._once is None:
            return await service.write(use_case, service.market, *args, **kwargs) or Reply(code=0)
        return await service.write(idempotency.once, service.market, self._once, use_case, *args, **kwargs)

    async def check_once(self) -> None:
        """Before something that `write` can't do: end here if it was done under this idempotency key."""
        if self._once is not None:
            await self.read(idempotency.check, self._once)

    @property
    def _once(self) -> Once | None:
        if self.idempotency_key is None:
            return None
        return Once(self.caller, self.idempotency_key, self.request_hash, self.now)


class _NotSignedIn(Exception):
    """No key, or none that is good."""


Action = Callable[[Call, Any], Awaitable[Reply | AnyResponse]]


def routes(service: Service, actions: dict[Endpoint[Any, Any], Action]) -> list[HTTPRouteHandler]:
    """One route per path; the method chooses among the endpoints of a path."""
    by_path: dict[str, dict[str, Endpoint[Any, Any]]] = {}
    for endpoint in actions:
        path = endpoint.below + endpoint.path
        by_path.setdefault(path, {}).update(dict.fromkeys(endpoint.methods, endpoint))
    return [_route(service, path, here, actions) for path, here in by_path.items()]


def _route(
    service: Service,
    path: str,
    here: dict[str, Endpoint[Any, Any]],
    actions: dict[Endpoint[Any, Any], Action],
) -> HTTPRouteHandler:
    async def answer(request: AnyRequest) -> AnyResponse:
        known = asked(request)
        response = await answer_as_known(request, known)
        known.code = response.code if isinstance(response, Answer) else Code.OK
        return response

    async def answer_as_known(request: AnyRequest, known: Asked) -> AnyResponse:
        endpoint = here.get(request.method)
        if endpoint is None:
            methods = " or ".join(here)
            return service.voice(path).failure(Code.INVALID_ENDPOINT, f"{path} takes {methods}")
        known.endpoint = endpoint.name
        try:
            body = await bodies.read(request, BODY_BYTES_MAX)
            key = await _identify(service, endpoint, request)
        except InvalidInput as error:
            return service.voice(path).failure(Code.INVALID_INPUT, str(error))
        except _NotSignedIn:
            return service.voice(path).failure(
                Code.INVALID_TOKEN, "send a valid API key in the header 'auth' or 'Authorization: Bearer'"
            )
        except SQLAlchemyError as error:
            return _database_error(service.voice(path), known, error)
        known.key_id = key.id if key else None
        return await _admitted(service, endpoint, actions[endpoint], request, body, key, known)

    name = next(iter(here.values())).name
    return HTTPRouteHandler(_in_router(path), http_method=ALL_METHODS, name=name)(answer)


def _in_router(path: str) -> str:
    """Ids are taken as text, so that a wrong one is answered by us."""
    return path.replace("_id}", "_id:str}")


async def _identify(service: Service, endpoint: Endpoint[Any, Any], request: AnyRequest) -> ApiKey | None:
    """The caller's key; None where none is needed and none is given.

    Raises:
        _NotSignedIn: one is needed, or the one given is not good.
    """
    secret = presented(request.headers)
    if secret is None and endpoint.key == "optional":
        return None
    if not secret:
        raise _NotSignedIn
    key = service.keys.recall(secret) or await service.read(service.keys.look_up, secret)
    if key is None:
        raise _NotSignedIn
    voice = service.voice(endpoint.below + endpoint.path, key)
    if voice.dialect is Dialect.LIVE and "auth" not in request.headers:
        raise _NotSignedIn  # the public service knows the key in `auth` alone
    return key


async def _admitted(
    service: Service,
    endpoint: Endpoint[Any, Any],
    action: Action,
    request: AnyRequest,
    body: bytes,
    key: ApiKey | None,
    known: Asked,
) -> AnyResponse:
    voice = service.voice(endpoint.below + endpoint.path, key)
    if key is not None:
        wait_seconds = await service.admit(key.id, endpoint)
        if wait_seconds:
            return voice.too_fast(wait_seconds)
    try:
        query, ids = _decode(endpoint, request, body), _ids(request)
        known.query, known.ids = query, ids
        once = _idempotency_key(endpoint, voice, request)
        digest = _request_hash(endpoint, ids, query) if once else ""
        reply = await action(Call(service, key, service.clock(), request, ids, voice, once, digest), query)
    except idempotency.Answered as answered:
        return voice.encoded(answered.reply, {REPLAYED_HEADER: "true"})
    except StoreBusy:
        return voice.refusal(Refused(Refusal.WAIT))
    except Refused as refused:
        return voice.refusal(refused)
    except InvalidInput as error:
        return voice.failure(Code.INVALID_INPUT, str(error))
    except NotFound as error:
        return voice.failure(Code.INVALID_ENDPOINT, str(error))
    except SQLAlchemyError as error:
        return _database_error(voice, known, error)
    finally:
        if key is not None:
            await service.completed(key.id, endpoint)
    if isinstance(reply, Response):
        return reply
    known.reply = reply
    return voice.success(reply)


def _database_error(voice: Voice, known: Asked, error: SQLAlchemyError) -> AnyResponse:
    known.error = error
    why = cause(error)
    if why is None:
        return voice.failure(Code.DATABASE_ERROR, "the database failed, look before trying again")
    return voice.failure(Code.DATABASE_ERROR, f"{why}: nothing was done, try again later")


def _idempotency_key(endpoint: Endpoint[Any, Any], voice: Voice, request: AnyRequest) -> str | None:
    """The key that a write carries; the public service knows none.

    Raises:
        InvalidInput: it can't be one.
    """
    if not endpoint.writes or voice.dialect is Dialect.LIVE:
        return None
    key = request.headers.get(IDEMPOTENCY_HEADER)
    if key is None:
        return None
    if not re.match(IDEMPOTENCY_KEY_PATTERN, key):
        raise InvalidInput(f"{IDEMPOTENCY_HEADER}: must be 1 to 255 visible ASCII characters")
    return str(key)


def _request_hash(endpoint: Endpoint[Any, Any], ids: dict[str, int], query: Any) -> str:
    """What is asked for, whatever the order of members."""
    content = msgspec.json.encode([endpoint.name, ids, query], order="deterministic")
    return hashlib.sha256(content).hexdigest()


def _ids(request: AnyRequest) -> dict[str, int]:
    """The ids in the path.

    Raises:
        InvalidInput: one is no positive whole number.
    """
    ids: dict[str, int] = {}
    for name, text in request.path_params.items():
        number = whole_number(text)
        if not number:
            raise InvalidInput(f"{name}: must be a positive whole number")
        ids[name] = number
    return ids


def whole_number(text: str) -> int | None:
    """What decimal digits say, if an id can be so large; None otherwise."""
    small = text.isascii() and text.isdigit() and len(text) < 20
    return int(text) if small and int(text) < 2**63 else None


def _decode(endpoint: Endpoint[Any, Any], request: AnyRequest, body: bytes) -> Any:
    """The request, from where the endpoint carries it; on GET a body may be replaced by the query.

    Raises:
        InvalidInput: it is not what the endpoint takes.
    """
    if endpoint.carries == "nothing":
        return Empty()
    try:
        if endpoint.carries == "query" or (request.method == "GET" and not body):
            return msgspec.convert(_query(endpoint, request), endpoint.request, strict=False)
        content_type = request.headers.get("content-type", "application/json").partition(";")[0]
        if content_type.strip().lower() != "application/json":
            raise InvalidInput("send a JSON body with Content-Type: application/json")
        return msgspec.json.decode(body or b"null", type=endpoint.request)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(str(complaint(error))) from None


def _query(endpoint: Endpoint[Any, Any], request: AnyRequest) -> dict[str, str]:
    """The members in the query. Under /open/v1 people type them: none is unknown, none is there twice.

    Raises:
        InvalidInput: one is.
    """
    typed = list(request.query_params.multi_items())
    if endpoint.below == OPEN_PATH:
        names, known = [name for name, _ in typed], endpoint.request.__struct_encode_fields__
        for name in names:
            if name not in known:
                raise InvalidInput(f"{name}: is none of {', '.join(known)}")
            if names.count(name) > 1:
                raise InvalidInput(f"{name}: is there more than once")
    return dict(typed)

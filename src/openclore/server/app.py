"""Wiring the doors into one ASGI application. Nothing here connects to anything."""

from functools import partial
from typing import Any

from litestar import Litestar, Request, Response, get
from litestar.exceptions import HTTPException
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from ..api.codes import Code
from . import gigaspot, hostgate, metrics, open_v1, openapi, reference, v1
from .replies import Answer
from .requests import Watched, asked
from .service import Service

READY_SECONDS = 3.0
"""How long the database may take before this process says that it is not ready."""


def build(service: Service) -> Litestar:
    """The application over a started service."""

    @get("/healthz")
    async def healthz() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @get("/readyz")
    async def readyz() -> Response[dict[str, str]]:
        """The database answers too, and what happens by itself happens."""
        try:
            await service.read_within(READY_SECONDS, _ping, service)
        except SQLAlchemyError:
            return Response({"status": "the database does not answer"}, status_code=503)
        if service.loop_fails:
            return Response({"status": "the market's loop fails"}, status_code=503)
        return Response({"status": "ready"})

    return Watched(
        service,
        route_handlers=[
            healthz,
            readyz,
            *v1.routes(service),
            *open_v1.routes(service),
            *gigaspot.routes(service),
            *hostgate.routes(service),
            *metrics.routes(service),
            *openapi.routes(),
            *reference.routes(service),
        ],
        exception_handlers={
            HTTPException: partial(_unknown, service),
            Exception: partial(_broken, service),
        },
        openapi_config=None,
        request_max_body_size=None,
        logging_config=None,
    )


def _ping(service: Service) -> None:
    with service.market.store.reading() as tx:
        tx.execute(text("SELECT 1"))


def _unknown(service: Service, request: Request[Any, Any, Any], error: HTTPException) -> Answer:
    """Whatever the router does not know."""
    voice = service.voice(request.url.path)
    if error.status_code in (404, 405):
        asked(request).code = Code.INVALID_ENDPOINT
        return voice.failure(Code.INVALID_ENDPOINT, "there is no such endpoint")
    asked(request).code = Code.INVALID_INPUT
    return voice.failure(Code.INVALID_INPUT, error.detail)


def _broken(service: Service, request: Request[Any, Any, Any], error: Exception) -> Answer:
    asked(request).code, asked(request).error = Code.DATABASE_ERROR, error
    return service.voice(request.url.path).failure(
        Code.DATABASE_ERROR, "the market failed, look before trying again"
    )

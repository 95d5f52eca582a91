"""The API under /open/v1: one use case per endpoint."""

from typing import Any

from litestar.handlers import HTTPRouteHandler

from ..api.endpoints import Endpoint
from . import door
from .door import Action
from .service import Service

ACTIONS: dict[Endpoint[Any, Any], Action] = {}


def routes(service: Service) -> list[HTTPRouteHandler]:
    return door.routes(service, ACTIONS)

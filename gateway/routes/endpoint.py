"""How a handler becomes a route.

Routes are Starlette's own, added to the FastAPI application: FastAPI's dependency resolution costs
half a millisecond a request with a hundred routes, and Docker's parameters fit no model of it.
"""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from gateway.call import Call

Handler = Callable[[Call], Awaitable[Response]]


class _Served:
    """A handler as an ASGI application: what it raises is the front door's to tell."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._handler(Call(Request(scope, receive, send)))
        await response(scope, receive, send)


def endpoint(method: str, path: str, handler: Handler) -> Route:
    """A route for exactly one method; HEAD does not come with GET, as with dockerd."""
    route = Route(path, _Served(handler), methods=[method])
    route.methods = {method}
    return route

"""How a handler becomes a route.

Routes are Starlette's own, added to the FastAPI application: FastAPI's dependency resolution costs
half a millisecond a request with a hundred routes, and Docker's parameters fit no model of it.
"""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.call import Call

Handler = Callable[[Call], Awaitable[Response]]


def endpoint(method: str, path: str, handler: Handler) -> Route:
    """A route for exactly one method; HEAD does not come with GET, as with dockerd."""

    async def serve(request: Request) -> Response:
        return await handler(Call(request))

    route = Route(path, serve, methods=[method])
    route.methods = {method}
    return route

"""The FastAPI application."""

from pathlib import Path

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.build.web import Web
from gateway.facets import Facets
from gateway.negotiation import DockerFrontDoor
from gateway.origins import OriginPolicy
from gateway.routes import all_routes


class _EngineApi(FastAPI):
    """FastAPI without its own layers: errors, headers and traces are the front door's."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self
        await self.router(scope, receive, send)


def build_app(
    facets: Facets,
    origins: OriginPolicy,
    version: str,
    spool: Path | None = None,
    web: Web | None = None,
) -> ASGIApp:
    """Return the ASGI application that speaks the Docker Engine API for these facets.

    `spool` is where what clients upload is put aside; None for the system's own place. `web` is how
    builds fetch what is elsewhere.
    """
    api = _EngineApi(title="vic", openapi_url=None, redirect_slashes=False)
    api.router.routes[:] = all_routes(facets, spool, web)
    return DockerFrontDoor(api, origins, f"vic/{version} (linux)")

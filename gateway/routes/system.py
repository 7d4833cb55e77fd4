"""Ping, version, info, registry login."""

import asyncio

from starlette.responses import Response
from starlette.routing import Route
from vic.exec.v1.exec_pb2 import InfoRequest
from vic.storage.v1.image_pb2 import AuthenticateRequest, ImageServiceInfoRequest

from gateway.call import Call, json_response
from gateway.errors import ApiError, bad_parameter
from gateway.facets import Facets
from gateway.fields import Fields
from gateway.routes.endpoint import endpoint
from gateway.translate.credentials import from_json
from gateway.translate.system import info_json, version_json
from portlayer.errors import Reason, VicError

_NO_CACHE = {"cache-control": "no-cache, no-store, must-revalidate", "pragma": "no-cache"}


class SystemRoutes:
    """Endpoints that are about the whole."""

    def __init__(self, facets: Facets) -> None:
        self._facets = facets

    def routes(self) -> list[Route]:
        """The routes."""
        return [
            endpoint("GET", "/_ping", self.ping),
            endpoint("HEAD", "/_ping", self.ping),
            endpoint("GET", "/version", self.version),
            endpoint("GET", "/info", self.info),
            endpoint("POST", "/auth", self.auth),
        ]

    async def ping(self, call: Call) -> Response:
        """Answer without asking anybody: the endpoint is up."""
        headers = {**_NO_CACHE, "builder-version": "1", "swarm": "inactive"}
        return Response("OK", headers=headers, media_type="text/plain")

    async def version(self, call: Call) -> Response:
        """Versions of the API, of vic and of the hypervisor."""
        return json_response(version_json(await self._facets.exec.Info(InfoRequest())))

    async def info(self, call: Call) -> Response:
        """Pooled CPU and memory, drivers, stores, limits."""
        info, images = await asyncio.gather(
            self._facets.exec.Info(InfoRequest()),
            self._facets.images.Info(ImageServiceInfoRequest()),
        )
        return json_response(info_json(info, images))

    async def auth(self, call: Call) -> Response:
        """Try registry credentials."""
        body = await call.json()
        if body is None:
            raise bad_parameter("invalid JSON: got EOF while reading request body")
        Fields(body)
        try:
            answer = await self._facets.images.Authenticate(
                AuthenticateRequest(credentials=from_json(body))
            )
        except VicError as error:
            if error.reason is Reason.REGISTRY_UNAUTHORIZED:
                raise ApiError(401, error.message) from error
            raise
        return json_response({"Status": "Login Succeeded", "IdentityToken": answer.identity_token})

"""Registries: which endpoint of one answers, who is logged in there, what can be searched."""

from __future__ import annotations

import time
from collections.abc import (
    AsyncGenerator,
    Iterable,
)
from contextlib import aclosing
from typing import Any, TypeVar
from urllib.parse import urlencode

from portlayer.web.transport import Transport
from services.storage.imagec.authorization import Authorizer, Credentials, read_limited
from services.storage.imagec.endpoints import Endpoint, Endpoints
from services.storage.imagec.errors import (
    RegistryMisbehaves,
    RegistryUnauthorized,
    RegistryUnavailable,
)
from services.storage.imagec.manifest import MAX_MANIFEST, parse_json
from services.storage.imagec.problems import problem_of
from services.storage.imagec.reference import DEFAULT_DOMAIN, Reference
from services.storage.imagec.registry import Repository

ENDPOINT_LIFE = 600.0
"""Seconds for which an endpoint that answered a ping isn't pinged again."""

_MAX_REMEMBERED = 256
_HUB_INDEX = "https://index.docker.io"

K = TypeVar("K")
V = TypeVar("V")


class Registries:
    """Opens repositories: finds the endpoint that answers, and remembers it for a while."""

    def __init__(self, transport: Transport, endpoints: Endpoints) -> None:
        self._transport = transport
        self._endpoints = endpoints
        self._answered: dict[Endpoint, float] = {}
        self._anonymous: dict[tuple[Endpoint, tuple[str, ...]], Authorizer] = {}

    async def for_push(
        self, reference: Reference, credentials: Credentials, sources: Iterable[str]
    ) -> Repository:
        """The repository to push to; blobs may be mounted from the `sources` beside it.

        Raises as `repositories`.
        """
        scopes = (
            f"repository:{reference.path}:pull,push",
            *(f"repository:{path}:pull" for path in sources),
        )
        endpoints = await self._candidates(reference.domain)
        own = [endpoint for endpoint in endpoints if not endpoint.mirror]
        async with aclosing(self._open(own, reference, credentials, scopes)) as opened:
            return await anext(opened)

    async def repositories(
        self, reference: Reference, credentials: Credentials
    ) -> AsyncGenerator[Repository, None]:
        """The repository at each endpoint that answers for its registry, in the order to try.

        Raises:
            RegistryUnavailable: none of them answers.
            RegistryUnauthorized: it wants credentials, or others.
        """
        endpoints = await self._candidates(reference.domain)
        scopes = (f"repository:{reference.path}:pull",)
        async with aclosing(self._open(endpoints, reference, credentials, scopes)) as opened:
            async for repository in opened:
                yield repository

    async def authenticate(self, domain: str, credentials: Credentials) -> str:
        """Try credentials at the registry of a domain; return an identity token if it gives one.

        Raises:
            RegistryUnauthorized: they aren't accepted.
            RegistryUnavailable: it doesn't answer.
        """
        failure: RegistryUnavailable | None = None
        for endpoint in await self._endpoints.of(domain):
            if endpoint.mirror:
                continue
            auth = Authorizer(self._transport, endpoint, credentials, (), offline=True)
            try:
                await self._ping(endpoint, auth)
            except RegistryUnavailable as error:
                failure = error
                continue
            url = f"{endpoint.url}/v2/"
            async with self._transport.get(
                url, verify=endpoint.verify, headers={}, authorization=auth.header()
            ) as response:
                if response.status == 200:
                    return auth.identity_token
                problem = await problem_of(response, "unauthorized: authentication required")
                raise RegistryUnauthorized(f'Get "{url}": {problem.text}')
        raise failure or RegistryUnavailable(f"no registry answers for {domain}")

    async def search(
        self, domain: str, words: str, limit: int, credentials: Credentials
    ) -> dict[str, Any]:
        """Ask a registry for repositories. Raises RegistryUnavailable, RegistryUnauthorized."""
        failure: RegistryUnavailable | None = None
        for endpoint in await self._endpoints.of(domain):
            if endpoint.mirror:
                continue
            base = _HUB_INDEX if domain == DEFAULT_DOMAIN else endpoint.url
            url = f"{base}/v1/search?{urlencode({'q': words, 'n': limit})}"
            try:
                async with self._transport.get(
                    url,
                    verify=endpoint.verify,
                    headers={},
                    authorization=credentials.basic_header(),
                ) as response:
                    if response.status == 200:
                        return parse_json(await read_limited(response, MAX_MANIFEST), "search")
                    status = f"{response.status} {response.reason}"
                    problem = await problem_of(response, f"Unexpected status code {status}")
                    kind = (
                        RegistryUnauthorized
                        if response.status in (401, 403)
                        else RegistryMisbehaves
                    )
                    raise kind(problem.text)
            except RegistryMisbehaves:
                raise
            except RegistryUnavailable as error:
                failure = error
        raise failure or RegistryUnavailable(f"no registry answers for {domain}")

    async def _open(
        self,
        endpoints: Iterable[Endpoint],
        reference: Reference,
        credentials: Credentials,
        scopes: tuple[str, ...],
    ) -> AsyncGenerator[Repository, None]:
        failure: RegistryUnavailable | None = None
        for endpoint in endpoints:
            auth = self._authorizer(endpoint, credentials, scopes)
            try:
                if not self._knows(endpoint):
                    await self._ping(endpoint, auth)
            except RegistryUnavailable as error:
                failure = error
                continue
            except RegistryUnauthorized:
                if not endpoint.mirror:
                    raise
                continue
            yield Repository(self._transport, endpoint, reference, auth)
            if not endpoint.mirror:
                return
        if failure is not None:
            raise failure

    async def _candidates(self, domain: str) -> list[Endpoint]:
        """Endpoints of a domain; where HTTP is known to answer, HTTPS isn't tried first."""
        endpoints = await self._endpoints.of(domain)
        known = [entry for entry in endpoints if not entry.mirror and self._knows(entry)]
        return [entry for entry in endpoints if entry.mirror or not known or entry in known]

    def _knows(self, endpoint: Endpoint) -> bool:
        return self._answered.get(endpoint, 0) > time.monotonic()

    def _authorizer(
        self, endpoint: Endpoint, credentials: Credentials, scopes: tuple[str, ...]
    ) -> Authorizer:
        auth = self._anonymous.get((endpoint, scopes)) if credentials.empty else None
        if auth is None:
            auth = Authorizer(self._transport, endpoint, credentials, scopes)
            if credentials.empty:
                _remember(self._anonymous, (endpoint, scopes), auth)
        return auth

    async def _ping(self, endpoint: Endpoint, auth: Authorizer) -> None:
        """See whether a registry answers at an endpoint, and take up its challenge."""
        url = f"{endpoint.url}/v2/"
        async with self._transport.get(
            url, verify=endpoint.verify, headers={}, authorization=None
        ) as response:
            if response.status >= 500:
                raise RegistryUnavailable(
                    f'Get "{url}": received unexpected HTTP status: '
                    f"{response.status} {response.reason}"
                )
            _remember(self._answered, endpoint, time.monotonic() + ENDPOINT_LIFE)
            if response.status == 401 and auth.header() is None:
                await auth.answer(response)


def _remember(memory: dict[K, V], key: K, value: V) -> None:
    """Keep a value, and the number of values bounded."""
    memory.pop(key, None)
    while len(memory) >= _MAX_REMEMBERED:
        del memory[next(iter(memory))]
    memory[key] = value

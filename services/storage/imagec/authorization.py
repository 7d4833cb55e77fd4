"""Who we are to a registry: Basic credentials and Bearer tokens.

Source: Docker Registry v2 token authentication and its OAuth2 form.
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

from portlayer.web.addresses import web_address
from portlayer.web.transport import Response, Transport
from services.storage.imagec.challenge import Challenge, parse_challenges
from services.storage.imagec.endpoints import Endpoint
from services.storage.imagec.errors import RegistryUnauthorized, RegistryUnavailable
from services.storage.imagec.problems import problem_of

MAX_TOKEN_ANSWER = 1 << 20
DEFAULT_TOKEN_LIFE = 60.0
"""Seconds that a token is good for when the answer doesn't say (token specification)."""

_EARLY = 10.0
"""Seconds before its end that a token isn't used any more."""

_CLIENT_ID = "vic"
_BEARER = re.compile(r"[A-Za-z0-9\-._~+/]+=*")


@dataclass(frozen=True)
class Credentials:
    """What a user gave for a registry. None of it is ever printed."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    """OAuth2 refresh token."""

    registry_token: str = field(default="", repr=False)
    """Bearer token, sent as it is."""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to authenticate with."""
        return not (self.username or self.identity_token or self.registry_token)

    def basic_header(self) -> str | None:
        """Value of Authorization for Basic authentication; None without a user."""
        if not self.username:
            return None
        pair = f"{self.username}:{self.password}"
        return "Basic " + base64.b64encode(pair.encode()).decode("ascii")


@dataclass(frozen=True)
class _Token:
    value: str = field(repr=False)
    expires: float


class Authorizer:
    """Answers the challenges of one endpoint for one user and what they want to do there.

    The header it makes is for that endpoint's origin alone; credentials go to the realm that the
    endpoint names, and over plain HTTP only where the endpoint itself may be used so.
    """

    def __init__(
        self,
        transport: Transport,
        endpoint: Endpoint,
        credentials: Credentials,
        scopes: Sequence[str],
        *,
        offline: bool = False,
    ) -> None:
        """`scopes` are what a token is asked for, "repository:library/busybox:pull".

        `offline` asks for an identity token as well, to be used in place of the password later.
        """
        self._transport = transport
        self._endpoint = endpoint
        self._credentials = Credentials() if endpoint.mirror else credentials
        self._scopes = scopes
        self._bearer: _Token | None = None
        self._basic = False
        self._offline = offline
        self.identity_token = ""
        """What the token server gave to be used in place of the password."""
        if self._credentials.registry_token:
            token = _checked(self._credentials.registry_token)
            self._bearer = _Token(token, float("inf"))

    @property
    def uses_basic(self) -> bool:
        """Whether the endpoint takes Basic credentials."""
        return self._basic

    def header(self) -> str | None:
        """Value of Authorization as far as it is known, or None."""
        if self._bearer is not None and self._bearer.expires > time.monotonic():
            return f"Bearer {self._bearer.value}"
        return self._credentials.basic_header() if self._basic else None

    async def answer(self, response: Response) -> None:
        """Get what a 401 asks for, so that `header` has it.

        Raises:
            RegistryUnauthorized: there are no credentials, or they aren't accepted.
            RegistryUnavailable: the token's realm can't be reached or answers nonsense.
        """
        url = response.url
        challenges = parse_challenges(response.headers("WWW-Authenticate"))
        if bearer := _first(challenges, "bearer"):
            if self._credentials.registry_token:
                raise RegistryUnauthorized(f'Get "{url}": unauthorized: authentication required')
            self._bearer = await self._fetch_token(bearer)
        elif _first(challenges, "basic"):
            if not self._credentials.username:
                raise RegistryUnauthorized(f'Get "{url}": no basic auth credentials')
            # One that was sent before another one's answer had no credentials, and is sent again.
            if response.authorization == self._credentials.basic_header():
                problem = await problem_of(response, "unauthorized: authentication required")
                raise RegistryUnauthorized(f'Get "{url}": {problem.text}')
            self._basic = True
        else:
            raise RegistryUnauthorized(f'Get "{url}": unauthorized: authentication required')

    async def _fetch_token(self, challenge: Challenge) -> _Token:
        realm = challenge.parameters.get("realm", "")
        parts = web_address(realm)
        if parts is None or (parts.scheme == "http" and not self._endpoint.insecure):
            raise RegistryUnavailable(
                f"registry {self._endpoint.host} names an invalid token realm: {realm[:200]!r}"
            )
        service = challenge.parameters.get("service", "")
        if self._credentials.identity_token:
            return await self._exchange(realm, service)
        query = [("service", service)] if service else []
        query += [("scope", scope) for scope in self._scopes]
        headers: dict[str, str] = {}
        if self._credentials.username:
            query.append(("account", self._credentials.username))
            headers["Authorization"] = self._credentials.basic_header() or ""
            if self._offline:
                query += [("client_id", _CLIENT_ID), ("offline_token", "true")]
        url = realm + ("&" if parts.query else "?") + urlencode(query)
        return await self._ask("GET", url, headers=headers)

    async def _exchange(self, realm: str, service: str) -> _Token:
        form = {
            "grant_type": "refresh_token",
            "service": service,
            "client_id": _CLIENT_ID,
            "scope": " ".join(self._scopes),
            "refresh_token": self._credentials.identity_token,
        }
        return await self._ask("POST", realm, headers={}, form=form)

    async def _ask(
        self, method: str, url: str, *, headers: dict[str, str], form: dict[str, str] | None = None
    ) -> _Token:
        asked = time.monotonic()
        async with self._transport.send(
            method, url, verify=self._endpoint.verify, headers=headers, content=form
        ) as response:
            if response.status in (400, 401, 403):
                problem = await problem_of(response, "unauthorized: authentication required")
                where = f"{self._endpoint.url}/v2/"
                raise RegistryUnauthorized(f'Get "{where}": {problem.text}')
            if response.status != 200:
                # A redirect too: credentials go where they were asked for, and nowhere else.
                raise RegistryUnavailable(
                    f"token realm {urlsplit(url).hostname}: "
                    f"received unexpected HTTP status: {response.status}"
                )
            body = await read_limited(response, MAX_TOKEN_ANSWER)
        answer = _answer_from(body)
        if self._offline and isinstance(refresh := answer.get("refresh_token"), str):
            self.identity_token = refresh
        return _token_from(answer, asked)


async def read_limited(response: Response, limit: int) -> bytes:
    """The body, at most `limit` bytes of it. Raises RegistryUnavailable when there is more."""
    parts: list[bytes] = []
    size = 0
    async for chunk in response.chunks():
        size += len(chunk)
        if size > limit:
            url = urlsplit(response.url)._replace(query="").geturl()
            raise RegistryUnavailable(f'Get "{url}": response is larger than {limit} bytes')
        parts.append(chunk)
    return b"".join(parts)


def _answer_from(body: bytes) -> dict[str, Any]:
    try:
        answer: Any = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RegistryUnavailable("token server: invalid answer") from error
    if not isinstance(answer, dict):
        raise RegistryUnavailable("token server: invalid answer")
    return answer


def _token_from(answer: dict[str, Any], asked: float) -> _Token:
    value = answer.get("token") or answer.get("access_token")
    if not isinstance(value, str):
        raise RegistryUnavailable("authorization server did not include a token in the response")
    life = answer.get("expires_in")
    seconds = float(life) if isinstance(life, int | float) and life > 0 else DEFAULT_TOKEN_LIFE
    return _Token(_checked(value), asked + max(seconds - _EARLY, seconds / 2))


def _checked(token: str) -> str:
    if not _BEARER.fullmatch(token):
        raise RegistryUnavailable("the token has characters that a token can't have (RFC 6750)")
    return token


def _first(challenges: Sequence[Challenge], scheme: str) -> Challenge | None:
    return next((entry for entry in challenges if entry.scheme == scheme), None)

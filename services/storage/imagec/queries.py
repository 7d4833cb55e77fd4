"""What registries are asked besides images: tags, descriptors, credentials, a search.

Source: OCI distribution specification 1.1, "Content Discovery"; Docker Hub's search of its first
API, which is what `docker search` asks of any registry.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from portlayer.errors import InvalidArgument
from services.storage.imagec.authorization import Credentials
from services.storage.imagec.config import parse_config
from services.storage.imagec.digest import Digest
from services.storage.imagec.errors import RegistryUnavailable
from services.storage.imagec.manifest import Index, Platform, parse_manifest
from services.storage.imagec.reference import DEFAULT_DOMAIN, Reference
from services.storage.imagec.registries import Registries
from services.storage.imagec.registry import Repository

MAX_RESULTS = 100
"""Of a search, as with dockerd."""

DEFAULT_RESULTS = 25
_HUB_NAMES = ("", "index.docker.io", "registry-1.docker.io", DEFAULT_DOMAIN)


@dataclass(frozen=True)
class Distribution:
    """What a registry has under a name."""

    media_type: str
    digest: Digest
    size: int
    platforms: Sequence[Platform]


@dataclass(frozen=True)
class Hit:
    """A repository that a search found."""

    name: str
    description: str
    stars: int
    official: bool


class RegistryQueries:
    """Asks registries."""

    def __init__(self, registries: Registries) -> None:
        self._registries = registries

    @asynccontextmanager
    async def _first(
        self, reference: Reference, credentials: Credentials
    ) -> AsyncIterator[Repository]:
        opened = self._registries.repositories(reference, credentials)
        async with aclosing(opened) as candidates:
            async for repository in candidates:
                if not repository.endpoint.mirror:  # those know what was pulled through them
                    yield repository
                    return
        raise RegistryUnavailable(f"no registry answers for {reference.familiar}")

    async def tags(self, reference: Reference, credentials: Credentials) -> list[Reference]:
        """Every tag of a repository, in the registry's order.

        Raises:
            ManifestNotFound, PullDenied, RegistryUnauthorized, RegistryUnavailable.
        """
        async with self._first(reference, credentials) as repository:
            return [reference.with_tag(tag) for tag in await repository.tags()]

    async def inspect(self, reference: Reference, credentials: Credentials) -> Distribution:
        """Describe what a reference names. Raises as `tags`, and InvalidManifest."""
        reference = reference.with_default_tag()
        async with self._first(reference, credentials) as repository:
            named = await repository.manifest(reference.target)
            parsed = parse_manifest(named.body, named.content_type)
            if isinstance(parsed, Index):
                platforms = [entry.platform for entry in parsed.manifests if entry.platform]
            else:
                body = await repository.config(parsed.config.digest, parsed.config.size)
                platforms = [parse_config(body).platform]
        return Distribution(parsed.media_type, named.digest, len(named.body), platforms)

    async def authenticate(self, server: str, credentials: Credentials) -> str:
        """Try credentials, as `docker login` does; return an identity token if one was given.

        Raises:
            RegistryUnauthorized: they aren't accepted.
            RegistryUnavailable, InvalidArgument.
        """
        return await self._registries.authenticate(registry_of(server), credentials)

    async def search(self, term: str, limit: int, credentials: Credentials) -> list[Hit]:
        """Repositories that fit a term; one that begins with a host asks that.

        Raises:
            InvalidArgument: the term or the limit can't be right.
            RegistryUnavailable, RegistryUnauthorized.
        """
        if not 0 <= limit <= MAX_RESULTS:
            raise InvalidArgument(f"limit {limit} is outside the range of [1, {MAX_RESULTS}]")
        if "://" in term or not term.strip():
            raise InvalidArgument(f'invalid repository name "{term[:200]}"')
        domain, words = _split_term(term)
        found = await self._registries.search(domain, words, limit or DEFAULT_RESULTS, credentials)
        results = found.get("results")
        if not isinstance(results, list):
            raise RegistryUnavailable(f"registry {domain}: invalid answer to a search")
        return [_hit(entry) for entry in results[: limit or DEFAULT_RESULTS]]


def registry_of(server: str) -> str:
    """The registry that a login's server address means."""
    host = server.removeprefix("https://").removeprefix("http://").partition("/")[0]
    return DEFAULT_DOMAIN if host.lower() in _HUB_NAMES else host


def _split_term(term: str) -> tuple[str, str]:
    first, slash, rest = term.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        return registry_of(first), rest
    return DEFAULT_DOMAIN, term


def _hit(entry: object) -> Hit:
    value: dict[str, Any] = entry if isinstance(entry, dict) else {}
    name, description = value.get("name"), value.get("description")
    stars = value.get("star_count")
    return Hit(
        name=name if isinstance(name, str) else "",
        description=description if isinstance(description, str) else "",
        stars=max(stars, 0) if isinstance(stars, int) else 0,
        official=value.get("is_official") is True,
    )

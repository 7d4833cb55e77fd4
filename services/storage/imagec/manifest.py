"""Manifests and indexes.

Source: OCI image specification 1.1, "Image Manifest", "Image Index"; Docker Image Manifest
Version 2, Schema 2.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from services.storage.imagec.digest import Digest
from services.storage.imagec.errors import InvalidManifest

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"

MANIFEST_TYPES = (OCI_MANIFEST, DOCKER_MANIFEST)
INDEX_TYPES = (OCI_INDEX, DOCKER_LIST)
ACCEPT = ", ".join((*MANIFEST_TYPES, *INDEX_TYPES))

LAYER_TYPES = frozenset(
    {
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.v1.tar+gzip",
        "application/vnd.oci.image.layer.v1.tar+zstd",
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
        "application/vnd.docker.image.rootfs.diff.tar",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "application/vnd.docker.image.rootfs.diff.tar.zstd",
        "application/vnd.docker.image.rootfs.foreign.diff.tar",
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    }
)

MAX_MANIFEST = 4 << 20
"""Bytes: the limit that the distribution specification tells registries to have."""

MAX_CONFIG = 8 << 20
MAX_LAYERS = 250
MAX_LAYER_SIZE = 1 << 40
MAX_ENTRIES = 1000
"""Manifests in an index."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class Platform:
    """What an image runs on."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        """ "linux/amd64", "linux/arm64/v8"."""
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


@dataclass(frozen=True)
class Descriptor:
    """What a manifest says about a blob."""

    media_type: str
    digest: Digest
    size: int
    platform: Platform | None = None


@dataclass(frozen=True)
class Manifest:
    """An image's configuration and layers, lowest first."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]


@dataclass(frozen=True)
class Index:
    """Manifests of one image for several platforms."""

    media_type: str
    manifests: tuple[Descriptor, ...]

    def choose(self, wanted: Platform) -> Descriptor:
        """The first manifest for a platform.

        Raises:
            InvalidManifest: there is none, in Docker's words.
        """
        matching = [
            entry
            for entry in self.manifests
            if entry.platform is not None
            and (entry.platform.os, entry.platform.architecture) == (wanted.os, wanted.architecture)
        ]
        exact = [entry for entry in matching if _variant(entry) == wanted.variant]
        plain = [entry for entry in matching if _variant(entry) in ("", "v1", "v8")]
        unnamed = [entry for entry in self.manifests if entry.platform is None]
        chosen = exact or ([] if wanted.variant else plain or unnamed)
        if not chosen:
            raise InvalidManifest(f"no matching manifest for {wanted} in the manifest list entries")
        return chosen[0]


def _variant(entry: Descriptor) -> str:
    return entry.platform.variant if entry.platform is not None else ""


def parse_json(body: bytes, what: str) -> dict[str, Any]:
    """Read a JSON object; a name that stands twice in one object is refused.

    Raises:
        InvalidManifest: it isn't one.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a name stands twice")
        return found

    try:
        value = json.loads(body, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise InvalidManifest(f"{what} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise InvalidManifest(f"{what} is not a JSON object")
    return value


def parse_manifest(body: bytes, content_type: str) -> Manifest | Index:
    """Read what a registry returned under a media type.

    Raises:
        InvalidManifest: it isn't what its media type says, or is two things at once
            (CVE-2021-41190).
    """
    if len(body) > MAX_MANIFEST:
        raise InvalidManifest(f"manifest is larger than {MAX_MANIFEST} bytes")
    value = parse_json(body, "manifest")
    media_type = _media_type(value, content_type.partition(";")[0].strip().lower())
    if value.get("schemaVersion") != 2:
        raise InvalidManifest(f"unsupported manifest schema version in {media_type}")
    if "manifests" in value and ("layers" in value or "config" in value):
        raise InvalidManifest("invalid manifest: both an image and an index of images")
    if "fsLayers" in value:
        raise InvalidManifest("invalid manifest: schema 1 in a schema 2 manifest")
    if media_type in INDEX_TYPES:
        entries = _array(value, "manifests", MAX_ENTRIES)
        return Index(media_type, tuple(_descriptor(entry, MAX_MANIFEST) for entry in entries))
    return _manifest(value, media_type)


def _media_type(value: dict[str, Any], header: str) -> str:
    own = value.get("mediaType", "")
    known = (*MANIFEST_TYPES, *INDEX_TYPES)
    if not isinstance(own, str):
        raise InvalidManifest("invalid manifest: mediaType is not a string")
    if header in known:
        if own and own != header:
            raise InvalidManifest(
                f"invalid manifest: it says {own[:200]!r}, the registry says {header!r}"
            )
        if not own and header in (DOCKER_MANIFEST, DOCKER_LIST):
            raise InvalidManifest("invalid manifest: mediaType is missing")
        return header
    if own in known and header in ("", "application/json", "text/plain"):
        return own
    raise InvalidManifest(f"unsupported manifest media type {(header or own)[:200]!r}")


def _manifest(value: dict[str, Any], media_type: str) -> Manifest:
    config = _descriptor(value.get("config"), MAX_CONFIG)
    if config.media_type not in (OCI_CONFIG, DOCKER_CONFIG):
        raise InvalidManifest(
            f"invalid manifest: {config.media_type!r} is not the configuration of an image"
        )
    layers = tuple(
        _descriptor(entry, MAX_LAYER_SIZE) for entry in _array(value, "layers", MAX_LAYERS)
    )
    for layer in layers:
        if layer.media_type not in LAYER_TYPES:
            raise InvalidManifest(f"unsupported layer media type {layer.media_type!r}")
    return Manifest(media_type, config, layers)


def _array(value: dict[str, Any], name: str, limit: int) -> list[Any]:
    found = _typed(value.get(name), list, name)
    if len(found) > limit:
        raise InvalidManifest(f"invalid manifest: more than {limit} {name}")
    return found


def _typed(value: object, kind: type[_T], name: str) -> _T:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise InvalidManifest(f"invalid manifest: {name} is missing or of the wrong type")
    return value


def _descriptor(value: object, largest: int) -> Descriptor:
    entry: dict[str, Any] = _typed(value, dict, "descriptor")
    media_type = _typed(entry.get("mediaType"), str, "descriptor's mediaType")
    size = _typed(entry.get("size"), int, "descriptor's size")
    digest = _checked(Digest, _typed(entry.get("digest"), str, "descriptor's digest"))
    if not 0 <= size <= largest:
        raise InvalidManifest(f"invalid manifest: {digest} has an impossible size of {size}")
    platform = entry.get("platform")
    return Descriptor(
        media_type[:255], digest, size, None if platform is None else _platform(platform)
    )


def _checked(make: Callable[[str], Digest], text: str) -> Digest:
    try:
        return make(text)
    except ValueError as error:
        raise InvalidManifest(f"invalid manifest: {error}") from error


def _platform(value: object) -> Platform:
    entry: dict[str, Any] = _typed(value, dict, "platform")
    variant = entry.get("variant", "")
    return Platform(
        _typed(entry.get("os"), str, "platform's os"),
        _typed(entry.get("architecture"), str, "platform's architecture"),
        variant if isinstance(variant, str) else "",
    )

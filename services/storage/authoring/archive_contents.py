"""Which images an archive holds, and what they are called."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from portlayer.threads import in_thread
from services.storage.archive_work import Unpacked
from services.storage.authoring.saving import DOCKER_INDEX, INDEX, NAME, REF_NAME, blob_name
from services.storage.imagec.digest import Digest
from services.storage.imagec.errors import DigestMismatch, InvalidArchive, InvalidReference
from services.storage.imagec.manifest import (
    INDEX_TYPES,
    MAX_MANIFEST,
    OCI_INDEX,
    Descriptor,
    Index,
    Platform,
    parse_json,
    parse_manifest,
)
from services.storage.imagec.reference import Reference, parse_reference

MAX_IMAGES = 1000
_MAX_DEPTH = 3


@dataclass(frozen=True)
class ArchivedImage:
    """An image of an archive."""

    names: tuple[Reference, ...]
    """Each with a tag."""

    manifest: Descriptor | None = None
    """Its manifest; None where the archive has none, and these are told instead:"""

    config: str = ""
    layers: tuple[str, ...] = ()


async def read_member(
    members: Unpacked, name: str, limit: int, digest: Digest | None = None
) -> bytes:
    """A small file of an archive. Raises InvalidArchive, DigestMismatch."""
    if name not in members:
        raise InvalidArchive(f"invalid archive: {name[:200]} is missing")
    if members.size(name) > limit:
        raise InvalidArchive(f"invalid archive: {name[:200]} is larger than {limit} bytes")
    if digest is not None and members.digest(name) != digest:
        raise DigestMismatch(f"invalid archive: {name} has the digest {members.digest(name)}")
    return await in_thread(members.path(name).read_bytes)


async def archived_images(members: Unpacked, platform: Platform) -> list[ArchivedImage]:
    """The images of an archive; `platform` chooses where one is there for several.

    Raises:
        InvalidArchive, InvalidManifest, DigestMismatch.
    """
    if INDEX in members:
        return await _of_layout(members, platform)
    if DOCKER_INDEX not in members:
        raise InvalidArchive(f"invalid archive: does not contain a {DOCKER_INDEX}, nor an {INDEX}")
    return _of_docker(await read_member(members, DOCKER_INDEX, MAX_MANIFEST))


async def _of_layout(members: Unpacked, platform: Platform) -> list[ArchivedImage]:
    body = await read_member(members, INDEX, MAX_MANIFEST)
    index = parse_manifest(body, OCI_INDEX)
    assert isinstance(index, Index)
    entries = parse_json(body, INDEX)["manifests"]
    named: dict[Descriptor, list[Reference]] = {}
    for descriptor, entry in zip(index.manifests, entries, strict=True):
        names = named.setdefault(descriptor, [])
        names += _names(entry.get("annotations"))
    # Of entries that say which platforms they are for, one is meant for each name.
    several = [entry for entry in named if entry.platform is not None]
    if len(several) > 1 and len({tuple(named[entry]) for entry in several}) == 1:
        chosen = Index(index.media_type, tuple(several)).choose(platform)
        named = {entry: names for entry, names in named.items() if entry in (chosen,)}
    return [
        ArchivedImage(tuple(names), await _image(members, descriptor, platform))
        for descriptor, names in named.items()
    ]


async def _image(members: Unpacked, descriptor: Descriptor, platform: Platform) -> Descriptor:
    """The manifest that a descriptor leads to. Raises as `archived_images`."""
    for _ in range(_MAX_DEPTH):
        if descriptor.media_type not in INDEX_TYPES:
            return descriptor
        name = blob_name(descriptor.digest)
        body = await read_member(members, name, MAX_MANIFEST, descriptor.digest)
        index = parse_manifest(body, descriptor.media_type)
        assert isinstance(index, Index)
        descriptor = index.choose(platform)
    raise InvalidArchive("invalid archive: indexes of indexes of indexes")


def _names(annotations: object) -> list[Reference]:
    """Names that annotations give: a full one of containerd's, or one that has a tag in it."""
    if not isinstance(annotations, Mapping):
        return []
    full = annotations.get(NAME)
    if isinstance(full, str):
        return _tagged(full)
    name = annotations.get(REF_NAME)
    return _tagged(name) if isinstance(name, str) and ":" in name else []


def _tagged(text: str) -> list[Reference]:
    try:
        reference = parse_reference(text)
    except InvalidReference as error:
        raise InvalidArchive(f"invalid archive: {text[:200]!r}: {error.message}") from error
    return [] if reference.digest is not None else [reference.with_default_tag()]


def _of_docker(body: bytes) -> list[ArchivedImage]:
    try:
        value: Any = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidArchive(f"invalid archive: {DOCKER_INDEX} is not valid JSON") from error
    if not isinstance(value, list) or len(value) > MAX_IMAGES:
        raise InvalidArchive(f"invalid archive: {DOCKER_INDEX} is no list of images")
    return [_docker_entry(entry) for entry in value]


def _docker_entry(entry: object) -> ArchivedImage:
    if not isinstance(entry, dict) or not isinstance(entry.get("Config"), str):
        raise InvalidArchive(f"invalid archive: an image of {DOCKER_INDEX} has no Config")
    names = _texts(entry, "RepoTags")
    return ArchivedImage(
        names=tuple(reference for name in names for reference in _tagged(name)),
        config=posixpath.normpath(entry["Config"]),
        layers=tuple(posixpath.normpath(name) for name in _texts(entry, "Layers")),
    )


def _texts(entry: dict[str, Any], name: str) -> list[str]:
    value = entry.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise InvalidArchive(f"invalid archive: {name} of {DOCKER_INDEX} is no list of names")
    return value

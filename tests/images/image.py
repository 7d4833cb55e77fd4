"""Layers, images and indexes, in the forms of OCI and of Docker."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import zstandard

Compression = Literal["gzip", "zstd", "none"]
Flavour = Literal["oci", "docker"]

_MANIFEST_TYPE = {
    "oci": "application/vnd.oci.image.manifest.v1+json",
    "docker": "application/vnd.docker.distribution.manifest.v2+json",
}
INDEX_TYPE = {
    "oci": "application/vnd.oci.image.index.v1+json",
    "docker": "application/vnd.docker.distribution.manifest.list.v2+json",
}
_CONFIG_TYPE = {
    "oci": "application/vnd.oci.image.config.v1+json",
    "docker": "application/vnd.docker.container.image.v1+json",
}
_OCI_LAYER_TYPE = {
    "gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
    "zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
    "none": "application/vnd.oci.image.layer.v1.tar",
}
_DOCKER_LAYER_TYPE = {
    "gzip": "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "zstd": "application/vnd.docker.image.rootfs.diff.tar.zstd",
    "none": "application/vnd.docker.image.rootfs.diff.tar",
}


def sha256(data: bytes) -> str:
    """Digest of `data` as registries write it."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Layer:
    """A layer: an uncompressed tar and how it is sent."""

    tar: bytes
    compression: Compression = "gzip"

    @cached_property
    def blob(self) -> bytes:
        """The bytes that a registry holds."""
        if self.compression == "gzip":
            return gzip.compress(self.tar, compresslevel=6, mtime=0)
        if self.compression == "zstd":
            return zstandard.ZstdCompressor().compress(self.tar)
        return self.tar

    @cached_property
    def digest(self) -> str:
        """Digest of the blob."""
        return sha256(self.blob)

    @cached_property
    def diff_id(self) -> str:
        """Digest of the tar."""
        return sha256(self.tar)


@dataclass(frozen=True)
class Image:
    """An image: layers, lowest first, and what its configuration says about containers."""

    layers: tuple[Layer, ...]
    config: dict[str, Any] = field(default_factory=dict)
    architecture: str = "amd64"
    os: str = "linux"
    flavour: Flavour = "oci"

    @cached_property
    def config_bytes(self) -> bytes:
        """The configuration blob."""
        created = "2020-09-13T12:26:40Z"
        return json.dumps(
            {
                "created": created,
                "architecture": self.architecture,
                "os": self.os,
                "config": self.config,
                "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in self.layers]},
                "history": [
                    {"created": created, "created_by": f"layer {number}"}
                    for number in range(len(self.layers))
                ],
            },
            sort_keys=True,
        ).encode()

    @cached_property
    def id(self) -> str:
        """Image ID: digest of the configuration."""
        return sha256(self.config_bytes)

    @property
    def media_type(self) -> str:
        """Media type of the manifest."""
        return _MANIFEST_TYPE[self.flavour]

    @cached_property
    def manifest_bytes(self) -> bytes:
        """The manifest."""
        types = _OCI_LAYER_TYPE if self.flavour == "oci" else _DOCKER_LAYER_TYPE
        return json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": self.media_type,
                "config": {
                    "mediaType": _CONFIG_TYPE[self.flavour],
                    "digest": self.id,
                    "size": len(self.config_bytes),
                },
                "layers": [
                    {
                        "mediaType": types[layer.compression],
                        "digest": layer.digest,
                        "size": len(layer.blob),
                    }
                    for layer in self.layers
                ],
            }
        ).encode()

    @cached_property
    def digest(self) -> str:
        """Digest of the manifest."""
        return sha256(self.manifest_bytes)

    @cached_property
    def chain_ids(self) -> tuple[str, ...]:
        """Chain ID of each layer (OCI image specification, "Layer ChainID")."""
        chain: list[str] = []
        for layer in self.layers:
            chain.append(
                sha256(f"{chain[-1]} {layer.diff_id}".encode()) if chain else layer.diff_id
            )
        return tuple(chain)


def index_bytes(images: Sequence[Image], flavour: Flavour = "oci") -> bytes:
    """An index (a manifest list in the docker flavour) of images by their platforms."""
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": INDEX_TYPE[flavour],
            "manifests": [
                {
                    "mediaType": image.media_type,
                    "digest": image.digest,
                    "size": len(image.manifest_bytes),
                    "platform": {"os": image.os, "architecture": image.architecture},
                }
                for image in images
            ],
        }
    ).encode()


def write_oci_layout(image: Image, directory: Path, tag: str = "latest") -> Path:
    """Write `image` as an OCI image layout, as `skopeo copy oci:DIRECTORY:TAG` reads it."""
    blobs = directory / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)
    oci = replace(image, flavour="oci")
    contents = [oci.config_bytes, oci.manifest_bytes, *(layer.blob for layer in oci.layers)]
    for content in contents:
        (blobs / sha256(content).removeprefix("sha256:")).write_bytes(content)
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    entry = {
        "mediaType": oci.media_type,
        "digest": oci.digest,
        "size": len(oci.manifest_bytes),
        "annotations": {"org.opencontainers.image.ref.name": tag},
    }
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    return directory

"""Settings of the storage facet."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

from pydantic import Field, field_validator, model_validator

from portlayer.identity import Role
from portlayer.settings import FacetSettings
from portlayer.web.proxies import Proxies
from portlayer.web.transport import Transport
from services.storage.compile_pool import LayerLimits
from services.storage.compiler import DEFAULT_SIZE
from services.storage.compiler.ext4.geometry import MIN_SIZE
from services.storage.imagec.endpoints import AllowList, Endpoints
from services.storage.volumes.options import MAX_SIZE

GRAIN = 64 << 10

SHARED_UMASK = 0o007
"""Where several instances share an image store, each with a user of its own: what one makes there
the others may remove. All files get the group of the directory that they are in."""


class StorageSettings(FacetSettings):
    """What the storage service needs to know."""

    role: ClassVar[Role] = Role.STORAGE

    base_size_bytes: int = Field(
        DEFAULT_SIZE,
        ge=256 << 20,
        multiple_of=GRAIN,
        description="Size of containers' disks as their VMs see them.",
    )
    image_store_directory: Path | None = Field(
        None,
        description="Directory of an image store that several instances share; by default "
        "this one has its own.",
    )
    image_quota_bytes: int = Field(
        0, ge=0, description="What the image store may take, in bytes; 0 is no limit."
    )
    volume_size_bytes: int = Field(
        DEFAULT_SIZE,
        ge=MIN_SIZE,
        le=MAX_SIZE,
        multiple_of=GRAIN,
        description="Size of a volume for which none is asked.",
    )
    volume_stores: dict[str, str] = Field(
        default_factory=dict,
        description="URLs of places beside DATA/storage where volumes are kept, by name.",
    )
    volume_directories: dict[str, Path] = Field(
        default_factory=dict,
        description="Directories of this instance's own in those places, by name; one that has "
        "none can't be used.",
    )
    insecure_registries: list[str] = Field(
        default_factory=list,
        description="Registries (host:port or CIDR) that plain HTTP and any certificate will do "
        "for; those on loopback always are.",
    )
    registry_mirrors: list[str] = Field(
        default_factory=list, description="URLs to try before Docker Hub."
    )
    allowed_registries: list[str] = Field(
        default_factory=list,
        description="The only registries to use (host, host:port, *.domain or CIDR; docker.io is "
        "Docker Hub); empty allows all.",
    )
    registry_authorities: list[str] = Field(
        default_factory=list,
        description="Certificates (PEM) of authorities to trust beside the system's.",
    )
    http_proxy: str = Field("", description="URL of the proxy for registries spoken to by HTTP.")
    https_proxy: str = Field("", description="URL of the proxy for those spoken to by HTTPS.")
    no_proxy: list[str] = Field(
        default_factory=list, description='Hosts, or ".domain"s, to ask without a proxy.'
    )
    max_concurrent_downloads: int = Field(
        3, ge=1, le=64, description="Blobs at once from one registry."
    )
    compile_workers: int = Field(
        default_factory=lambda: max(os.cpu_count() or 1, 2),
        ge=1,
        description="Processes that compile layers.",
    )
    max_layer_bytes: int = Field(
        64 << 30, ge=1 << 20, description="What a layer may inflate to, in bytes."
    )
    max_layer_entries: int = Field(
        2_000_000, ge=1, description="How many members a layer's tar may have."
    )
    max_layer_ratio: int = Field(
        200, ge=2, description="How many times its size a layer over 1 GiB may inflate to."
    )

    @field_validator("insecure_registries")
    @classmethod
    def _check_insecure(cls, value: list[str]) -> list[str]:
        Endpoints(insecure=value)
        return value

    @field_validator("registry_mirrors")
    @classmethod
    def _check_mirrors(cls, value: list[str]) -> list[str]:
        Endpoints(mirrors=value)
        return value

    @field_validator("allowed_registries")
    @classmethod
    def _check_allowed(cls, value: list[str]) -> list[str]:
        AllowList(value)
        return value

    @property
    def layer_limits(self) -> LayerLimits:
        """What one layer may cost."""
        return LayerLimits(
            max_bytes=self.max_layer_bytes,
            max_entries=self.max_layer_entries,
            max_ratio=self.max_layer_ratio,
        )

    @property
    def image_directory(self) -> Path:
        """Where images are kept."""
        return self.image_store_directory or self.state_dir / "images"

    @property
    def proxies(self) -> Proxies:
        """Proxies on the way to registries. Raises ValueError."""
        return Proxies(self.http_proxy, self.https_proxy, self.no_proxy)

    @model_validator(mode="after")
    def _check_transport(self) -> StorageSettings:
        Transport(self.registry_authorities, self.proxies)
        return self

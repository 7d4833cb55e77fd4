"""What is on record about volumes, and about containers that use them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from services.storage.files import from_json, to_json

DISK = "disk.vmdk"
RECORD = "volume.json"


@dataclass(frozen=True)
class VolumeRecord:
    """A volume's description, beside its disk."""

    name: str
    driver: str
    size_bytes: int
    created_at: datetime
    anonymous: bool
    labels: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    written: bool = False
    """A VM has had it for writing: what an image has to give has been copied, if it was asked."""

    def to_json(self) -> bytes:
        """As it stands in the store."""
        return to_json(asdict(self) | {"created_at": self.created_at.isoformat()})

    @classmethod
    def read(cls, directory: Path) -> VolumeRecord:
        """Read the description of the volume in a directory. Raises ValueError, OSError."""
        value = from_json(directory / RECORD)
        record = cls(
            name=str(value["name"]),
            driver=str(value["driver"]),
            size_bytes=int(value["size_bytes"]),
            created_at=datetime.fromisoformat(value["created_at"]),
            anonymous=bool(value["anonymous"]),
            labels=_texts(value["labels"]),
            options=_texts(value["options"]),
            written=bool(value["written"]),
        )
        if record.name != directory.name:
            raise ValueError("the description is another volume's")
        return record


@dataclass(frozen=True)
class VolumeUse:
    """One of a container's volumes."""

    name: str
    target: str
    anonymous: bool = False
    read_only: bool = False
    no_copy: bool = False
    driver: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ContainerUse:
    """A container's volumes, from its creation to its removal."""

    container_id: str
    volumes: tuple[VolumeUse, ...]

    def to_json(self) -> bytes:
        """As it stands in its file."""
        return to_json({"volumes": [asdict(use) for use in self.volumes]})

    @classmethod
    def read(cls, path: Path) -> ContainerUse:
        """Read the record of the container that a file is named after. Raises ValueError, …."""
        return cls(path.stem, tuple(VolumeUse(**use) for use in from_json(path)["volumes"]))

    def names(self) -> set[str]:
        """The volumes, each once."""
        return {use.name for use in self.volumes}


@dataclass(frozen=True)
class Attachment:
    """The volumes that a run of a container's VM has."""

    container_id: str
    boot_id: str
    writable: dict[str, bool]
    """By the volume's name, whether the VM can write it."""

    def to_json(self) -> bytes:
        """As it stands in its file."""
        return to_json({"boot_id": self.boot_id, "writable": self.writable})

    @classmethod
    def read(cls, path: Path) -> Attachment:
        """Read what the container that a file is named after has. Raises ValueError, …."""
        value = from_json(path)
        writable = {str(name): bool(flag) for name, flag in value["writable"].items()}
        return cls(path.stem, str(value["boot_id"]), writable)


def _texts(value: dict[str, Any]) -> dict[str, str]:
    return {str(key): str(item) for key, item in value.items()}

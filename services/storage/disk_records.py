"""What is on record about containers' disks, and the names of the files beside each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from services.storage.files import from_json, to_json
from services.storage.imagec.digest import Digest

DISK = "disk.vmdk"
SPECIFICATION = "spec.bin"
RECORD = "meta.json"


@dataclass(frozen=True)
class DiskRecord:
    """What is on record about a container's disk."""

    container_id: str
    image_id: Digest
    chain_id: Digest | None
    """Of the layer it is a child of; None on the base."""

    created_at: datetime
    request: Digest
    """Digest of the request that made it, to know a repetition by."""

    size_bytes: int
    """Size that a VM sees."""

    def to_json(self) -> bytes:
        """As it stands beside the disk."""
        return to_json(
            {
                "container_id": self.container_id,
                "image_id": self.image_id,
                "chain_id": self.chain_id,
                "created_at": self.created_at.isoformat(),
                "request": self.request,
                "size_bytes": self.size_bytes,
            }
        )


def read_record(directory: Path) -> DiskRecord:
    """Read a disk's record. Raises ValueError, KeyError, TypeError, OSError."""
    value = from_json(directory / RECORD)
    chain_id = value["chain_id"]
    record = DiskRecord(
        container_id=str(value["container_id"]),
        image_id=Digest(value["image_id"]),
        chain_id=None if chain_id is None else Digest(chain_id),
        created_at=datetime.fromisoformat(value["created_at"]),
        request=Digest(value["request"]),
        size_bytes=int(value["size_bytes"]),
    )
    if record.container_id != directory.name:
        raise ValueError("the record is another container's")
    return record

"""Containers' disks: their records, and what they stand on."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from services.storage.checking.findings import Findings, Outcome, Subject
from services.storage.checking.vmdk_files import ANY_PARENT, fault
from services.storage.disk_records import (
    DISK,
    RECORD,
    SPECIFICATION,
    DiskRecord,
    read_record,
)
from services.storage.files import STAGING_PREFIX, replace_file
from services.storage.image_store import ImageStore
from services.storage.imagec.digest import Digest
from services.storage.vmdk import Chain, VmdkError

_LAYER = re.compile(r"[0-9a-f]{64}")
_NO_IMAGE = Digest("sha256:" + "0" * 64)


def check_containers(directory: Path, store: ImageStore, findings: Findings) -> None:
    """Check each container's disk and its record. Blocks. Raises OSError."""
    for entry in sorted(directory.iterdir()):
        if entry.name.startswith(STAGING_PREFIX):
            continue
        what, outcome = fault(entry / DISK, parent=ANY_PARENT), Outcome.LOST
        if not what:
            what = _fault_of_chain(entry)
            if findings.mendable(Subject.LAYER, Subject.BASE):
                outcome = Outcome.REPAIRABLE  # it stands on what can be
        if not entry.exists():
            continue  # removed meanwhile
        if what:
            findings.add(Subject.DISK, entry.name, what, outcome)
            continue
        if not (entry / SPECIFICATION).exists():
            findings.lost(Subject.DISK, entry.name, "its specification is missing")
        try:
            read_record(entry)
        except (OSError, ValueError, KeyError, TypeError) as error:
            if not entry.exists():
                continue
            record = _record_by_files(entry, store)

            def write(record: DiskRecord = record, path: Path = entry / RECORD) -> None:
                with store.changing():
                    replace_file(path, record.to_json())

            findings.mend(Subject.DISK, entry.name, f"its record can't be read: {error}", write)


def _fault_of_chain(directory: Path) -> str:
    try:
        with Chain(directory / DISK):
            return ""
    except (OSError, VmdkError) as error:
        return f"its chain is broken: {error}"


def _record_by_files(directory: Path, store: ImageStore) -> DiskRecord:
    """Describe a disk by what it stands on; which image it was made of is the first that fits."""
    with Chain(directory / DISK) as chain:
        size = chain.size
        layers = [path.stem for path in chain.paths[1:] if _LAYER.fullmatch(path.stem)]
    chain_id = Digest(f"sha256:{layers[0]}") if layers else None
    image_id = next(
        (image.id for image in store.catalogue.stored_images() if image.chain_id == chain_id),
        _NO_IMAGE,
    )
    made = datetime.fromtimestamp((directory / SPECIFICATION).stat().st_mtime, UTC)
    return DiskRecord(
        container_id=directory.name,
        image_id=image_id,
        chain_id=chain_id,
        created_at=made,
        request=Digest.of((directory / SPECIFICATION).read_bytes()),
        size_bytes=size,
    )

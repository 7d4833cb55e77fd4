"""Volumes and the records of who uses them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from portlayer.errors import VicError
from services.storage.checking.findings import Findings, Subject
from services.storage.checking.vmdk_files import fault
from services.storage.files import STAGING_PREFIX, replace_file
from services.storage.volumes.disk import disk_size
from services.storage.volumes.records import DISK, RECORD, ContainerUse, VolumeRecord
from services.storage.volumes.stores import VolumeStore, VolumeStores

_BROKEN = (OSError, ValueError, KeyError, TypeError)


def check_volumes(stores: VolumeStores, findings: Findings) -> None:
    """Check the volumes of every store. Blocks. Raises OSError."""
    for store in stores:
        try:
            with store.faults():
                directories = [path for path in sorted(store.directory.iterdir()) if path.is_dir()]
        except VicError as error:
            findings.lost(Subject.VOLUME, f"store {store.name}", error.message)
            continue
        for directory in directories:
            if not directory.name.startswith(STAGING_PREFIX):
                _check_volume(store, directory, findings)


def _check_volume(store: VolumeStore, directory: Path, findings: Findings) -> None:
    what = fault(directory / DISK, parent=None)
    if not directory.exists():
        return  # removed meanwhile
    if what:
        findings.lost(Subject.VOLUME, directory.name, what)
        return
    try:
        VolumeRecord.read(directory)
    except _BROKEN as error:
        if not directory.exists():
            return
        # Named, and written: so nothing prunes it, and no image's files are copied into it.
        record = VolumeRecord(
            name=directory.name,
            driver="local",
            size_bytes=disk_size(directory / DISK),
            created_at=datetime.fromtimestamp(directory.stat().st_mtime, UTC),
            anonymous=False,
            written=True,
        )
        findings.mend(
            Subject.VOLUME,
            directory.name,
            f"its description can't be read: {error}; its labels and options are lost",
            lambda: replace_file(directory / RECORD, record.to_json()),
        )


def check_uses(state: Path, findings: Findings) -> None:
    """See whether it can be told who uses which volumes. Blocks. Raises OSError."""
    for path in sorted((state / "volume-uses").glob("*.json")):
        try:
            ContainerUse.read(path)
        except FileNotFoundError:
            continue
        except _BROKEN as error:
            findings.lost(
                Subject.USES,
                path.stem,
                f"can't be read: {error}; remove the container, its volumes stay",
            )

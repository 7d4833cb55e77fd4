"""Layers in the image store: one VMDK each, child of the layer's below it.

    layers/v<format>-<base size>/base.vmdk             the empty file system
    layers/v<format>-<base size>/<chain ID>.{vmdk,json}

A layer is visible once its record is there, which is written last. All disks lie side by side,
so that a child names its parent by the file's name alone: QEMU and others join such names on
their way down a chain, and with directories in them 127 layers would pass the longest path.
A layer that changes nothing has a record and no disk: whoever asks for its disk gets the one below.
A layer fits only the very base that it was compiled on, so another size of base, or another version
of its format, has a directory of its own; disks of containers that stand on an older one go on.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from services.storage.compiler.base import FORMAT_VERSION
from services.storage.files import (
    delete,
    from_json,
    move_aside,
    replace_file,
    sync_directory,
    to_json,
)
from services.storage.imagec.digest import Digest
from services.storage.vmdk import PARTIAL_SUFFIX

BASE = "base"

log = logging.getLogger("vic.storage.layers")


@dataclass(frozen=True)
class LayerRecord:
    """What the store knows about a layer."""

    chain_id: Digest
    diff_id: Digest
    parent: Digest | None
    """Chain ID of the layer below, None on the base."""

    size_bytes: int
    """Bytes of the uncompressed tar."""

    stored_bytes: int
    """What its VMDK takes."""

    has_disk: bool


class LayerStore:
    """The layers of one base: one size, the present format."""

    def __init__(self, directory: Path, base_size: int) -> None:
        """Open the directory, made if need be; sweep what has no record."""
        self.base_size = base_size
        self.directory = directory / f"v{FORMAT_VERSION}-{base_size}"
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._records: dict[Digest, LayerRecord] = {}
        self._load()

    def _load(self) -> None:
        for entry in self.directory.glob("*.json"):
            try:
                record = self._read_record(entry)
            except (OSError, ValueError, KeyError, TypeError) as error:
                log.warning("layer with an invalid record: %s: %s", entry.name, error)
                continue
            self._records[record.chain_id] = record
        for chain_id in [*self._records]:
            if chain_id in self._records:
                self._drop_orphan(chain_id)
        self._sweep()

    def _drop_orphan(self, chain_id: Digest) -> None:
        """Forget a layer whose chain down to the base has a gap."""
        seen: list[Digest] = []
        at: Digest | None = chain_id
        while at is not None and at in self._records:
            seen.append(at)
            at = self._records[at].parent
        if at is not None or not self.has_base():
            for orphan in seen:
                log.warning("layer without its parent removed", extra={"chain_id": orphan})
                self._records.pop(orphan, None)

    def _sweep(self) -> None:
        """Delete every file that no record speaks of."""
        known = {f"{chain_id.hex}{end}" for chain_id in self._records for end in (".json", ".vmdk")}
        known.add(self.base_disk.name)
        for entry in self.directory.iterdir():
            if entry.name not in known:
                delete(entry)

    def _read_record(self, path: Path) -> LayerRecord:
        value = from_json(path)
        parent = value["parent"]
        record = LayerRecord(
            chain_id=Digest(value["chain_id"]),
            diff_id=Digest(value["diff_id"]),
            parent=None if parent is None else Digest(parent),
            size_bytes=int(value["size_bytes"]),
            stored_bytes=int(value["stored_bytes"]),
            has_disk=bool(value["has_disk"]),
        )
        if record.chain_id.hex != path.stem:
            raise ValueError("the record is another layer's")
        if record.has_disk and not self._disk(record.chain_id).exists():
            raise ValueError("its disk is missing")
        return record

    def _disk(self, chain_id: Digest) -> Path:
        return self.directory / f"{chain_id.hex}.vmdk"

    @property
    def base_disk(self) -> Path:
        """The empty file system's VMDK."""
        return self.directory / f"{BASE}.vmdk"

    def has_base(self) -> bool:
        """Whether the base disk has been made."""
        return self.base_disk.exists()

    @contextmanager
    def making(self, chain_id: Digest) -> Iterator[Path]:
        """Where to make a layer's disk; deleted at the end unless `publish` came before."""
        out = self._disk(chain_id)
        try:
            yield out
        finally:
            if chain_id not in self._records:
                out.unlink(missing_ok=True)
                _delete_parts(out)

    @contextmanager
    def making_base(self) -> Iterator[Path]:
        """Where to make the base disk, which counts as soon as it has its name."""
        try:
            yield self.base_disk
        finally:
            _delete_parts(self.base_disk)

    def publish(self, record: LayerRecord) -> None:
        """Make a layer visible whose disk is complete."""
        sync_directory(self.directory)
        path = self.directory / f"{record.chain_id.hex}.json"
        replace_file(path, to_json(asdict(record)), 0o444)
        self._records[record.chain_id] = record

    def __contains__(self, chain_id: Digest) -> bool:
        """Whether a layer is there."""
        return chain_id in self._records

    def __getitem__(self, chain_id: Digest) -> LayerRecord:
        """A layer's record. Raises KeyError."""
        return self._records[chain_id]

    def all(self) -> list[LayerRecord]:
        """Every layer."""
        return list(self._records.values())

    def disk(self, chain_id: Digest | None) -> Path:
        """The topmost VMDK of a chain; the base's for None. Raises KeyError."""
        return self.disks(chain_id)[0]

    def disks(self, chain_id: Digest | None) -> list[Path]:
        """The VMDKs of a chain, top to base. Raises KeyError."""
        chain = self.ancestry(chain_id)
        return [*(self._disk(at) for at in chain if self._records[at].has_disk), self.base_disk]

    def ancestry(self, chain_id: Digest | None) -> list[Digest]:
        """A chain's layers, top to bottom."""
        found: list[Digest] = []
        while chain_id is not None:
            found.append(chain_id)
            chain_id = self._records[chain_id].parent
        return found

    def detach(self, chain_id: Digest) -> list[Path]:
        """Take a layer out of sight, its record first; what is returned is to be deleted.

        That nothing uses the layer is for the caller to know.
        """
        self._records.pop(chain_id, None)
        record = move_aside(self.directory / f"{chain_id.hex}.json")
        disk = move_aside(self._disk(chain_id))
        return [path for path in (record, disk) if path is not None]


def _delete_parts(out: Path) -> None:
    """Delete what a compiler that was killed has written of a disk."""
    for part in out.parent.glob(f".{out.name}.*{PARTIAL_SUFFIX}"):
        part.unlink(missing_ok=True)

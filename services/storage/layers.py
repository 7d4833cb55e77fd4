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
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from services.storage.compiler.base import FORMAT_VERSION
from services.storage.files import (
    STAGING_PREFIX,
    delete,
    from_json,
    move_aside,
    nobody,
    replace_file,
    stager,
    sync_directory,
    to_json,
)
from services.storage.imagec.digest import Digest
from services.storage.locks import is_held
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

    def __init__(
        self,
        directory: Path,
        base_size: int,
        turns: Path | None = None,
        lives: Callable[[str], bool] = nobody,
    ) -> None:
        """Open the directory, made if need be.

        Where other processes make layers too, `turns` holds the locks of what is being made, and
        `lives` tells which of them are at work.
        """
        self.base_size = base_size
        self.directory = directory / f"v{FORMAT_VERSION}-{base_size}"
        self.directory.mkdir(mode=0o770, parents=True, exist_ok=True)
        self._turns = turns
        self._lives = lives
        self._records: dict[Digest, LayerRecord] = {}
        self.refresh()

    def refresh(self) -> None:
        """Know what there is by its files; a layer whose chain has a gap isn't. Blocks."""
        known = dict(self._records)  # before: what is made meanwhile must not be forgotten
        there = {entry.stem: entry for entry in self.directory.glob("*.json")}
        for chain_id in known:
            if chain_id.hex not in there or not self._has_disk(known[chain_id]):
                self._records.pop(chain_id, None)
        for name, entry in there.items():
            if f"sha256:{name}" not in self._records:
                self._read(entry)
        for chain_id in [*self._records]:
            if chain_id in self._records:
                self._drop_orphan(chain_id)

    def look(self, chain_ids: Iterable[Digest]) -> None:
        """Know these as the files have them at the moment. Blocks."""
        for chain_id in chain_ids:
            path = self._record(chain_id)
            if chain_id not in self._records and path.exists():
                self._read(path)
            elif chain_id in self._records and not path.exists():
                self._records.pop(chain_id, None)

    def _read(self, path: Path) -> None:
        try:
            record = self._read_record(path)
        except FileNotFoundError:
            return  # removed since it was listed
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("layer with an invalid record: %s: %s", path.name, error)
            return
        self._records[record.chain_id] = record

    def _has_disk(self, record: LayerRecord) -> bool:
        return not record.has_disk or self.own_disk(record.chain_id).exists()

    def _drop_orphan(self, chain_id: Digest) -> None:
        """Forget a layer whose chain down to the base has a gap."""
        seen: list[Digest] = []
        at: Digest | None = chain_id
        while at is not None and at in self._records:
            seen.append(at)
            at = self._records[at].parent
        if at is not None or not self.has_base():
            for orphan in seen:
                log.warning("layer without its parent", extra={"chain_id": orphan})
                self._records.pop(orphan, None)

    def turn(self, chain_id: Digest | None) -> str:
        """Return the name of the work on a layer, or on the base, among processes."""
        return f"{self.directory.name}-{BASE if chain_id is None else chain_id.hex}"

    def leftovers(self, needed: Iterable[Digest] = ()) -> list[Path]:
        """Return every file that no record speaks of and nobody makes. Blocks.

        Files of layers that are `needed` are none: somebody may mend them.
        """
        layers = {*self._records, *needed}
        known = {f"{chain_id.hex}{end}" for chain_id in layers for end in (".json", ".vmdk")}
        known.add(self.base_disk.name)
        return [
            entry
            for entry in sorted(self.directory.iterdir())
            if entry.name not in known and not self._in_hand(entry.name)
        ]

    def sweep(self, needed: Iterable[Digest] = ()) -> int:
        """Delete the leftovers; returns how many there were. Blocks."""
        doomed = self.leftovers(needed)
        for entry in doomed:
            delete(entry)
        return len(doomed)

    def _in_hand(self, name: str) -> bool:
        """Whether a process is at work on what a file without a record belongs to."""
        if name.startswith(STAGING_PREFIX):
            return self._lives(stager(name))
        subject = name.removeprefix(".").partition(".")[0]
        return self._turns is not None and is_held(self._turns / f"{self.directory.name}-{subject}")

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
        if not self._has_disk(record):
            raise ValueError("its disk is missing")
        return record

    def own_disk(self, chain_id: Digest) -> Path:
        """Where a layer's own VMDK lies, or would lie."""
        return self.directory / f"{chain_id.hex}.vmdk"

    def _record(self, chain_id: Digest) -> Path:
        return self.directory / f"{chain_id.hex}.json"

    @property
    def base_disk(self) -> Path:
        """The empty file system's VMDK."""
        return self.directory / f"{BASE}.vmdk"

    def has_base(self) -> bool:
        """Whether the base disk has been made."""
        return self.base_disk.exists()

    @contextmanager
    def making(self, chain_id: Digest) -> Iterator[Path]:
        """Where to make a layer's disk; deleted at the end unless `publish` came before.

        One that was there stays: its record is damaged, and containers may stand on it. That nobody
        else makes it is for the caller to know (`turn`).
        """
        out = self.own_disk(chain_id)
        was_there = out.exists()
        try:
            yield out
        finally:
            if chain_id not in self._records:
                if not was_there:
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
        replace_file(self._record(record.chain_id), to_json(asdict(record)), 0o444)
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
        while chain_id is not None:
            record = self._records[chain_id]
            if record.has_disk:
                return self.own_disk(chain_id)
            chain_id = record.parent
        return self.base_disk

    def disks(self, chain_id: Digest | None) -> list[Path]:
        """The VMDKs of a chain, top to base. Raises KeyError."""
        chain = self.ancestry(chain_id)
        return [*(self.own_disk(at) for at in chain if self._records[at].has_disk), self.base_disk]

    def ancestry(self, chain_id: Digest | None) -> list[Digest]:
        """A chain's layers, top to bottom, as far down as it is known."""
        found: list[Digest] = []
        while chain_id is not None:
            found.append(chain_id)
            record = self._records.get(chain_id)
            chain_id = None if record is None else record.parent
        return found

    def detach(self, chain_id: Digest) -> list[Path]:
        """Take a layer out of sight, its record first; what is returned is to be deleted.

        That nothing uses the layer is for the caller to know.
        """
        self._records.pop(chain_id, None)
        record = move_aside(self._record(chain_id))
        disk = move_aside(self.own_disk(chain_id))
        return [path for path in (record, disk) if path is not None]


def _delete_parts(out: Path) -> None:
    """Delete what a compiler that was killed has written of a disk."""
    for part in out.parent.glob(f".{out.name}.*{PARTIAL_SUFFIX}"):
        part.unlink(missing_ok=True)

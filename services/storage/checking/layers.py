"""Layers: records, the files of their chains, and in depth their content."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from portlayer.errors import VicError
from portlayer.threads import in_thread
from services.storage.checking.findings import Findings, Outcome, Subject
from services.storage.checking.vmdk_files import fault, same_content
from services.storage.compile_pool import CompiledLayer, CompilePool
from services.storage.files import staged_directory, sync_directory
from services.storage.image_records import ImageLayer
from services.storage.image_store import ImageStore
from services.storage.imagec.digest import Digest
from services.storage.layers import LayerRecord


@dataclass(frozen=True)
class _Wanted:
    layer: ImageLayer
    parent: Digest | None


class LayerCheck:
    """Checks the base disk and all layers that images need, from the base up.

    A layer that isn't what it should be is made anew of its blob: the same bytes, so that what
    stands on it never knows.
    """

    def __init__(
        self,
        store: ImageStore,
        pool: CompilePool,
        sound_blobs: set[Digest],
        findings: Findings,
        *,
        deep: bool,
    ) -> None:
        self._store = store
        self._pool = pool
        self._blobs = sound_blobs
        self._findings = findings
        self._deep = deep
        self._bad: set[Digest] = set()

    async def run(self) -> None:
        """Check all. Raises OSError, StoreFull."""
        layers = self._store.layers
        wanted = {each.layer.chain_id: each for each in self._wanted()}
        # Layers in the store's own directory alone; another base's are another size's or format's.
        present = {chain_id: each for chain_id, each in wanted.items() if self._is_here(each)}
        if present or layers.all():
            await self._check_base()
        for chain_id, each in present.items():
            what = await self._fault(each)
            if what:
                await self._mend(chain_id, each, what)
        for record in layers.all():
            if record.chain_id not in wanted:
                what = await in_thread(self._fault_of_files, record)
                if what:
                    self._findings.lost(Subject.LAYER, record.chain_id, what)

    def _wanted(self) -> Iterator[_Wanted]:
        for image in self._store.catalogue.stored_images():
            parent = None
            for layer in image.layers:
                yield _Wanted(layer, parent)
                parent = layer.chain_id

    def _is_here(self, wanted: _Wanted) -> bool:
        """Whether a layer belongs to this base: nothing of another base's says so."""
        chain_id = wanted.layer.chain_id
        return chain_id in self._store.layers or not any(
            (directory / f"{chain_id.hex}.json").exists()
            for directory in self._store.layers.directory.parent.iterdir()
            if directory != self._store.layers.directory
        )

    async def _check_base(self) -> None:
        layers = self._store.layers
        with staged_directory(layers.directory) as staged:
            fresh = staged / layers.base_disk.name
            await self._pool.create_base(fresh, layers.base_size)
            if not layers.has_base():
                what = "is missing"
            elif not await in_thread(same_content, fresh, layers.base_disk):
                what = "is damaged"
            elif layers.base_disk.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH):
                what = "can be written"
            else:
                return

            def replace() -> None:
                fresh.rename(layers.base_disk)
                sync_directory(layers.directory)

            self._findings.mend(Subject.BASE, layers.directory.name, what, replace)
        layers.refresh()

    async def _fault(self, wanted: _Wanted) -> str:
        layer, layers = wanted.layer, self._store.layers
        layers.look([layer.chain_id])
        if wanted.parent in self._bad:
            return "the layer below is lost"
        if layer.chain_id not in layers:
            return "its record is missing or can't be read"
        record = layers[layer.chain_id]
        if (record.parent, record.diff_id) != (wanted.parent, layer.diff_id):
            return "its record is another layer's"
        what = await in_thread(self._fault_of_files, record)
        if what or not self._deep or layer.blob not in self._blobs:
            return what
        return await self._fault_of_content(wanted, record)

    def _fault_of_files(self, record: LayerRecord) -> str:
        layers = self._store.layers
        if not record.has_disk:
            return ""
        path = layers.own_disk(record.chain_id)
        if record.parent is not None and record.parent not in layers:
            return "the layer below is missing"
        what = fault(path, parent=layers.disk(record.parent), size=layers.base_size)
        if not what and stat.S_IMODE(path.stat().st_mode) & 0o222:
            return "its disk can be written"
        return what

    async def _fault_of_content(self, wanted: _Wanted, record: LayerRecord) -> str:
        """Make the layer once more, and compare."""
        layers = self._store.layers
        with staged_directory(layers.directory) as staged:
            again = staged / layers.own_disk(record.chain_id).name
            made = await self._compile(wanted, again)
            if made.has_disk != record.has_disk:
                return "its record is wrong about its disk"
            if not made.has_disk:
                return ""
            if await in_thread(same_content, again, layers.own_disk(record.chain_id)):
                return ""
            return "its disk isn't what its blob makes"

    async def _compile(self, wanted: _Wanted, out: Path) -> CompiledLayer:
        store, layer = self._store, wanted.layer
        return await self._pool.compile(
            store.blobs.stored(layer.blob),
            parent=store.layers.disk(wanted.parent),
            out=out,
            chain_id=layer.chain_id,
            diff_id=layer.diff_id,
            on_progress=lambda _inflated, _consumed: None,
        )

    async def _mend(self, chain_id: Digest, wanted: _Wanted, what: str) -> None:
        if wanted.layer.blob not in self._blobs or wanted.parent in self._bad:
            self._bad.add(chain_id)
            self._findings.lost(
                Subject.LAYER, chain_id, f"{what}, and its blob isn't there; pull its image again"
            )
            return
        if self._findings.repair:
            try:
                await self._rebuild(wanted)
            except VicError as error:
                self._bad.add(chain_id)
                self._findings.lost(Subject.LAYER, chain_id, f"{what}; {error.message}")
                return
        outcome = Outcome.REPAIRED if self._findings.repair else Outcome.REPAIRABLE
        self._findings.add(Subject.LAYER, chain_id, what, outcome)

    async def _rebuild(self, wanted: _Wanted) -> None:
        layers, layer = self._store.layers, wanted.layer
        async with self._store.turn(layers.turn(layer.chain_id)):
            # Over what is there, in one step: a VM that has it open goes on with what it has.
            made = await self._compile(wanted, layers.own_disk(layer.chain_id))
            record = LayerRecord(
                chain_id=layer.chain_id,
                diff_id=layer.diff_id,
                parent=wanted.parent,
                size_bytes=made.size_bytes,
                stored_bytes=made.stored_bytes,
                has_disk=made.has_disk,
            )
            await in_thread(layers.publish, record)
            await in_thread(self._tell_others)

    def _tell_others(self) -> None:
        with self._store.changing():
            pass

"""Layers and the base that they stand on."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.storage.compiler.base import FORMAT_VERSION
from services.storage.imagec.digest import Digest
from services.storage.layers import LayerRecord, LayerStore

SIZE = 64 << 20
RECORD = LayerRecord(
    chain_id=Digest("sha256:" + "1" * 64),
    diff_id=Digest("sha256:" + "2" * 64),
    parent=None,
    size_bytes=1,
    stored_bytes=1,
    has_disk=True,
)


def filled(directory: Path) -> LayerStore:
    """A store with a base and a layer on it."""
    store = LayerStore(directory, SIZE)
    store.base_disk.write_bytes(b"base")
    with store.making(RECORD.chain_id) as out:
        out.write_bytes(b"layer")
        store.publish(RECORD)
    return store


def test_a_layer_is_there_again_after_a_restart(tmp_path: Path) -> None:
    before = filled(tmp_path)
    after = LayerStore(tmp_path, SIZE)
    assert after.all() == [RECORD]
    assert after.disks(RECORD.chain_id) == before.disks(RECORD.chain_id)


@pytest.mark.parametrize("change", ["size", "version"])
def test_layers_on_another_base_are_neither_used_nor_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    old = filled(tmp_path)
    before = {path: path.read_bytes() for path in old.directory.iterdir()}
    size = SIZE
    if change == "size":
        size *= 2
    else:
        monkeypatch.setattr("services.storage.layers.FORMAT_VERSION", FORMAT_VERSION + 1)
    new = LayerStore(tmp_path, size)
    assert not new.has_base()
    assert RECORD.chain_id not in new
    assert new.detach(RECORD.chain_id) == []
    assert {path: path.read_bytes() for path in old.directory.iterdir()} == before


def test_a_layer_that_is_not_made_again_keeps_the_disk_that_it_had(tmp_path: Path) -> None:
    """Its record is damaged, containers stand on it, and who would mend it goes away."""
    filled(tmp_path)
    disk = LayerStore(tmp_path, SIZE).own_disk(RECORD.chain_id)
    disk.with_suffix(".json").unlink()
    store = LayerStore(tmp_path, SIZE)
    with pytest.raises(KeyboardInterrupt), store.making(RECORD.chain_id):
        raise KeyboardInterrupt
    assert disk.read_bytes() == b"layer"

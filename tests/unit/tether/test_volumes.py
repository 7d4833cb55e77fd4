"""How far a volume's file system can grow on its disk."""

from __future__ import annotations

import struct

import pytest

from services.storage.compiler.base import create_base
from services.storage.vmdk import Chain
from tether.supervisor.volumes import blocks_on

MIB = 256
"""Blocks."""


@pytest.fixture(scope="module", params=[64 << 20, 8 << 30])
def superblock(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """That of a volume as it was made."""
    path = tmp_path_factory.mktemp("volume") / "disk.vmdk"
    create_base(path, request.param)
    with Chain(path) as disk:
        return disk.read(1024, 1024)


@pytest.mark.parametrize("mib", [96, 128, 256, 300, 8192, 20 << 10])
def test_all_of_a_disk_is_for_the_file_system(superblock: bytes, mib: int) -> None:
    assert blocks_on(mib << 20, superblock) == mib * MIB


@pytest.mark.parametrize("mib", [128, 256, 8192])
def test_a_last_group_of_metadata_alone_is_left_out(superblock: bytes, mib: int) -> None:
    assert blocks_on((mib + 1) << 20, superblock) == mib * MIB


def test_a_fresh_volume_has_all_of_its_own(superblock: bytes) -> None:
    (blocks,) = struct.unpack_from("<I", superblock, 4)
    assert blocks_on(blocks * 4096, superblock) == blocks

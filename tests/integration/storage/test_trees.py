"""Compiled images beside what umoci makes of the same layers; `python -m bench.trees` has more."""

import os
from pathlib import Path

import pytest

from tests.images import Registry
from tests.integration.storage.service import Service
from tests.trees import SMALL, differences, disk_tree, reference_tree


@pytest.mark.skipif(os.geteuid() != 0, reason="unpacks owners and devices, and mounts")
async def test_a_compiled_image_is_what_the_reference_unpacker_makes(
    service: Service, registry: Registry, tmp_path: Path
) -> None:
    for number, (name, image) in enumerate(SMALL.items()):
        work = tmp_path / str(number)
        work.mkdir()
        reference = registry.push(image, f"tree-{number}")
        await service.pull(reference)
        disk = await service.disk(reference, f"{number:064x}")
        found = disk_tree(Path(disk.chain[0]), work)
        assert differences(found, reference_tree(image, work)) == [], name

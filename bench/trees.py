"""Trees of five images, as compiled and as umoci unpacks them: `python -m bench.trees`.

busybox, 40 layers, one with what unpackers stumble over, 20,000 small files, and Debian with
Python. Needs root. Returns 1 where a tree differs in anything: kinds, modes, owners, times to the
nanosecond, contents, targets, devices, extended attributes, hard links.
"""

import asyncio
import sys
import tempfile
import time
from pathlib import Path

from bench.pull import bench_image
from tests.images import Image, Registry
from tests.integration.storage.service import Service, storage_service
from tests.trees import SMALL, differences, disk_tree, many_files_image, reference_tree

SHOWN = 10


async def compared(
    service: Service, registry: Registry, name: str, number: int, image: Image
) -> bool:
    """Pull an image and compare its tree; tell whether it is the same."""
    with tempfile.TemporaryDirectory(prefix="vic-trees-", dir="/var/tmp") as directory:
        work = Path(directory)
        reference = registry.push(image, f"tree-{number}")
        begun = time.monotonic()
        await service.pull(reference)
        took = time.monotonic() - begun
        disk = await service.disk(reference, f"{number:064x}")
        found = await asyncio.to_thread(disk_tree, Path(disk.chain[0]), work)
        wrong = differences(found, await asyncio.to_thread(reference_tree, image, work))
    print(f"{name}: {len(found)} names, pulled in {took:.1f} s, {len(wrong)} differences")
    for line in wrong[:SHOWN]:
        print("  ", line)
    return not wrong


async def run() -> int:
    """Compare all."""
    images = {**SMALL, "20,000 files": many_files_image(), "Debian with Python": bench_image()}
    with Registry() as registry:
        async with storage_service(base_size_bytes=2 << 30) as service:
            same = [
                await compared(service, registry, name, number, image)
                for number, (name, image) in enumerate(images.items())
            ]
    return 0 if all(same) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(run()))

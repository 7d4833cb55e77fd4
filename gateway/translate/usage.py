"""What is taken on the disk, in Docker's shape."""

from collections.abc import Collection, Iterable
from typing import Any

from vic.exec.v1.container_pb2 import Container
from vic.storage.v1.image_pb2 import DiskUsageResponse
from vic.storage.v1.volume_pb2 import Volume

from gateway.translate import containers as container_shapes
from gateway.translate import images as image_shapes
from gateway.translate.filters import Filters
from gateway.translate.volumes import volume_json

KINDS = frozenset({"build-cache", "container", "image", "volume"})


def usage_json(
    kinds: Collection[str],
    disk: DiskUsageResponse,
    containers: Iterable[Container],
    volumes: Iterable[Volume],
    version: tuple[int, int],
) -> dict[str, Any]:
    """``GET /system/df``; null for the kinds that weren't asked for."""
    value: dict[str, Any] = {
        "LayersSize": disk.layers_bytes if "image" in kinds else 0,
        "Images": None,
        "Containers": None,
        "Volumes": None,
        "BuildCache": [] if "build-cache" in kinds else None,
    }
    if "image" in kinds:
        value["Images"] = [
            image_shapes.summary_json(entry, version, shared_size=True, containers=True)
            for entry in image_shapes.select(disk.images, Filters({}))
        ]
    if "container" in kinds:
        value["Containers"] = _containers(disk, containers)
    if "volume" in kinds:
        value["Volumes"] = [_volume(volume) for volume in volumes]
    if version < (1, 42):
        value["BuilderSize"] = 0
    return value


def _containers(disk: DiskUsageResponse, containers: Iterable[Container]) -> list[dict[str, Any]]:
    taken = sizes_json(disk)
    return [container_shapes.summary_json(one) | taken.get(one.id, {}) for one in containers]


def sizes_json(disk: DiskUsageResponse) -> dict[str, dict[str, int]]:
    """What containers' disks take, in the words of ``docker ps --size``, by container ID."""
    return {
        entry.container_id: {
            "SizeRw": entry.writable_bytes,
            "SizeRootFs": entry.root_bytes + entry.writable_bytes,
        }
        for entry in disk.containers
    }


def _volume(volume: Volume) -> dict[str, Any]:
    usage = {"Size": volume.used_bytes, "RefCount": len(volume.container_ids)}
    return {**volume_json(volume), "UsageData": usage}

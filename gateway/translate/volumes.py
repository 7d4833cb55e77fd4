"""Volumes in Docker's shape."""

from typing import Any

from vic.storage.v1.volume_pb2 import Volume

from gateway.translate.times import rfc3339

LIST_FILTERS = frozenset({"dangling", "driver", "label", "name"})


def volume_json(volume: Volume) -> dict[str, Any]:
    """A volume as list and inspect give it."""
    return {
        "CreatedAt": rfc3339(volume.created_at),
        "Driver": volume.driver or "local",
        "Labels": dict(volume.labels) or None,
        "Mountpoint": volume.path,
        "Name": volume.name,
        "Options": dict(volume.options) or None,
        "Scope": "local",
    }

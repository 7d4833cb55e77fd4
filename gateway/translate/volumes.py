"""Volumes in Docker's shape, and what is asked of one."""

from typing import Any

from vic.storage.v1.volume_pb2 import Volume, VolumeServiceCreateRequest

from gateway.errors import bad_parameter, not_possible
from gateway.fields import Fields
from gateway.translate.times import rfc3339

LIST_FILTERS = frozenset({"dangling", "driver", "label", "name"})
PRUNE_FILTERS = frozenset({"all", "label", "label!"})


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
        # What a driver of Docker's may add.
        "Status": {"SizeBytes": volume.size_bytes, "VolumeStore": volume.store},
    }


def read_volume(body: object) -> VolumeServiceCreateRequest:
    """Return what a create request's body asks for. Raises 400 and 501."""
    if body is None:
        raise bad_parameter("invalid JSON: got EOF while reading request body")
    fields = Fields(body)
    if fields.raw("ClusterVolumeSpec"):
        raise not_possible("ClusterVolumeSpec", "this endpoint is not a Swarm manager")
    request = VolumeServiceCreateRequest(
        name=fields.text("Name"),
        driver=fields.text("Driver"),
        labels=fields.text_mapping("Labels"),
        options=fields.text_mapping("DriverOpts"),
    )
    fields.finish()
    return request

"""Which role may call what of the storage facet."""

from __future__ import annotations

from vic.storage.v1 import disk_pb2, image_pb2, volume_pb2

from portlayer.identity import Role
from portlayer.interceptors import Access
from portlayer.server import rpc_names

IMAGES = image_pb2.DESCRIPTOR.services_by_name["ImageService"]
DISKS = disk_pb2.DESCRIPTOR.services_by_name["DiskService"]
VOLUMES = volume_pb2.DESCRIPTOR.services_by_name["VolumeService"]
SERVICES = (IMAGES, DISKS, VOLUMES)

_READ = {
    *("Info", "Get", "List", "History", "DiskUsage", "WatchEvents"),
    *("ListUses", "ListStores"),
}
# What belongs to the life of a container.
_HELD = {"Reserve", "Release", "Attach", "Detach"}
_OPERATORS = frozenset({Role.GATEWAY, Role.EXEC, Role.INSTALLER, Role.ADMIN, Role.OPERATOR})
_READERS = _OPERATORS | {Role.VIEWER, Role.INTERACTION}
# A container's disk belongs to the saga that exec runs; nobody else changes one.
_DISK_OWNERS = frozenset({Role.EXEC, Role.INSTALLER, Role.ADMIN})

ACCESS: Access = {
    **{
        name: frozenset(_READERS if name.rpartition("/")[2] in _READ else _OPERATORS)
        for service in (IMAGES, VOLUMES)
        for name in rpc_names(service)
    },
    **{
        name: frozenset(_OPERATORS if name.rpartition("/")[2] in _READ else _DISK_OWNERS)
        for name in rpc_names(DISKS)
    },
    **{name: _DISK_OWNERS for name in rpc_names(VOLUMES) if name.rpartition("/")[2] in _HELD},
}

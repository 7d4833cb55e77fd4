"""`vic volume`: what an administrator does to volumes that Docker's API has no word for."""

import asyncio
from pathlib import Path

from vic.storage.v1 import volume_pb2, volume_pb2_grpc

from installer.checks import require_root
from installer.configure import parse_size
from installer.errors import InstallerError, NotRunningError
from installer.facets import facet_channel
from installer.instance import Instance, check_data_dir, load_instance
from portlayer.errors import VicError
from portlayer.identity import Role

# What a volume holds is copied, and that may be many gigabytes.
CALL_SECONDS = 3600.0


def grow_volume(data_dir: Path, name: str, size: str) -> int:
    """Make a volume larger that no running container has; its size in bytes.

    Raises UsageError for what is no size, InstallerError where it can't be.
    """
    require_root("volume")
    request = volume_pb2.GrowRequest(name=name, size_bytes=parse_size(size))
    instance = load_instance(check_data_dir(data_dir))
    if instance is None or not instance.may_answer(Role.STORAGE):
        raise NotRunningError("the suite is not running; start it with `vic up`")
    try:
        return asyncio.run(_grow(instance, request))
    except VicError as error:
        raise InstallerError(error.message) from error


async def _grow(instance: Instance, request: volume_pb2.GrowRequest) -> int:
    async with facet_channel(instance, Role.STORAGE) as channel:
        stub = volume_pb2_grpc.VolumeServiceStub(channel)
        return (await stub.Grow(request, timeout=CALL_SECONDS)).volume.size_bytes

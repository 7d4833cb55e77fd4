"""Volumes as messages of the contract."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp
from vic.storage.v1 import volume_pb2 as pb

from portlayer.journal import Entry
from services.storage.messages import timestamp
from services.storage.volumes.holding import AttachedDisk
from services.storage.volumes.index import Volume
from services.storage.volumes.records import VolumeUse
from services.storage.volumes.stores import VolumeStore


def volume(value: Volume, container_ids: list[str]) -> pb.Volume:
    """A volume, and who uses it."""
    record = value.record
    return pb.Volume(
        name=record.name,
        driver=record.driver,
        labels=record.labels,
        options=record.options,
        size_bytes=record.size_bytes,
        created_at=timestamp(record.created_at),
        anonymous=record.anonymous,
        path=str(value.disk),
        container_ids=container_ids,
        used_bytes=value.used_bytes,
        store=value.store.name,
    )


def use(message: pb.VolumeUse) -> VolumeUse:
    """A container's volume, as it is asked for."""
    return VolumeUse(
        name=message.name,
        target=message.target,
        anonymous=message.anonymous,
        read_only=message.read_only,
        no_copy=message.no_copy,
        driver=message.driver,
        labels=dict(message.labels),
        options=dict(message.options),
    )


def attached_disk(disk: AttachedDisk) -> pb.AttachedDisk:
    """A volume as one VM gets it."""
    return pb.AttachedDisk(
        volume_name=disk.volume.record.name,
        path=str(disk.volume.disk),
        read_only=not disk.writable,
        size_bytes=disk.volume.record.size_bytes,
    )


def store(value: VolumeStore) -> pb.VolumeStore:
    """A place where volumes are kept."""
    return pb.VolumeStore(
        name=value.name,
        url=value.url,
        free_bytes=value.free_bytes,
        total_bytes=value.total_bytes,
    )


def event(value: Entry) -> pb.VolumeEvent:
    """Something that happened."""
    time = Timestamp()
    time.FromNanoseconds(value.time_ns)
    return pb.VolumeEvent(
        sequence=value.sequence,
        time=time,
        kind=value.kind,  # type: ignore[arg-type]
        volume_name=value.actor,
        attributes=value.attributes,
    )

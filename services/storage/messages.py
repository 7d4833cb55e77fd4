"""Values of this facet as messages of the contract."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp
from vic.storage.v1 import disk_pb2, image_pb2

from portlayer.dockerfile.defaults import to_message
from portlayer.journal import Entry
from services.storage.disk_records import DiskRecord
from services.storage.disks import Disk, ListedDisk
from services.storage.image_records import ImageUse, StoredImage
from services.storage.imagec.authorization import Credentials
from services.storage.imagec.progress import Progress, Status
from services.storage.imagec.pull import Pulled
from services.storage.imagec.push import Pushed
from services.storage.imagec.queries import Hit
from services.storage.images import HistoryLine, ImageSummary, familiar_names
from services.storage.removal import Removed, Untagged

_STATUS = {
    Status.PULLING_FROM: image_pb2.PROGRESS_STATUS_PULLING_FROM,
    Status.PULLING_LAYER: image_pb2.PROGRESS_STATUS_PULLING_LAYER,
    Status.WAITING: image_pb2.PROGRESS_STATUS_WAITING,
    Status.DOWNLOADING: image_pb2.PROGRESS_STATUS_DOWNLOADING,
    Status.RETRYING: image_pb2.PROGRESS_STATUS_RETRYING,
    Status.VERIFYING_CHECKSUM: image_pb2.PROGRESS_STATUS_VERIFYING_CHECKSUM,
    Status.DOWNLOAD_COMPLETE: image_pb2.PROGRESS_STATUS_DOWNLOAD_COMPLETE,
    Status.EXTRACTING: image_pb2.PROGRESS_STATUS_EXTRACTING,
    Status.PULL_COMPLETE: image_pb2.PROGRESS_STATUS_PULL_COMPLETE,
    Status.ALREADY_EXISTS: image_pb2.PROGRESS_STATUS_ALREADY_EXISTS,
    Status.PUSHING_TO: image_pb2.PROGRESS_STATUS_PUSHING_TO,
    Status.PREPARING: image_pb2.PROGRESS_STATUS_PREPARING,
    Status.PUSHING: image_pb2.PROGRESS_STATUS_PUSHING,
    Status.PUSHED: image_pb2.PROGRESS_STATUS_PUSHED,
    Status.MOUNTED: image_pb2.PROGRESS_STATUS_MOUNTED,
    Status.LAYER_EXISTS: image_pb2.PROGRESS_STATUS_LAYER_EXISTS,
    Status.LOADING_LAYER: image_pb2.PROGRESS_STATUS_LOADING_LAYER,
    Status.DOWNLOADING_FROM: image_pb2.PROGRESS_STATUS_DOWNLOADING_FROM,
    Status.IMPORTING: image_pb2.PROGRESS_STATUS_IMPORTING,
}


def timestamp(moment: datetime | None) -> Timestamp | None:
    """A moment, None for none."""
    if moment is None:
        return None
    message = Timestamp()
    message.FromDatetime(moment)
    return message


def moment(message: Timestamp) -> datetime:
    """A moment, to the microsecond."""
    return message.ToDatetime(UTC)


def credentials(message: image_pb2.RegistryCredentials) -> Credentials:
    """Credentials that came with a call."""
    return Credentials(
        username=message.username,
        password=message.password,
        identity_token=message.identity_token,
        registry_token=message.registry_token,
    )


def progress(line: Progress) -> image_pb2.Progress:
    """A line of progress."""
    return image_pb2.Progress(
        id=line.id,
        status=_STATUS[line.status],
        current_bytes=line.current,
        total_bytes=line.total,
        text=line.text,
    )


def push_result(pushed: Pushed) -> image_pb2.PushResult:
    """What a push of a tag ended with."""
    return image_pb2.PushResult(tag=pushed.tag, digest=pushed.digest, size_bytes=pushed.size)


def pull_result(pulled: Pulled) -> image_pb2.PullResponse:
    """What a pull ended with."""
    return image_pb2.PullResponse(
        result=image_pb2.PullResult(
            digest=pulled.digest,
            downloaded=pulled.downloaded,
            canonical_reference=str(pulled.reference),
            image_id=pulled.image_id,
        )
    )


def hit(found: Hit) -> image_pb2.SearchResult:
    """A repository that a search found."""
    return image_pb2.SearchResult(
        name=found.name, description=found.description, stars=found.stars, official=found.official
    )


def image(stored: StoredImage, use: ImageUse) -> image_pb2.Image:
    """An image."""
    config = stored.config
    return image_pb2.Image(
        id=stored.id,
        repository_tags=familiar_names(use.tags),
        repository_digests=familiar_names(use.digests),
        created_at=timestamp(config.created),
        architecture=config.platform.architecture,
        os=config.platform.os,
        variant=config.platform.variant,
        author=config.author,
        comment=config.comment,
        docker_version=config.docker_version,
        size_bytes=stored.size_bytes,
        diff_ids=config.diff_ids,
        config=to_message(config.defaults),
        chain_id=stored.chain_id or "",
        parent_id=use.parent or "",
        last_tagged_at=timestamp(use.last_tagged),
        container_id=config.container,
        container_config=config.container_config,
    )


def summary(entry: ImageSummary) -> image_pb2.ImageSummary:
    """An image in a list."""
    return image_pb2.ImageSummary(
        image=image(entry.image, entry.use),
        containers=entry.containers,
        shared_bytes=entry.shared_bytes,
    )


def history_entry(line: HistoryLine) -> image_pb2.HistoryEntry:
    """A step that made an image."""
    return image_pb2.HistoryEntry(
        image_id=line.image_id,
        created_at=timestamp(line.created),
        created_by=line.created_by,
        size_bytes=line.size_bytes,
        comment=line.comment,
        repository_tags=line.tags,
    )


def removed(entry: Removed) -> image_pb2.RemovedImage:
    """A line of a removal."""
    if isinstance(entry, Untagged):
        return image_pb2.RemovedImage(untagged=entry.name)
    return image_pb2.RemovedImage(deleted=entry.id)


def disk(value: Disk) -> disk_pb2.Disk:
    """A container's disk."""
    return _disk(value.record, value.specification, [str(path) for path in value.chain])


def listed_disk(value: ListedDisk) -> disk_pb2.Disk:
    """A container's disk in a list."""
    return _disk(value.record, value.specification, [])


def _disk(record: DiskRecord, specification: bytes, chain: Sequence[str]) -> disk_pb2.Disk:
    return disk_pb2.Disk(
        container_id=record.container_id,
        image_id=record.image_id,
        chain_id=record.chain_id or "",
        chain=chain,
        virtual_size_bytes=record.size_bytes,
        specification=specification,
        created_at=timestamp(record.created_at),
    )


def event(entry: Entry) -> image_pb2.ImageEvent:
    """An event of an image."""
    message = image_pb2.ImageEvent(
        sequence=entry.sequence,
        kind=entry.kind,  # type: ignore[arg-type]
        actor_id=entry.actor,
        attributes=entry.attributes,
    )
    message.time.FromNanoseconds(entry.time_ns)
    return message

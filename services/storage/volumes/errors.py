"""What is refused about volumes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from portlayer.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Reason,
    Unavailable,
)


class InvalidVolume(InvalidArgument):
    """A name, an option or a size that no volume can have."""

    default_reason = Reason.INVALID_VOLUME


class VolumeNotFound(NotFound):
    """There is no volume of that name."""

    default_reason = Reason.VOLUME_NOT_FOUND


class DriverNotFound(NotFound):
    """There is no volume driver of that name."""

    default_reason = Reason.VOLUME_DRIVER_NOT_FOUND


class StoreNotFound(NotFound):
    """There is no volume store of that name."""

    default_reason = Reason.VOLUME_STORE_NOT_FOUND


class StoreUnavailable(Unavailable):
    """A volume store is away, can't be written, or fails."""

    default_reason = Reason.VOLUME_STORE_UNAVAILABLE


class VolumeExists(AlreadyExists):
    """There is a volume of that name, and it is another's."""

    default_reason = Reason.VOLUME_EXISTS


class VolumesReserved(AlreadyExists):
    """A container has reserved other volumes already."""

    default_reason = Reason.VOLUMES_RESERVED


class VolumeInUse(FailedPrecondition):
    """A container uses the volume."""

    default_reason = Reason.VOLUME_IN_USE


class VolumeAttached(FailedPrecondition):
    """Another container's VM has the volume in a way that excludes this one."""

    default_reason = Reason.VOLUME_ATTACHED


@contextmanager
def naming(volume: str) -> Iterator[None]:
    """Say, as Docker does, of which volume's creation it is that something is refused."""
    try:
        yield
    except (InvalidVolume, DriverNotFound, StoreNotFound, StoreUnavailable) as error:
        raise type(error)(f"create {volume[:255]}: {error.message}") from error

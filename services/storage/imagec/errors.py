"""What can go wrong between a registry and the image store, in Docker's words."""

from __future__ import annotations

from portlayer.errors import (
    DataLoss,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Reason,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from portlayer.web.errors import ServerMisbehaves, ServerUnavailable

RegistryUnavailable = ServerUnavailable
"""The registry can't be reached, or answers what it must not."""

RegistryMisbehaves = ServerMisbehaves
"""The registry answers against the specification; asking again wouldn't help."""


class InvalidReference(InvalidArgument):
    """The name of an image is no valid reference."""

    default_reason = Reason.INVALID_REFERENCE


class ManifestNotFound(NotFound):
    """The registry has no such tag, digest or repository."""

    default_reason = Reason.MANIFEST_NOT_FOUND


class PullDenied(PermissionDenied):
    """The registry refuses access; it doesn't tell whether the repository exists."""

    default_reason = Reason.PULL_DENIED


class RegistryNotAllowed(PermissionDenied):
    """The administrator doesn't allow this registry."""

    default_reason = Reason.REGISTRY_NOT_ALLOWED


class RegistryUnauthorized(Unauthenticated):
    """The registry wants credentials, or doesn't accept those it was given."""

    default_reason = Reason.REGISTRY_UNAUTHORIZED


class DigestMismatch(DataLoss):
    """Bytes are not what their digest says."""

    default_reason = Reason.DIGEST_MISMATCH


class InvalidManifest(InvalidArgument):
    """A manifest, an index or a configuration breaks the specification, or isn't an image's."""

    default_reason = Reason.INVALID_MANIFEST


class InvalidLayer(InvalidArgument):
    """A layer is no tar that can be compiled, or is over a limit."""

    default_reason = Reason.INVALID_LAYER


class InvalidArchive(InvalidArgument):
    """A stream of images, or of a root file system, that can't be read."""

    default_reason = Reason.INVALID_ARCHIVE


class StoreFull(ResourceExhausted):
    """No space is left for what was asked."""

    default_reason = Reason.STORE_FULL


class StoreFailed(Unavailable):
    """What images or disks are kept on is away, can't be written, or fails."""

    default_reason = Reason.STORE_FAILED

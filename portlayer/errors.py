"""Domain errors and their one mapping to gRPC and back.

A facet raises a subclass of :class:`VicError`; the server interceptor turns it into a gRPC status
with a ``google.rpc.ErrorInfo`` (domain ``vic``), and the client interceptor turns that back into
the same class. Whoever reacts to an error looks at its :class:`Reason`, never at its text.

Source: https://google.aip.dev/193 (ErrorInfo), gRPC status codes.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import ClassVar

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

DOMAIN = "vic"
DETAILS_KEY = "grpc-status-details-bin"
# HTTP/2 peers bound the size of all headers (8 KiB by default), and the status travels in them.
MAX_MESSAGE = 3000


class Reason(StrEnum):
    """Machine-readable reason of an error, unique across facets."""

    # exec
    CONTAINER_NOT_FOUND = "CONTAINER_NOT_FOUND"
    AMBIGUOUS_REFERENCE = "AMBIGUOUS_REFERENCE"
    CONTAINER_EXISTS = "CONTAINER_EXISTS"
    NAME_IN_USE = "NAME_IN_USE"
    SAME_NAME = "SAME_NAME"
    INVALID_SPEC = "INVALID_SPEC"
    NO_COMMAND = "NO_COMMAND"
    INVALID_SIGNAL = "INVALID_SIGNAL"
    WRONG_STATE = "WRONG_STATE"
    ALREADY_DONE = "ALREADY_DONE"
    REMOVAL_IN_PROGRESS = "REMOVAL_IN_PROGRESS"
    LAUNCH_FAILED = "LAUNCH_FAILED"
    LIMIT_EXCEEDED = "LIMIT_EXCEEDED"
    OPTION_NOT_IMPLEMENTED = "OPTION_NOT_IMPLEMENTED"
    RPC_NOT_IMPLEMENTED = "RPC_NOT_IMPLEMENTED"
    HISTORY_LOST = "HISTORY_LOST"
    HYPERVISOR_FAILED = "HYPERVISOR_FAILED"
    CLONE_FAILED = "CLONE_FAILED"
    FILES_TAKEN = "FILES_TAKEN"
    # interaction
    TETHER_AWAY = "TETHER_AWAY"
    NOT_RUNNING = "NOT_RUNNING"
    EXEC_NOT_STARTED = "EXEC_NOT_STARTED"
    LOGS_NOT_KEPT = "LOGS_NOT_KEPT"
    EXEC_NOT_FOUND = "EXEC_NOT_FOUND"
    PATH_NOT_FOUND = "PATH_NOT_FOUND"
    PATH_NOT_DIRECTORY = "PATH_NOT_DIRECTORY"
    PATH_READ_ONLY = "PATH_READ_ONLY"
    # network
    NETWORK_NOT_FOUND = "NETWORK_NOT_FOUND"
    NETWORK_EXISTS = "NETWORK_EXISTS"
    INVALID_NETWORK = "INVALID_NETWORK"
    POOL_OVERLAPS = "POOL_OVERLAPS"
    POOLS_EXHAUSTED = "POOLS_EXHAUSTED"
    ADDRESSES_EXHAUSTED = "ADDRESSES_EXHAUSTED"
    ADDRESS_IN_USE = "ADDRESS_IN_USE"
    INVALID_ADDRESS = "INVALID_ADDRESS"
    ENDPOINT_NOT_FOUND = "ENDPOINT_NOT_FOUND"
    ENDPOINT_EXISTS = "ENDPOINT_EXISTS"
    NOT_CONNECTED = "NOT_CONNECTED"
    RESERVATION_EXISTS = "RESERVATION_EXISTS"
    ACTIVE_ENDPOINTS = "ACTIVE_ENDPOINTS"
    PREDEFINED_NETWORK = "PREDEFINED_NETWORK"
    TAP_MISSING = "TAP_MISSING"
    PORT_IN_USE = "PORT_IN_USE"
    HOST_ADDRESS_MISSING = "HOST_ADDRESS_MISSING"
    ALIAS_NOT_FOUND = "ALIAS_NOT_FOUND"
    PARENT_MISSING = "PARENT_MISSING"
    # storage
    IMAGE_NOT_FOUND = "IMAGE_NOT_FOUND"
    IMAGE_IN_USE = "IMAGE_IN_USE"
    IMAGE_HAS_REFERENCES = "IMAGE_HAS_REFERENCES"
    INVALID_REFERENCE = "INVALID_REFERENCE"
    INVALID_MANIFEST = "INVALID_MANIFEST"
    INVALID_LAYER = "INVALID_LAYER"
    INVALID_ARCHIVE = "INVALID_ARCHIVE"
    MANIFEST_NOT_FOUND = "MANIFEST_NOT_FOUND"
    PULL_DENIED = "PULL_DENIED"
    REGISTRY_NOT_ALLOWED = "REGISTRY_NOT_ALLOWED"
    REGISTRY_UNAUTHORIZED = "REGISTRY_UNAUTHORIZED"
    REGISTRY_UNAVAILABLE = "REGISTRY_UNAVAILABLE"
    HOST_NOT_FOUND = "HOST_NOT_FOUND"
    ADDRESS_NOT_ALLOWED = "ADDRESS_NOT_ALLOWED"
    DIGEST_MISMATCH = "DIGEST_MISMATCH"
    STORE_FULL = "STORE_FULL"
    STORE_FAILED = "STORE_FAILED"
    DISK_NOT_FOUND = "DISK_NOT_FOUND"
    DISK_EXISTS = "DISK_EXISTS"
    VOLUME_NOT_FOUND = "VOLUME_NOT_FOUND"
    VOLUME_IN_USE = "VOLUME_IN_USE"
    VOLUME_ATTACHED = "VOLUME_ATTACHED"
    VOLUME_EXISTS = "VOLUME_EXISTS"
    VOLUMES_RESERVED = "VOLUMES_RESERVED"
    INVALID_VOLUME = "INVALID_VOLUME"
    VOLUME_DRIVER_NOT_FOUND = "VOLUME_DRIVER_NOT_FOUND"
    VOLUME_STORE_NOT_FOUND = "VOLUME_STORE_NOT_FOUND"
    VOLUME_STORE_UNAVAILABLE = "VOLUME_STORE_UNAVAILABLE"
    # host agent
    MACHINE_NOT_FOUND = "MACHINE_NOT_FOUND"
    MACHINE_EXISTS = "MACHINE_EXISTS"
    PLUG_FAILED = "PLUG_FAILED"
    PARENT_NOT_FOUND = "PARENT_NOT_FOUND"
    PARENT_EXISTS = "PARENT_EXISTS"
    INVALID_MACHINE = "INVALID_MACHINE"
    BOOTSTRAP_NOT_FOUND = "BOOTSTRAP_NOT_FOUND"
    # vSphere
    PRIVILEGE_MISSING = "PRIVILEGE_MISSING"
    PLATFORM_OBJECT_NOT_FOUND = "PLATFORM_OBJECT_NOT_FOUND"
    PLATFORM_OBJECT_EXISTS = "PLATFORM_OBJECT_EXISTS"
    PLATFORM_OBJECT_CHANGED = "PLATFORM_OBJECT_CHANGED"
    # everywhere
    INVALID_REQUEST = "INVALID_REQUEST"
    NOT_AUTHENTICATED = "NOT_AUTHENTICATED"
    ROLE_NOT_ALLOWED = "ROLE_NOT_ALLOWED"
    SERVICE_UNAVAILABLE = "SERVICE_UNAVAILABLE"
    DEADLINE = "DEADLINE"
    CANCELLED = "CANCELLED"
    TURN_LOST = "TURN_LOST"
    INTERNAL = "INTERNAL"


class VicError(Exception):
    """Base of all domain errors: a sentence for people, a reason and metadata for programs."""

    status: ClassVar[grpc.StatusCode] = grpc.StatusCode.INTERNAL
    default_reason: ClassVar[Reason] = Reason.INTERNAL

    def __init__(self, message: str, reason: Reason | None = None, **metadata: str) -> None:
        super().__init__(message)
        self.message = message
        self.reason: Reason = self.default_reason if reason is None else reason
        self.metadata = metadata


class InvalidArgument(VicError):
    """The request can't be right whatever the state of the system."""

    status = grpc.StatusCode.INVALID_ARGUMENT
    default_reason = Reason.INVALID_REQUEST


class NotFound(VicError):
    """What the request names does not exist."""

    status = grpc.StatusCode.NOT_FOUND


class AlreadyExists(VicError):
    """What the request would make exists, and differs or belongs to somebody else."""

    status = grpc.StatusCode.ALREADY_EXISTS


class FailedPrecondition(VicError):
    """The state of what the request names refuses it."""

    status = grpc.StatusCode.FAILED_PRECONDITION
    default_reason = Reason.WRONG_STATE


class ResourceExhausted(VicError):
    """A limit, a quota, a disk or an address range is used up."""

    status = grpc.StatusCode.RESOURCE_EXHAUSTED
    default_reason = Reason.LIMIT_EXCEEDED


class Unavailable(VicError):
    """Something that is needed is away for the moment; the same call may work later."""

    status = grpc.StatusCode.UNAVAILABLE
    default_reason = Reason.SERVICE_UNAVAILABLE


class DeadlineExceeded(VicError):
    """The work did not end within the time that the caller gave."""

    status = grpc.StatusCode.DEADLINE_EXCEEDED
    default_reason = Reason.DEADLINE


class PermissionDenied(VicError):
    """The caller is known and may not do this."""

    status = grpc.StatusCode.PERMISSION_DENIED
    default_reason = Reason.ROLE_NOT_ALLOWED


class Unauthenticated(VicError):
    """The caller, or we as a registry's caller, could not be authenticated."""

    status = grpc.StatusCode.UNAUTHENTICATED
    default_reason = Reason.NOT_AUTHENTICATED


class NotImplementedYet(VicError):
    """The option or the call is known and not implemented; the message names it."""

    status = grpc.StatusCode.UNIMPLEMENTED
    default_reason = Reason.OPTION_NOT_IMPLEMENTED


class OutOfRange(VicError):
    """A position lies outside of what is kept."""

    status = grpc.StatusCode.OUT_OF_RANGE
    default_reason = Reason.HISTORY_LOST


class DataLoss(VicError):
    """Bytes are not what their digest says."""

    status = grpc.StatusCode.DATA_LOSS
    default_reason = Reason.DIGEST_MISMATCH


class Cancelled(VicError):
    """The caller went away."""

    status = grpc.StatusCode.CANCELLED
    default_reason = Reason.CANCELLED


class TurnLost(VicError):
    """The caller acts by a turn that is another's by now; nothing was done."""

    status = grpc.StatusCode.ABORTED
    default_reason = Reason.TURN_LOST


class Internal(VicError):
    """A fault of ours."""


_CLASSES: dict[grpc.StatusCode, type[VicError]] = {
    cls.status: cls
    for cls in (
        InvalidArgument,
        NotFound,
        AlreadyExists,
        FailedPrecondition,
        ResourceExhausted,
        Unavailable,
        DeadlineExceeded,
        PermissionDenied,
        Unauthenticated,
        NotImplementedYet,
        OutOfRange,
        DataLoss,
        Cancelled,
        TurnLost,
        Internal,
    )
}
# No server of ours says UNKNOWN; it is gRPC's word for a connection that broke during the call.
_CLASSES[grpc.StatusCode.UNKNOWN] = Unavailable


def leaf_error(error: BaseException) -> BaseException:
    """Return the error that a TaskGroup's failure is about: the first domain error within it.

    Where there is none, the first error of any kind; an error that is no group is itself.
    """
    if not isinstance(error, BaseExceptionGroup):
        return error
    domain, rest = error.split(VicError)
    leaf: BaseException = domain or rest or error
    while isinstance(leaf, BaseExceptionGroup):
        leaf = leaf.exceptions[0]
    return leaf


def status_details(error: VicError) -> bytes:
    """Return the serialized ``google.rpc.Status`` that carries an error's reason and metadata."""
    info = error_details_pb2.ErrorInfo(
        reason=error.reason.value, domain=DOMAIN, metadata=error.metadata
    )
    packed = any_pb2.Any()
    packed.Pack(info)
    status = status_pb2.Status(
        code=error.status.value[0], message=error.message[:MAX_MESSAGE], details=[packed]
    )
    return bytes(status.SerializeToString())


def from_rpc_error(error: grpc.aio.AioRpcError) -> VicError:
    """Return the domain error that a failed call carries.

    A status without our ErrorInfo (a peer that is away, a deadline, another program's server) gets
    the class of its code and that class's default reason.
    """
    cls = _CLASSES.get(error.code(), Internal)
    trailing: Sequence[tuple[str, str | bytes]] = tuple(error.trailing_metadata() or ())
    for key, value in trailing:
        if key != DETAILS_KEY:
            continue
        status = status_pb2.Status.FromString(value if isinstance(value, bytes) else value.encode())
        for detail in status.details:
            info = error_details_pb2.ErrorInfo()
            if not detail.Unpack(info) or info.domain != DOMAIN:
                continue
            if info.reason in Reason.__members__:
                return cls(status.message, Reason(info.reason), **dict(info.metadata))
    return cls(error.details() or error.code().name)


@contextmanager
def domain_errors() -> Iterator[None]:
    """Turn gRPC errors raised inside into domain errors; for reading streams.

    Unary calls on a channel of :mod:`portlayer.client` do so by themselves.
    """
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error

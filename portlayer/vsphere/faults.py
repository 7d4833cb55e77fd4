"""vCenter's faults and broken connections as domain errors: the one place where they are mapped.

Source: the fault types of the vSphere Web Services API reference, 8.0.
"""

import http.client
import ssl
from collections.abc import Callable

from pyVmomi import vim, vmodl

from portlayer.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    Reason,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    VicError,
)

Fault = vmodl.MethodFault

# More exact types first. vmodl.MethodFault, at the end, is every fault's ancestor.
_MAPPING: tuple[tuple[type[Fault], Callable[[str], VicError]], ...] = (
    (vim.fault.InvalidLogin, Unauthenticated),
    (vim.fault.NotAuthenticated, Unauthenticated),
    (vim.fault.NoClientCertificate, Unauthenticated),
    (
        vim.fault.NoPermission,
        lambda text: PermissionDenied(text, Reason.PRIVILEGE_MISSING),
    ),
    (
        vmodl.fault.ManagedObjectNotFound,
        lambda text: NotFound(text, Reason.PLATFORM_OBJECT_NOT_FOUND),
    ),
    (vim.fault.NotFound, lambda text: NotFound(text, Reason.PLATFORM_OBJECT_NOT_FOUND)),
    (vim.fault.FileNotFound, lambda text: NotFound(text, Reason.PLATFORM_OBJECT_NOT_FOUND)),
    (vim.fault.DuplicateName, lambda text: AlreadyExists(text, Reason.PLATFORM_OBJECT_EXISTS)),
    (vim.fault.AlreadyExists, lambda text: AlreadyExists(text, Reason.PLATFORM_OBJECT_EXISTS)),
    (vim.fault.FileAlreadyExists, lambda text: AlreadyExists(text, Reason.PLATFORM_OBJECT_EXISTS)),
    (vim.fault.NoDiskSpace, lambda text: ResourceExhausted(text, Reason.STORE_FULL)),
    (vim.fault.InsufficientResourcesFault, ResourceExhausted),
    (vim.fault.ResourceInUse, FailedPrecondition),
    (
        vim.fault.ConcurrentAccess,
        lambda text: FailedPrecondition(text, Reason.PLATFORM_OBJECT_CHANGED),
    ),
    (vim.fault.InvalidState, FailedPrecondition),
    (vim.fault.TaskInProgress, Unavailable),
    (vim.fault.MethodDisabled, FailedPrecondition),
    (vmodl.fault.InvalidArgument, InvalidArgument),
    (vmodl.fault.NotSupported, FailedPrecondition),
    (vmodl.fault.HostCommunication, Unavailable),
    (vmodl.MethodFault, lambda text: Unavailable(text, Reason.HYPERVISOR_FAILED)),
)


def to_error(fault: BaseException) -> VicError:
    """Return the domain error that says what vCenter, or the way to it, said."""
    if isinstance(fault, VicError):
        return fault
    for kind, make in _MAPPING:
        if isinstance(fault, kind):
            return make(_sentence(fault))
    if isinstance(fault, ssl.SSLCertVerificationError):
        return Unavailable(f"vCenter is not who it should be: {_reason(fault)}")
    if isinstance(fault, TimeoutError):
        return Unavailable("vCenter does not answer")
    if isinstance(fault, OSError):
        return Unavailable(f"vCenter can't be reached: {fault.strerror or fault}")
    if isinstance(fault, http.client.HTTPException):
        return Unavailable(f"vCenter's answer broke off: {fault!r}")
    raise fault


def is_broken_connection(fault: BaseException | None) -> bool:
    """Tell whether it can't be known if the call was carried out."""
    return isinstance(fault, OSError | http.client.HTTPException) and not isinstance(
        fault, ssl.SSLCertVerificationError
    )


def _reason(error: ssl.SSLCertVerificationError) -> str:
    return getattr(error, "verify_message", "") or str(error.args[-1])


def _sentence(fault: Fault) -> str:
    """Return what a fault says, beginning with its type, which is what documents are found by."""
    kind = type(fault).__name__.rpartition(".")[2]
    if isinstance(fault, vim.fault.NoPermission):
        return f"vCenter: {kind}: the privilege {fault.privilegeId or '(unnamed)'} is missing"
    if isinstance(fault, vmodl.fault.InvalidArgument) and fault.invalidProperty:
        return f"vCenter: {kind}: {fault.invalidProperty}"
    if isinstance(fault, vim.fault.InvalidPowerState):
        return f"vCenter: {kind}: it is {fault.existingState}"
    if isinstance(fault, vim.fault.DuplicateName):
        return f"vCenter: {kind}: {fault.name} exists"
    if isinstance(fault, vim.fault.FileFault) and fault.file:
        return f"vCenter: {kind}: {fault.file}"
    text = (getattr(fault, "msg", "") or "").strip().rstrip(".")
    # The simulator's text is its own Go type.
    return f"vCenter: {kind}: {text}" if text and not text.startswith("*") else f"vCenter: {kind}"

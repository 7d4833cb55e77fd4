"""Errors as Docker's clients see them: the one place where a reason becomes status and message.

Routes raise :class:`ApiError` for what they find themselves; what facets refuse arrives as
:class:`~portlayer.errors.VicError` and is translated by :func:`describe`. Programs tell errors
apart by their status, and the docker CLI by a few words in the text ("executable file not found"
makes ``docker run`` exit with 127), so both are dockerd's.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from portlayer.errors import Reason, VicError


class ApiError(Exception):
    """A refusal with its HTTP status; its text goes to the client as it is."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def bad_parameter(message: str) -> ApiError:
    """400: the request can't be right."""
    return ApiError(400, message)


def not_found(message: str) -> ApiError:
    """404: what the request names isn't there."""
    return ApiError(404, message)


def conflict(message: str) -> ApiError:
    """409: the state of what the request names refuses it."""
    return ApiError(409, message)


def not_implemented(what: str) -> ApiError:
    """501: an endpoint or an option that vic knows and doesn't have yet, by its name."""
    return ApiError(501, f"{what} is not implemented yet")


def not_possible(what: str, why: str) -> ApiError:
    """501: an option that a container that is a virtual machine can't have, and the reason."""
    return ApiError(501, f"{what} is not supported: {why}")


@dataclass(frozen=True)
class _Answer:
    """Status, and the sentence where it can be better than the facet's own.

    The sentence's fields come from the error's metadata and from the request's path; where one is
    missing the facet's own message is used.
    """

    status: int
    sentence: str = ""


_ANSWERS: dict[Reason, _Answer] = {
    # exec
    Reason.CONTAINER_NOT_FOUND: _Answer(404, "No such container: {container}"),
    Reason.AMBIGUOUS_REFERENCE: _Answer(400),
    Reason.CONTAINER_EXISTS: _Answer(409),
    Reason.NAME_IN_USE: _Answer(409),
    Reason.SAME_NAME: _Answer(400),
    Reason.INVALID_SPEC: _Answer(400),
    Reason.NO_COMMAND: _Answer(400),
    Reason.INVALID_SIGNAL: _Answer(400),
    Reason.WRONG_STATE: _Answer(409),
    Reason.ALREADY_DONE: _Answer(304),
    Reason.REMOVAL_IN_PROGRESS: _Answer(409),
    Reason.LAUNCH_FAILED: _Answer(400),
    Reason.LIMIT_EXCEEDED: _Answer(507),
    Reason.OPTION_NOT_IMPLEMENTED: _Answer(501),
    Reason.RPC_NOT_IMPLEMENTED: _Answer(501),
    Reason.HISTORY_LOST: _Answer(400),
    Reason.HYPERVISOR_FAILED: _Answer(500),
    Reason.CLONE_FAILED: _Answer(500),
    Reason.FILES_TAKEN: _Answer(409),
    # interaction
    Reason.TETHER_AWAY: _Answer(503),
    Reason.NOT_RUNNING: _Answer(409, "container {container} is not running"),
    # Not 504: dockerd's own.
    Reason.EXEC_NOT_STARTED: _Answer(500),
    Reason.LOGS_NOT_KEPT: _Answer(501, "configured logging driver does not support reading"),
    Reason.EXEC_NOT_FOUND: _Answer(404, "No such exec instance: {exec}"),
    Reason.PATH_NOT_FOUND: _Answer(404, "Could not find the file {path} in container {container}"),
    Reason.PATH_NOT_DIRECTORY: _Answer(400),
    Reason.PATH_READ_ONLY: _Answer(403),
    # network
    Reason.NETWORK_NOT_FOUND: _Answer(404, "network {network} not found"),
    Reason.NETWORK_EXISTS: _Answer(409),
    Reason.INVALID_NETWORK: _Answer(400),
    Reason.POOL_OVERLAPS: _Answer(403),
    Reason.POOLS_EXHAUSTED: _Answer(403),
    Reason.ADDRESSES_EXHAUSTED: _Answer(503),
    Reason.ADDRESS_IN_USE: _Answer(403),
    Reason.INVALID_ADDRESS: _Answer(400),
    Reason.ENDPOINT_NOT_FOUND: _Answer(404),
    Reason.ENDPOINT_EXISTS: _Answer(403),
    # dockerd's own.
    Reason.NOT_CONNECTED: _Answer(500),
    Reason.RESERVATION_EXISTS: _Answer(409),
    Reason.ACTIVE_ENDPOINTS: _Answer(403),
    Reason.PREDEFINED_NETWORK: _Answer(403),
    Reason.TAP_MISSING: _Answer(500),
    Reason.PORT_IN_USE: _Answer(500),
    Reason.HOST_ADDRESS_MISSING: _Answer(500),
    Reason.ALIAS_NOT_FOUND: _Answer(404),
    Reason.PARENT_MISSING: _Answer(500),
    # storage
    # The facet names it with the tag that was meant, as dockerd does.
    Reason.IMAGE_NOT_FOUND: _Answer(404),
    Reason.IMAGE_IN_USE: _Answer(409),
    Reason.IMAGE_HAS_REFERENCES: _Answer(409),
    Reason.INVALID_REFERENCE: _Answer(400),
    Reason.INVALID_MANIFEST: _Answer(500),
    Reason.INVALID_LAYER: _Answer(500),
    Reason.INVALID_ARCHIVE: _Answer(400),
    Reason.MANIFEST_NOT_FOUND: _Answer(404),
    Reason.PULL_DENIED: _Answer(404),
    Reason.REGISTRY_NOT_ALLOWED: _Answer(403),
    # 401 would make the CLI ask for a password in the middle of a pull.
    Reason.REGISTRY_UNAUTHORIZED: _Answer(500),
    Reason.REGISTRY_UNAVAILABLE: _Answer(500),
    Reason.HOST_NOT_FOUND: _Answer(500),
    Reason.ADDRESS_NOT_ALLOWED: _Answer(403),
    Reason.DIGEST_MISMATCH: _Answer(500),
    Reason.STORE_FULL: _Answer(507),
    Reason.STORE_FAILED: _Answer(500),
    Reason.DISK_NOT_FOUND: _Answer(404),
    Reason.DISK_EXISTS: _Answer(409),
    Reason.VOLUME_NOT_FOUND: _Answer(404, "get {volume}: no such volume"),
    Reason.VOLUME_IN_USE: _Answer(409),
    Reason.VOLUME_ATTACHED: _Answer(409),
    Reason.VOLUME_EXISTS: _Answer(409),
    Reason.VOLUMES_RESERVED: _Answer(409),
    Reason.INVALID_VOLUME: _Answer(400),
    Reason.VOLUME_DRIVER_NOT_FOUND: _Answer(404),
    Reason.VOLUME_STORE_NOT_FOUND: _Answer(404),
    Reason.VOLUME_STORE_UNAVAILABLE: _Answer(500),
    # host agent
    # What vCenter refuses is for the administrator to mend.
    Reason.PRIVILEGE_MISSING: _Answer(500),
    Reason.PLATFORM_OBJECT_NOT_FOUND: _Answer(500),
    Reason.PLATFORM_OBJECT_EXISTS: _Answer(500),
    Reason.PLATFORM_OBJECT_CHANGED: _Answer(500),
    Reason.MACHINE_NOT_FOUND: _Answer(500),
    Reason.MACHINE_EXISTS: _Answer(500),
    Reason.PLUG_FAILED: _Answer(500),
    Reason.PARENT_NOT_FOUND: _Answer(500),
    Reason.PARENT_EXISTS: _Answer(500),
    Reason.INVALID_MACHINE: _Answer(500),
    Reason.BOOTSTRAP_NOT_FOUND: _Answer(500),
    # everywhere
    Reason.INVALID_REQUEST: _Answer(400),
    Reason.NOT_AUTHENTICATED: _Answer(500),
    Reason.ROLE_NOT_ALLOWED: _Answer(500),
    Reason.SERVICE_UNAVAILABLE: _Answer(503),
    Reason.DEADLINE: _Answer(504),
    Reason.CANCELLED: _Answer(503),
    Reason.TURN_LOST: _Answer(503),
    Reason.INTERNAL: _Answer(500),
}

# How gRPC says that nobody listens, or no longer; paths of the host follow, which are nobody's
# business.
_GRPC_AWAY = re.compile("failed to connect to all addresses|Stream removed|Socket closed")

# Failures that are the program's; without a name, of a facet of another release.
_OF_THE_PROGRAM = ("", "LAUNCH_FAILURE_NOT_FOUND", "LAUNCH_FAILURE_NOT_EXECUTABLE")

# What docker run's exit code is read from, by the exit code that the launch would have had.
# Source: toStatusError in the docker CLI's cli/command/container/run.go.
_LAUNCH_WORDS = {
    126: ("permission denied", "is a directory"),
    127: ("executable file not found", "no such file or directory"),
}


def describe(error: VicError, path: Mapping[str, str]) -> ApiError:
    """Return Docker's status and message for what a facet refused.

    ``path`` holds the request's path parameters ("container", "image", …), which is how the client
    called what it asked for.
    """
    answer = _ANSWERS.get(error.reason, _Answer(500))
    message = error.message
    if answer.sentence:
        try:
            message = answer.sentence.format_map({**error.metadata, **path})
        except KeyError:
            message = error.message
    if error.reason is Reason.LAUNCH_FAILED:
        message = _launch_message(error)
    if error.reason is Reason.SERVICE_UNAVAILABLE and _GRPC_AWAY.search(message):
        message = "a service of this endpoint is not running at the moment; please try again"
    return ApiError(answer.status, message)


def _launch_message(error: VicError) -> str:
    if error.metadata.get("failure", "") not in _OF_THE_PROGRAM:
        # A user, a directory, a mount: dockerd's sentence has no such words either.
        return error.message
    code = error.metadata.get("exit_code", "")
    words = _LAUNCH_WORDS.get(int(code)) if code.isdigit() else None
    if words is None or any(word in error.message for word in words):
        return error.message
    return f"{error.message}: {words[0]}"

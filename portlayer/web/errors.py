"""What can go wrong between us and a web server, in Docker's words, which are those of Go.

The reasons are named after registries, which nearly all of the servers are that anybody asks.
"""

from __future__ import annotations

from portlayer.errors import PermissionDenied, Reason, Unavailable


class ServerUnavailable(Unavailable):
    """The server can't be reached, or answers what it must not."""

    default_reason = Reason.REGISTRY_UNAVAILABLE


class ServerMisbehaves(ServerUnavailable):
    """The server answers against the specification; asking again wouldn't help."""


class HostNotFound(ServerUnavailable):
    """The server's name doesn't resolve."""

    default_reason = Reason.HOST_NOT_FOUND


class NotTls(ServerUnavailable):
    """An HTTPS request was answered in plain HTTP."""


class AddressRefused(PermissionDenied):
    """All addresses of the server are such as the one who asks may not reach."""

    default_reason = Reason.ADDRESS_NOT_ALLOWED

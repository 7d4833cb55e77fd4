"""Who is who: mTLS credentials of a service, and the identity of the peer of a call.

A server's certificate carries the DNS name ``ROLE.INSTANCE.vic``, which clients check through
``ssl_target_name_override`` (gRPC for Python checks no URI names). A client's carries the URI
``spiffe://INSTANCE.vic/ROLE``, a tether's ``spiffe://INSTANCE.vic/tether/CONTAINER_ID``, which
servers read from the call's auth context.
"""

from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

import grpc

from portlayer.errors import Unauthenticated


class Role(StrEnum):
    """Part that a certificate's holder plays."""

    GATEWAY = "gateway"
    EXEC = "exec"
    INTERACTION = "interaction"
    NETWORK = "network"
    STORAGE = "storage"
    HOSTAGENT = "hostagent"
    INSTALLER = "installer"
    TETHER = "tether"
    # Outside callers.
    ADMIN = "admin"
    OPERATOR = "operator"
    VIEWER = "viewer"


@dataclass(frozen=True)
class Peer:
    """The authenticated other side of a call."""

    instance_id: str
    role: Role
    # Container of a tether, name of an issued client; empty for services.
    subject: str = ""


@dataclass(frozen=True)
class Credentials:
    """PEM files of one service, read once."""

    ca: bytes
    certificate: bytes
    key: bytes

    @classmethod
    def load(cls, directory: Path) -> "Credentials":
        """Read ``ca.crt``, ``tls.crt`` and ``tls.key``. Raises OSError when one can't be read."""
        return cls(
            ca=(directory / "ca.crt").read_bytes(),
            certificate=(directory / "tls.crt").read_bytes(),
            key=(directory / "tls.key").read_bytes(),
        )

    def server(self) -> grpc.ServerCredentials:
        """Return credentials of a server that insists on a client's certificate."""
        return grpc.ssl_server_credentials(
            [(self.key, self.certificate)],
            root_certificates=self.ca,
            require_client_auth=True,
        )

    def channel(self) -> grpc.ChannelCredentials:
        """Return credentials of a client."""
        return grpc.ssl_channel_credentials(
            root_certificates=self.ca,
            private_key=self.key,
            certificate_chain=self.certificate,
        )


def server_name(role: Role, instance_id: str) -> str:
    """Return the DNS name in the certificate of the server that plays a role."""
    return f"{role.value}.{instance_id}.vic"


def peer_uri(role: Role, instance_id: str, subject: str = "") -> str:
    """Return the URI in the certificate of a client that plays a role."""
    return f"spiffe://{instance_id}.vic/{role.value}" + (f"/{subject}" if subject else "")


@lru_cache(maxsize=4096)  # each call brings its peer's, which are few
def parse_peer_uri(uri: str) -> Peer:
    """Return the peer that a URI names. Raises Unauthenticated when it is not one of ours."""
    parts = urlsplit(uri)
    instance_id, dot, suffix = parts.netloc.partition(".")
    role, _, subject = parts.path.removeprefix("/").partition("/")
    if parts.scheme != "spiffe" or not dot or suffix != "vic" or role not in set(Role):
        raise Unauthenticated(f"the certificate names no known role: {uri}")
    return Peer(instance_id, Role(role), subject)


def peer_of(auth_context: Mapping[str, Iterable[bytes]]) -> Peer:
    """Return the peer of a call from gRPC's auth context. Raises Unauthenticated."""
    names = auth_context.get("x509_subject_alternative_name", [])
    for name in names:
        text = name.decode("utf-8", "replace")
        if text.startswith("spiffe://"):
            return parse_peer_uri(text)
    raise Unauthenticated("the certificate carries no identity")


current_peer: ContextVar[Peer] = ContextVar("current_peer")
"""Peer of the call that the current task serves; set by the server interceptor."""

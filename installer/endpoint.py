"""The Docker endpoint: which address was asked for, and the listening socket for it."""

import errno
import grp
import ipaddress
import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path

from installer.errors import PreconditionError, UsageError

BACKLOG = 4096
"""Connections that wait while a gateway is restarted; the kernel caps it at somaxconn."""

SOCKET_GROUP = "docker"
"""Members of this group, where the machine has it, may use the Unix socket, as with dockerd."""

TETHER_PORT = 7443
"""Port of interaction on each management network, the default of the network service's settings."""


@dataclass(frozen=True)
class UnixEndpoint:
    """A Unix socket."""

    path: Path

    def __str__(self) -> str:
        return f"unix://{self.path}"

    def listen(self) -> socket.socket:
        """Bind the socket. A stale one of a past run is replaced.

        Raises PreconditionError when someone listens there already, or when the path is no socket.
        """
        self._clear()
        try:
            self.path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        except OSError as error:
            raise PreconditionError(f"cannot listen on {self}: {error}") from error
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            previous = os.umask(0o117)
            try:
                listener.bind(str(self.path))
            finally:
                os.umask(previous)
            os.chown(self.path, 0, _socket_group())
            listener.listen(BACKLOG)
        except OSError as error:
            listener.close()
            raise PreconditionError(f"cannot listen on {self}: {error.strerror}") from error
        return listener

    def connect(self, seconds: float) -> socket.socket:
        """Return a connection to it."""
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        client.settimeout(seconds)
        try:
            client.connect(str(self.path))
        except BaseException:
            client.close()
            raise
        return client

    def _clear(self) -> None:
        if not self.path.exists() and not self.path.is_symlink():
            return
        if not self.path.is_socket():
            raise PreconditionError(f"{self.path} exists and is not a socket")
        try:
            self.connect(1.0).close()
        except ConnectionRefusedError:
            self.path.unlink(missing_ok=True)
        except TimeoutError:
            raise PreconditionError(in_use(self)) from None
        else:
            raise PreconditionError(in_use(self))


@dataclass(frozen=True)
class TcpEndpoint:
    """A TCP port; a plain one is on a loopback address."""

    address: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether only this host reaches it."""
        return ipaddress.ip_address(self.address).is_loopback

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"tcp://{host}:{self.port}"

    def listen(self) -> socket.socket:
        """Bind the socket. Raises PreconditionError when the port is taken."""
        family = socket.AF_INET6 if ":" in self.address else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((self.address, self.port))
            listener.listen(BACKLOG)
        except OSError as error:
            listener.close()
            if error.errno == errno.EADDRINUSE:
                raise PreconditionError(in_use(self)) from error
            raise PreconditionError(f"cannot listen on {self}: {error.strerror}") from error
        return listener

    def connect(self, seconds: float) -> socket.socket:
        """Return a connection to it."""
        return socket.create_connection((self.address, self.port), timeout=seconds)


Endpoint = UnixEndpoint | TcpEndpoint


def note_bound(endpoint: Endpoint, note: Path) -> None:
    """Note which file the endpoint has that was just bound; a port has none."""
    note.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    note.unlink(missing_ok=True)
    if isinstance(endpoint, UnixEndpoint):
        status = endpoint.path.lstat()
        fields = {"path": str(endpoint.path), "file": [status.st_dev, status.st_ino]}
        note.write_text(json.dumps(fields))


def remove_bound(note: Path) -> None:
    """Remove the socket that was noted, once. Another program's, at its path by now, stays."""
    try:
        fields = json.loads(note.read_text())
        path = Path(fields["path"])
        status = path.lstat()
        if [status.st_dev, status.st_ino] == fields["file"]:
            path.unlink()
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        pass  # there is none, or none any more
    # Its number may be another file's from now on.
    note.unlink(missing_ok=True)


def in_use(endpoint: Endpoint) -> str:
    """Return the sentence for an endpoint that someone else has."""
    return (
        f"{endpoint} is in use by another program; stop that one or choose another endpoint "
        "with --host"
    )


def check_port(endpoint: Endpoint) -> None:
    """Raise UsageError for a port that no endpoint can have.

    Container VMs of all instances are kept from an endpoint's port, and have to reach their own
    interaction at theirs.
    """
    if isinstance(endpoint, TcpEndpoint) and endpoint.port == TETHER_PORT:
        raise UsageError(
            f"invalid --host {str(endpoint)!r}: at port {TETHER_PORT} container VMs reach their "
            "services; choose another port, such as 2376"
        )


def parse_endpoint(text: str) -> Endpoint:
    """Read ``unix:///PATH`` or ``tcp://ADDRESS:PORT``.

    Raises UsageError for anything else. Whether a TCP address is to be served is another question:
    off loopback it must not be without TLS.
    """
    scheme, separator, rest = text.partition("://")
    if separator and scheme == "unix":
        return _parse_unix(text, rest)
    if separator and scheme == "tcp":
        return _parse_tcp(text, rest)
    raise UsageError(f"invalid --host {text!r}: expected unix:///PATH or tcp://127.0.0.1:PORT")


def _parse_unix(text: str, rest: str) -> UnixEndpoint:
    if not rest.startswith("/") or rest.endswith("/"):
        raise UsageError(f"invalid --host {text!r}: a Unix socket needs an absolute path")
    if len(os.fsencode(rest)) > 107:
        raise UsageError(f"invalid --host {text!r}: a socket's path has at most 107 bytes")
    return UnixEndpoint(Path(rest))


def _parse_tcp(text: str, rest: str) -> TcpEndpoint:
    host, separator, port = rest.rpartition(":")
    if not separator or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65535:
        raise UsageError(f"invalid --host {text!r}: expected tcp://127.0.0.1:PORT")
    name = host.removeprefix("[").removesuffix("]")
    if name == "localhost":
        return TcpEndpoint("127.0.0.1", int(port))
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        raise UsageError(f"invalid --host {text!r}: {name!r} is not an IP address") from None
    return TcpEndpoint(str(address), int(port))


def _socket_group() -> int:
    try:
        return grp.getgrnam(SOCKET_GROUP).gr_gid
    except KeyError:
        return 0

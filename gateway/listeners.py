"""The sockets on which Docker's clients arrive."""

import ipaddress
import socket
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

# The kernel cuts it to net.core.somaxconn.
BACKLOG = 4096


class ListenError(Exception):
    """An endpoint that can't or mustn't be served; the text says why."""


def inherited(descriptors: Iterable[int], *, tls: bool = False) -> list[socket.socket]:
    """Take over listening sockets that the parent process has bound.

    Raises ListenError when one is no listening socket, or is plain TCP off loopback.
    """
    sockets = []
    for descriptor in descriptors:
        try:
            listener = socket.socket(fileno=descriptor)
        except OSError as error:
            raise ListenError(f"descriptor {descriptor} is no socket: {error.strerror}") from None
        if not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise ListenError(f"descriptor {descriptor} is no listening socket")
        if listener.family != socket.AF_UNIX and not tls:
            insist_on_loopback(listener.getsockname()[0])
        listener.set_inheritable(False)
        sockets.append(listener)
    return sockets


def bound(
    addresses: Iterable[str], *, tls: bool = False, share_ports: bool = False
) -> list[socket.socket]:
    """Listen on ``unix:///PATH`` and ``tcp://ADDRESS:PORT`` addresses. Raises ListenError.

    With `share_ports` other gateways may listen on the same TCP ports.
    """
    return [_bind(address, tls=tls, share_ports=share_ports) for address in addresses]


def insist_on_loopback(address: str) -> None:
    """Raise ListenError unless a plain TCP listener may serve on this IP address."""
    if not ipaddress.ip_address(address.partition("%")[0]).is_loopback:
        raise ListenError(
            f"refusing to serve the Docker API on {address} over plain TCP: whoever reaches it "
            "controls every container. Use a unix socket, a loopback address, or TLS."
        )


def _bind(address: str, *, tls: bool, share_ports: bool) -> socket.socket:
    parts = urlsplit(address)
    try:
        if parts.scheme == "unix" and parts.path and not parts.netloc:
            return _bind_unix(Path(parts.path))
        if parts.scheme == "tcp" and parts.hostname and parts.port:
            host = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname
            if not tls:
                insist_on_loopback(host)
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            return socket.create_server(
                (host, parts.port), family=family, backlog=BACKLOG, reuse_port=share_ports
            )
    except OSError as error:
        raise ListenError(f"cannot listen on {address}: {error.strerror}") from error
    except ValueError as error:
        raise ListenError(f"invalid address {address}: {error}") from None
    raise ListenError(f"invalid address {address}: expected unix:///PATH or tcp://ADDRESS:PORT")


def _bind_unix(path: Path) -> socket.socket:
    if path.is_socket():
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()  # left behind by a process that is no more
            else:
                raise ListenError(f"cannot listen on unix://{path}: another process serves it")
    listener = socket.socket(socket.AF_UNIX)
    try:
        listener.bind(str(path))
        path.chmod(0o660)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener

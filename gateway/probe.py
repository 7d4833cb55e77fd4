"""Whether the gateway of a container serves: ``python -m gateway.probe``; 0 if so, else 1.

By ``GET /_ping`` at the Unix socket that it listens on besides its endpoint: at a TCP port that
replicas share, another one might answer. Where the endpoint speaks TLS, so does that socket, and
only to clients with a certificate, which a gateway has not: there, that it asks for one will do.
"""

import socket
import ssl
import sys
from collections.abc import Iterable

from gateway.settings import GatewaySettings

PROBE_SECONDS = 20.0
_PING = b"GET /_ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
_SCHEME = "unix://"


def own_socket(addresses: Iterable[str]) -> str:
    """Return the path of the last Unix socket among addresses. Raises ValueError."""
    paths = [text.removeprefix(_SCHEME) for text in addresses if text.startswith(_SCHEME)]
    if not paths:
        raise ValueError("the gateway listens on no Unix socket; a probe needs one")
    return paths[-1]


def serves(path: str, *, tls: bool) -> bool:
    """Ask the gateway."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PROBE_SECONDS)
        try:
            client.connect(path)
            return _is_asked_for_certificate(client) if tls else _is_answered(client)
        except OSError as error:
            print(f"{path} does not answer: {error}", file=sys.stderr)
            return False


def _is_answered(client: socket.socket) -> bool:
    client.sendall(_PING)
    return client.recv(64).startswith(b"HTTP/1.1 200 ")


def _is_asked_for_certificate(client: socket.socket) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with context.wrap_socket(client) as wrapped:
            wrapped.sendall(_PING)
            wrapped.recv(64)
    except ssl.SSLError as error:
        return error.reason == "TLSV13_ALERT_CERTIFICATE_REQUIRED"
    return False


def main() -> int:
    """Probe as the environment says."""
    settings = GatewaySettings.from_command_line()
    return 0 if serves(own_socket(settings.gateway_listen), tls=settings.tls_verify) else 1


if __name__ == "__main__":
    sys.exit(main())

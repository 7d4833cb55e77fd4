"""Which vCenter, as whom, and how it proves that it is the one."""

import hashlib
import os
import re
import socket
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from portlayer.errors import InvalidArgument

PASSWORD_VARIABLE = "VIC_PASSWORD"  # noqa: S105 - the name of one
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Target:
    """A vCenter and who works there.

    That is a user with the password in ``password_file``, or in the environment's ``VIC_PASSWORD``
    where there is no file; or, where there is a ``certificate_file`` (certificate and key, PEM),
    the extension whose key is ``user``. What is in files is read at each login, so that a changed
    password or a renewed certificate needs no restart.

    The server is believed by the SHA-256 ``thumbprint`` of its certificate, or by the authorities
    in ``ca_file``; by the machine's own where neither is given.
    """

    host: str
    user: str
    password_file: Path | None = field(default=None, repr=False)
    port: int = 443
    thumbprint: str = ""
    ca_file: Path | None = None
    certificate_file: Path | None = None

    def password(self) -> str:
        """Return the password. Raises InvalidArgument."""
        if self.password_file is None:
            told = os.environ.get(PASSWORD_VARIABLE, "")
            if not told:
                raise InvalidArgument(
                    f"vCenter's password is neither in a file nor in {PASSWORD_VARIABLE}"
                )
            return told
        try:
            return self.password_file.read_text().rstrip("\n")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise InvalidArgument(f"vCenter's password file can't be read: {reason}") from None

    def tls(self, *, client: bool = False) -> ssl.SSLContext:
        """Return how connections are secured, with our own certificate as a ``client``.

        Raises InvalidArgument.
        """
        if self.thumbprint:
            context = _pinned(parse_thumbprint(self.thumbprint))
        else:
            context = self._verifying()
        if client and self.certificate_file is not None:
            try:
                context.load_cert_chain(self.certificate_file)
            except OSError as error:
                raise InvalidArgument(
                    f"no certificate with its key can be read from {self.certificate_file}: "
                    f"{error.strerror or error}"
                ) from None
        return context

    def _verifying(self) -> ssl.SSLContext:
        context = _OfOneHost(ssl.PROTOCOL_TLS_CLIENT)
        context.host = self.host
        if self.ca_file is None:
            context.load_default_certs()
            return context
        try:
            context.load_verify_locations(cafile=self.ca_file)
        except OSError as error:
            raise InvalidArgument(
                f"the authorities in {self.ca_file} can't be read: {error.strerror or error}"
            ) from None
        return context


class _OfOneHost(ssl.SSLContext):
    """Expects the certificate of one host, by whatever name a connection is asked for."""

    host: str

    def wrap_socket(  # type: ignore[override]
        self, sock: socket.socket, server_hostname: str | None = None, **kwargs: Any
    ) -> ssl.SSLSocket:
        return super().wrap_socket(sock, server_hostname=self.host, **kwargs)


def parse_thumbprint(text: str) -> str:
    """Return a SHA-256 thumbprint as 64 hexadecimal digits. Raises InvalidArgument."""
    digits = text.replace(":", "").lower()
    if not _SHA256.fullmatch(digits):
        raise InvalidArgument(
            f"{text!r} is no SHA-256 thumbprint: 64 hexadecimal digits, with colons or without"
        )
    return digits


def _pinned(thumbprint: str) -> ssl.SSLContext:
    """Return a context that accepts one certificate and no other, whoever has signed it.

    pyvmomi's own ``thumbprint`` doesn't do that: it is only looked at when the chain could not be
    verified. A check in the handshake holds for every connection that is made from the context.
    """

    class PinnedSocket(ssl.SSLSocket):
        def do_handshake(self, block: bool = False) -> None:
            super().do_handshake(block)
            certificate = self.getpeercert(binary_form=True) or b""
            found = hashlib.sha256(certificate).hexdigest()
            if found != thumbprint:
                raise ssl.SSLCertVerificationError(
                    f"the server's certificate has the thumbprint {colons(found)}"
                )

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.sslsocket_class = PinnedSocket
    return context


def colons(digits: str) -> str:
    """Return a digest as vCenter's own pages show it: pairs of capital digits with colons."""
    return ":".join(digits[i : i + 2] for i in range(0, len(digits), 2)).upper()

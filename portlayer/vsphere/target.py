"""Which vCenter, as whom, and how it proves that it is the one."""

import hashlib
import os
import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from portlayer.errors import InvalidArgument

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Target:
    """A vCenter and the user that works there.

    The password is read from ``password_file`` at each login, so that a changed one needs no
    restart. The server is believed by the SHA-256 ``thumbprint`` of its certificate, or by the
    authorities in ``ca_file``; by the machine's own where neither is given.
    """

    host: str
    user: str
    password_file: Path = field(repr=False)
    port: int = 443
    thumbprint: str = ""
    ca_file: Path | None = None

    def password(self) -> str:
        """Return the password. Raises InvalidArgument."""
        try:
            return self.password_file.read_text().rstrip("\n")
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise InvalidArgument(f"vCenter's password file can't be read: {reason}") from None

    def tls(self) -> ssl.SSLContext:
        """Return how connections are secured. Raises InvalidArgument."""
        if self.thumbprint:
            return _pinned(parse_thumbprint(self.thumbprint))
        if self.ca_file is None:
            return ssl.create_default_context()
        try:
            return ssl.create_default_context(cafile=os.fspath(self.ca_file))
        except OSError as error:
            raise InvalidArgument(
                f"the authorities in {self.ca_file} can't be read: {error.strerror or error}"
            ) from None


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

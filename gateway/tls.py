"""TLS of the endpoint: its certificate's names, and telling a client why it is refused."""

import ssl
from pathlib import Path

from cryptography import x509


def certified_names(directory: Path) -> list[str]:
    """Host names in the endpoint's certificate: under those its clients come.

    Raises OSError and ValueError for a certificate that can't be read.
    """
    certificate = x509.load_pem_x509_certificate((directory / "tls.crt").read_bytes())
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return list(names.value.get_values_for_type(x509.DNSName))


class RefusingHandshake(ssl.SSLObject):
    """A connection's TLS that tells its client why the handshake fails, as dockerd's does.

    asyncio drops a connection whose handshake fails, and with it the alert that says whether the
    client's certificate is missing, expired or another authority's. Here the failure looks as if
    more were to come, for which asyncio sends what there is and waits: the client reads the alert
    and goes, and one that stays is cut off when the time for handshakes is over. What it sends
    meanwhile meets the same failure.
    """

    _failure: ssl.SSLError | None = None

    def do_handshake(self) -> None:
        """Go on with the handshake. Raises SSLError for a second time when it has failed."""
        if self._failure is not None:
            raise self._failure
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLSyscallError):
            raise
        except ssl.SSLError as error:
            self._failure = error
            raise ssl.SSLWantReadError from error

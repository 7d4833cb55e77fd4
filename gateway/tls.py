"""The endpoint's own certificate, as far as requests are judged by it."""

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

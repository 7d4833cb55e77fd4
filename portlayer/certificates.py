"""What the suite's X.509 certificates have in common, whoever makes them."""

from cryptography import x509


def key_usage(*, certificates: bool) -> x509.KeyUsage:
    """Return what a key signs: certificates and their revocation, or anything else.

    Source: RFC 5280, section 4.2.1.3.
    """
    return x509.KeyUsage(
        digital_signature=not certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certificates,
        crl_sign=certificates,
        encipher_only=False,
        decipher_only=False,
    )

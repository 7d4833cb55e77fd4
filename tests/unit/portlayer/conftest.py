"""A certificate authority for tests, and a server and client that use it."""

import datetime
from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from portlayer.identity import Credentials, Role, peer_uri, server_name

INSTANCE = "0123abcd"


class TestAuthority:
    """Issues certificates as the installer does."""

    __test__ = False

    def __init__(self) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test CA")])
        self.certificate = (
            self._builder(self.name, self.key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self.key, hashes.SHA256())
        )

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            # Some are one for all tests, which may take hours.
            .not_valid_after(now + datetime.timedelta(days=1))
        )

    def issue(self, role: Role, subject: str = "", instance: str = INSTANCE) -> Credentials:
        """Return credentials of a role."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, role.value)])
        alternatives: list[x509.GeneralName] = [
            x509.DNSName(server_name(role, instance)),
            x509.UniformResourceIdentifier(peer_uri(role, instance, subject)),
        ]
        certificate = (
            self._builder(name, key)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        pem = serialization.Encoding.PEM
        return Credentials(
            ca=self.certificate.public_bytes(pem),
            certificate=certificate.public_bytes(pem),
            key=key.private_bytes(
                pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
        )


@pytest.fixture(scope="session")
def authority() -> TestAuthority:
    """One authority for all tests: making keys costs milliseconds."""
    return TestAuthority()


@pytest.fixture(scope="session")
def issue(authority: TestAuthority) -> Callable[..., Credentials]:
    """Return the function that issues credentials."""
    return authority.issue

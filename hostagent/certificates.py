"""The one key pair that a tether has, made at its machine's launch and kept nowhere."""

import datetime
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from portlayer.identity import Role, peer_uri

# A guest's clock may be a little behind ours.
BACKDATE = datetime.timedelta(hours=1)
# A machine may run for years, and its tether has no way to get another certificate while it does.
LIFETIME = datetime.timedelta(days=10 * 365)


@dataclass(frozen=True)
class TetherIdentity:
    """PEM of a certificate and of its key."""

    certificate: str
    key: str

    def __repr__(self) -> str:
        """Without the key, so that it can't reach a log."""
        return "TetherIdentity(…)"


class TetherAuthority:
    """Issues tethers' certificates with the instance's own authority."""

    def __init__(
        self, instance_id: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey
    ) -> None:
        self._instance_id = instance_id
        self._certificate = certificate
        self._key = key
        self._key_identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
        self.pem = certificate.public_bytes(serialization.Encoding.PEM).decode()

    @classmethod
    def load(cls, instance_id: str, directory: Path) -> "TetherAuthority":
        """Read ``ca.crt`` and ``ca.key``. Raises OSError, or ValueError where they are damaged."""
        certificate = x509.load_pem_x509_certificate((directory / "ca.crt").read_bytes())
        key = serialization.load_pem_private_key((directory / "ca.key").read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError(f"{directory}/ca.key: not an EC key")
        return cls(instance_id, certificate, key)

    def issue(self, container_id: str) -> TetherIdentity:
        """Make a P-256 key and a certificate that names one container's tether. Under 1 ms."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.datetime.now(datetime.UTC)
        ends = min(now + LIFETIME, self._certificate.not_valid_after_utc)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, container_id)])
        uri = peer_uri(Role.TETHER, self._instance_id, container_id)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATE)
            .not_valid_after(ends)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_SIGNATURES_ONLY, critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .add_extension(
                x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=False
            )
            .add_extension(self._key_identifier, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return _in_pem(certificate, key)


def throwaway(server_name: str) -> TetherIdentity:
    """Make a key and a certificate that only itself vouches for: good for nothing but a rehearsal.

    It is for server and client at once, and its own authority.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, server_name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + BACKDATE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(server_name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _in_pem(certificate, key)


def _in_pem(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> TetherIdentity:
    return TetherIdentity(
        certificate.public_bytes(serialization.Encoding.PEM).decode(),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode(),
    )


_SIGNATURES_ONLY = x509.KeyUsage(
    digital_signature=True,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=False,
    crl_sign=False,
    encipher_only=False,
    decipher_only=False,
)

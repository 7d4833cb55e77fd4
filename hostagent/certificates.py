"""The one key pair that a tether has, made at its machine's launch and kept nowhere."""

import datetime
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from portlayer.certificates import key_usage
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
            .add_extension(key_usage(certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .add_extension(
                x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=False
            )
            .add_extension(self._key_identifier, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return _in_pem(certificate, key)


def throwaway(server_name: str) -> tuple[TetherIdentity, str]:
    """Make a key and a certificate, for server and client at once, and an authority in PEM.

    Nobody else trusts that, and its key is forgotten: they are good for nothing but a rehearsal. In
    it they are checked as those of tether and interaction are, which have all that these have.
    """
    own, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{server_name} authority")])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, server_name)])
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
    key_identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    ca = (
        _short_lived(authority, authority, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate = (
        _short_lived(subject, authority, own.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(key_identifier, critical=False)
        .add_extension(
            x509.SubjectAlternativeName(
                [
                    x509.DNSName(server_name),
                    x509.UniformResourceIdentifier(f"spiffe://{server_name}.vic/tether"),
                ]
            ),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    return _in_pem(certificate, own), ca.public_bytes(serialization.Encoding.PEM).decode()


def _short_lived(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + BACKDATE)
    )


def _in_pem(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> TetherIdentity:
    return TetherIdentity(
        certificate.public_bytes(serialization.Encoding.PEM).decode(),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode(),
    )

"""The instance's certificate authority and the certificates it gives out.

One authority an instance, P-256, its key readable by root alone. A process's certificate serves
both sides of mTLS: its DNS name ``ROLE.<instance id>.vic`` is what clients check (gRPC for Python
checks no URI), its URI ``spiffe://<instance id>.vic/ROLE`` is what servers read the caller's role
from. A certificate for an outside caller has the URI alone.
"""

import datetime
import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from installer.errors import InstallerError
from installer.instance import write_file
from installer.ownership import read_plainly
from portlayer.certificates import key_usage

AUTHORITY_LIFETIME = datetime.timedelta(days=3650)
CERTIFICATE_LIFETIME = datetime.timedelta(days=365)
RENEW_BEFORE = datetime.timedelta(days=60)
"""A certificate with less than this left is renewed at the next start or daily check."""

_LARGEST_FILE = 1 << 20
"""Bytes of a key, a certificate or a list of authorities."""

# A machine whose clock is a little behind must accept what was issued just now.
BACKDATE = datetime.timedelta(hours=1)

CA_CERTIFICATE = "ca.crt"
AUTHORITY_KEY = "ca.key"
CERTIFICATE = "tls.crt"
KEY = "tls.key"


@dataclass(frozen=True)
class Names:
    """What the files of an identity are called."""

    authority: str
    key: str
    certificate: str


NAMES = Names(CA_CERTIFICATE, KEY, CERTIFICATE)


@dataclass(frozen=True)
class Identity:
    """A private key with its certificate, as PEM, and the authority that vouches for it."""

    certificate: bytes
    key: bytes
    authority: bytes

    def write(self, directory: Path, *, owner: tuple[int, int], names: Names = NAMES) -> None:
        """Put the three files into a directory that only `owner` and root may enter."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.chown(directory, *owner)
        directory.chmod(0o700)
        write_file(directory / names.authority, self.authority, mode=0o444, owner=owner)
        write_file(directory / names.key, self.key, mode=0o400, owner=owner)
        write_file(directory / names.certificate, self.certificate, mode=0o444, owner=owner)


class Authority:
    """The instance's certificate authority."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._certificate = certificate
        self._key = key

    @classmethod
    def create(cls, instance_id: str) -> "Authority":
        """Make a new authority with a key of its own."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"vic {instance_id} authority")])
        public = key.public_key()
        builder = (
            _builder(name, name, public, AUTHORITY_LIFETIME)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(key_usage(certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        )
        return cls(builder.sign(key, hashes.SHA256()), key)

    @classmethod
    def load(cls, directory: Path) -> "Authority":
        """Read an authority from disk. Raises InstallerError when it is damaged."""
        try:
            certificate = x509.load_pem_x509_certificate((directory / CA_CERTIFICATE).read_bytes())
            key = serialization.load_pem_private_key((directory / AUTHORITY_KEY).read_bytes(), None)
        except PermissionError as error:
            raise InstallerError(
                f"cannot read the authority's key in {directory}: permission denied; run as root"
            ) from error
        except (OSError, ValueError) as error:
            raise InstallerError(f"the authority in {directory} is damaged: {error}") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise InstallerError(f"the authority in {directory} is damaged: not an EC key")
        return cls(certificate, key)

    def write(self, directory: Path) -> None:
        """Put certificate and key on disk, the key for root alone.

        The key comes last: where it is there the authority is whole.
        """
        write_file(directory / CA_CERTIFICATE, self.pem, mode=0o444)
        write_file(directory / AUTHORITY_KEY, _key_pem(self._key), mode=0o600)

    @property
    def pem(self) -> bytes:
        """The authority's certificate."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def issue(
        self,
        common_name: str,
        *,
        uri: str = "",
        dns_names: Sequence[str] = (),
        addresses: Sequence[str] = (),
        lifetime: datetime.timedelta = CERTIFICATE_LIFETIME,
    ) -> Identity:
        """Make a key and a certificate for it. With DNS names it is good for servers as well."""
        key = ec.generate_private_key(ec.SECP256R1())
        public = key.public_key()
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        names: list[x509.GeneralName] = [x509.DNSName(name) for name in dns_names]
        names += [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
        if uri:
            names.append(x509.UniformResourceIdentifier(uri))
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
        if dns_names:
            usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
        builder = (
            _builder(subject, self._certificate.subject, public, lifetime)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(key_usage(certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return Identity(
            certificate.public_bytes(serialization.Encoding.PEM), _key_pem(key), self.pem
        )


def needs_renewal(directory: Path, authority: Authority, names: Names = NAMES) -> bool:
    """Tell whether the certificate in a directory is missing, expiring, or another authority's.

    So it is where the key isn't its own: who renewed it was killed between the two. The directory
    may be a facet's own, which may put anything there.
    """
    try:
        certificate = read_certificate(directory / names.certificate)
        key = serialization.load_pem_private_key(_read(directory / names.key), None)
        present = _read(directory / names.authority) == authority.pem
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm):
        return True
    left = certificate.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    return not present or key.public_key() != certificate.public_key() or left < RENEW_BEFORE


def read_certificate(path: Path) -> x509.Certificate:
    """Read a certificate from a directory that may be a facet's own. Raises OSError, ValueError."""
    return x509.load_pem_x509_certificate(_read(path))


def _read(path: Path) -> bytes:
    return read_plainly(path, _LARGEST_FILE)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey,
    lifetime: datetime.timedelta,
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + lifetime)
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )

"""A vCenter to test against: Debian's simulator with a main of our own, built and started here.

The simulator is Go source in a Debian package; building it takes half a minute, so what is built is
kept in ``/var/cache/vic/tests`` by the digest of its source.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from portlayer.vsphere.target import Target

SOURCES = sorted(Path(__file__).parent.glob("*.go"))
CACHE = Path("/var/cache/vic/tests")
# Beyond 127.0.0.1, where pyvmomi verifies nothing by itself.
HOST = "127.0.0.2"
USER = "operator@vsphere.local"
PASSWORD = "not to be shown"


def build() -> Path:
    """Return the simulator's program."""
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in SOURCES)).hexdigest()[:16]
    program = CACHE / f"vcenter-{digest}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "vcenter.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            _build(program)
    return program


def _build(program: Path) -> None:
    with tempfile.TemporaryDirectory(dir=CACHE) as made:
        package = Path(made, "src/vcenter")
        package.mkdir(parents=True)
        for path in SOURCES:
            shutil.copy(path, package)
        built = Path(made, "vcenter")
        environment = os.environ | {
            "GO111MODULE": "off",
            "GOFLAGS": "",
            "GOPATH": f"{made}:/usr/share/gocode",
            "GOCACHE": f"{made}/cache",
        }
        subprocess.run(["go", "build", "-o", built, "vcenter"], check=True, env=environment)
        built.rename(program)


@dataclass
class Certificate:
    """A self-signed one, of a host."""

    pem: bytes
    thumbprint: str


@dataclass
class CertificateAuthority:
    """Who vouches for servers."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> bytes:
        """Its certificate, as a file of authorities has it."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)


def make_authority() -> CertificateAuthority:
    """Make an authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority of tests")])
    constraints = x509.BasicConstraints(ca=True, path_length=0)
    builder = _certificate(name, name, key).add_extension(constraints, critical=True)
    return CertificateAuthority(key, builder.sign(key, hashes.SHA256()))


def make_certificate(
    host: str = HOST, authority: CertificateAuthority | None = None
) -> Certificate:
    """Make a certificate and key as one PEM text, self-signed or by an authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    if authority is None:
        certificate = _certificate(name, name, key).sign(key, hashes.SHA256())
    else:
        address = x509.SubjectAlternativeName([x509.IPAddress(ip_address(host))])
        builder = _certificate(name, authority.certificate.subject, key)
        builder = builder.add_extension(address, critical=False)
        certificate = builder.sign(authority.key, hashes.SHA256())
    pem = certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return Certificate(pem, certificate.fingerprint(hashes.SHA256()).hex())


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
    )


@dataclass
class Simulator:
    """A vCenter that runs."""

    directory: Path
    certificate: Certificate
    options: tuple[str, ...]
    port: int = 0
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        """Start it, on the port it had before, where it had one; its inventory is new."""
        pem = self.directory / "certificate.pem"
        pem.write_bytes(self.certificate.pem)
        command = [str(build()), "-listen", f"{HOST}:{self.port}", "-certificate", str(pem)]
        command += ["-user", USER, "-password", PASSWORD, *self.options]
        # It makes its datastores in the temporary directory, and removes none of them.
        environment = os.environ | {"TMPDIR": str(self.directory)}
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
            )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline().decode().rpartition(":")[2])

    def stop(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def target(self, *, password: str = PASSWORD, thumbprint: str | None = None) -> Target:
        """Return how to log in; pinned, unless another thumbprint is given."""
        file = self.directory / f"password-{hashlib.sha256(password.encode()).hexdigest()[:8]}"
        file.write_text(password + "\n")
        pin = self.certificate.thumbprint if thumbprint is None else thumbprint
        return Target(HOST, USER, file, self.port, pin)

    def extension(self, host: str, key: str = "org.example.vic") -> Target:
        """Return how to log in by a certificate at a simulator with ``-proxy 80``."""
        file = self.directory / "extension.pem"
        file.write_bytes(make_certificate("extension").pem)
        pin = self.certificate.thumbprint
        return Target(host, key, port=self.port, thumbprint=pin, certificate_file=file)


@contextmanager
def simulator(*options: str, certificate: Certificate | None = None) -> Iterator[Simulator]:
    """Run a vCenter with options of ``main.go``."""
    with tempfile.TemporaryDirectory() as directory:
        made = Simulator(Path(directory), certificate or make_certificate(), options)
        made.start()
        try:
            yield made
        finally:
            made.stop()

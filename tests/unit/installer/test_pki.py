"""The instance's authority and what it issues."""

import contextlib
import datetime
import itertools
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID

from installer import layout, pki
from installer.errors import InstallerError
from installer.instance import Instance, Options, write_file
from installer.pki import RENEW_BEFORE, Authority, Identity, needs_renewal
from installer.roles import PROCESSES
from portlayer.identity import Credentials, Role

ME = (os.getuid(), os.getgid())
URI = "spiffe://0a1b2c3d.vic/exec"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create("0a1b2c3d")


def issue(authority: Authority, days: float = 365) -> Identity:
    return authority.issue(
        "exec",
        uri=URI,
        dns_names=["exec.0a1b2c3d.vic"],
        lifetime=datetime.timedelta(days=days),
    )


def names(identity: Identity) -> tuple[list[str], list[str]]:
    certificate = x509.load_pem_x509_certificate(identity.certificate)
    found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return (
        found.get_values_for_type(x509.DNSName),
        found.get_values_for_type(x509.UniformResourceIdentifier),
    )


def test_a_service_is_named_by_dns_for_clients_and_by_uri_for_servers(
    authority: Authority,
) -> None:
    assert names(issue(authority)) == (["exec.0a1b2c3d.vic"], [URI])


def test_a_chain_verifies_for_servers_and_clients(authority: Authority) -> None:
    certificate = x509.load_pem_x509_certificate(issue(authority).certificate)
    store = verification.Store([x509.load_pem_x509_certificate(authority.pem)])
    builder = verification.PolicyBuilder().store(store)
    builder.build_server_verifier(x509.DNSName("exec.0a1b2c3d.vic")).verify(certificate, [])
    builder.build_client_verifier().verify(certificate, [])


def test_an_outside_caller_cannot_pose_as_a_server(authority: Authority) -> None:
    identity = authority.issue("ops", uri="spiffe://0a1b2c3d.vic/viewer/ops")
    certificate = x509.load_pem_x509_certificate(identity.certificate)
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def test_another_authority_vouches_for_nothing_here(authority: Authority) -> None:
    certificate = x509.load_pem_x509_certificate(issue(Authority.create("0a1b2c3d")).certificate)
    store = verification.Store([x509.load_pem_x509_certificate(authority.pem)])
    verifier = verification.PolicyBuilder().store(store).build_client_verifier()
    with pytest.raises(verification.VerificationError):
        verifier.verify(certificate, [])


def test_keys_are_p256_and_the_authoritys_is_for_root_alone(
    authority: Authority, tmp_path: Path
) -> None:
    authority.write(tmp_path)
    assert (tmp_path / "ca.key").stat().st_mode & 0o777 == 0o600
    loaded = Authority.load(tmp_path)
    assert loaded.pem == authority.pem
    public = x509.load_pem_x509_certificate(issue(loaded).certificate).public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert public.curve.name == "secp256r1"


def test_a_damaged_authority_is_said_to_be_damaged(authority: Authority, tmp_path: Path) -> None:
    authority.write(tmp_path)
    (tmp_path / "ca.key").write_bytes(b"-----BEGIN NOTHING-----\n")
    with pytest.raises(InstallerError, match="is damaged"):
        Authority.load(tmp_path)


def test_an_identity_is_readable_by_its_owner_alone(authority: Authority, tmp_path: Path) -> None:
    issue(authority).write(tmp_path / "exec", owner=ME)
    assert (tmp_path / "exec").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "exec/tls.key").stat().st_mode & 0o777 == 0o400
    assert not needs_renewal(tmp_path / "exec", authority)


@pytest.mark.parametrize("name", ["tls.crt", "tls.key", "ca.crt"])
def test_a_missing_file_calls_for_a_new_identity(
    authority: Authority, tmp_path: Path, name: str
) -> None:
    issue(authority).write(tmp_path, owner=ME)
    (tmp_path / name).unlink()
    assert needs_renewal(tmp_path, authority)


@pytest.mark.parametrize("name", ["tls.crt", "tls.key", "ca.crt"])
@pytest.mark.parametrize("kind", ["FIFO", "socket", "directory", "endless device", "loop"])
def test_what_is_no_file_calls_for_a_new_identity(
    authority: Authority, tmp_path: Path, name: str, kind: str
) -> None:
    issue(authority).write(tmp_path, owner=ME)
    path = tmp_path / name
    path.unlink()
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as bound, contextlib.chdir(tmp_path):
            bound.bind(name)
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero" if kind == "endless device" else path)
    assert needs_renewal(tmp_path, authority)


def test_a_file_of_any_length_is_not_read_to_its_end(authority: Authority, tmp_path: Path) -> None:
    issue(authority).write(tmp_path, owner=ME)
    with (tmp_path / "ca.crt.new").open("wb") as file:
        file.truncate(1 << 40)
    (tmp_path / "ca.crt.new").replace(tmp_path / "ca.crt")
    assert needs_renewal(tmp_path, authority)


def test_one_role_whose_files_cannot_be_written_keeps_no_other_from_a_new_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = Instance(tmp_path, "0a1b2c3d", 0, Options(host="unix:///x.sock"))
    instance.pki_dir.mkdir()
    monkeypatch.setattr(layout, "uid_of", lambda *_: os.getuid())
    (instance.pki_dir / Role.EXEC / "tls.key").mkdir(parents=True)
    renewed: set[Role] = set()
    with pytest.raises(InstallerError, match=r"certificate of exec .*Is a directory: .*tls\.key"):
        layout.lay_out_identities(instance, renewed)
    assert renewed == {kind.role for kind in PROCESSES} - {Role.EXEC} | {Role.INSTALLER}


def test_an_identity_is_renewed_before_it_expires(authority: Authority, tmp_path: Path) -> None:
    issue(authority, days=RENEW_BEFORE.days - 1).write(tmp_path, owner=ME)
    assert needs_renewal(tmp_path, authority)


def test_an_identity_of_a_former_authority_is_renewed(tmp_path: Path) -> None:
    issue(Authority.create("0a1b2c3d")).write(tmp_path, owner=ME)
    assert needs_renewal(tmp_path, Authority.create("0a1b2c3d"))


def test_a_key_that_is_not_the_certificates_calls_for_a_new_identity(
    authority: Authority, tmp_path: Path
) -> None:
    issue(authority).write(tmp_path, owner=ME)
    (tmp_path / "tls.key").unlink()
    (tmp_path / "tls.key").write_bytes(issue(authority).key)
    assert needs_renewal(tmp_path, authority)


class Killed(BaseException):
    """A process ends here."""


@pytest.mark.parametrize("written", range(5))
def test_a_start_that_was_killed_between_two_files_is_made_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    instance = Instance(tmp_path, "0a1b2c3d", 0, Options(host="unix:///x.sock"))
    instance.pki_dir.mkdir()
    monkeypatch.setattr(layout, "uid_of", lambda *_: os.getuid())
    real, files = write_file, itertools.count()

    def write(path: Path, *arguments: Any, **named: Any) -> None:
        if next(files) == written:
            raise Killed
        real(path, *arguments, **named)

    with monkeypatch.context() as killed:
        killed.setattr(pki, "write_file", write)
        with pytest.raises(Killed):
            layout.lay_out_identities(instance)
    layout.lay_out_identities(instance)
    authority = Authority.load(instance.pki_dir)
    for role in Role.HOSTAGENT, Role.EXEC, Role.INSTALLER:
        assert not needs_renewal(instance.pki_dir / role, authority)
        Credentials.load(instance.pki_dir / role)

"""TLS at the Docker endpoint: what may be asked for, and the certificates."""

import itertools
import os
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from installer import endpoint_tls, pki
from installer.endpoint import parse_endpoint
from installer.endpoint_tls import SERVER, check_tls, client_directory, lay_out_tls
from installer.errors import PreconditionError, UsageError
from installer.instance import Instance, Options, write_file
from installer.pki import Authority


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"host": "tcp://10.0.0.1:2376"}, "refusing a plain TCP listener on 10.0.0.1"),
        ({"host": "tcp://0.0.0.0:2376"}, "refusing a plain TCP listener"),
        ({"host": "unix:///run/x.sock", "tls_verify": True}, "--tlsverify needs --host tcp://"),
        ({"host": "tcp://127.0.0.1:1", "tls_ca": "/ca"}, "need --tlsverify"),
        (
            {"host": "tcp://10.0.0.1:2376", "tls_verify": True, "tls_cert": "/c", "tls_key": "/k"},
            "brought together",
        ),
    ],
)
def test_what_cannot_be_served_is_refused(options: dict[str, object], why: str) -> None:
    wished = Options(**options)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=why):
        check_tls(wished, parse_endpoint(wished.host))


def test_what_can_be_served() -> None:
    for options in (
        Options(host="unix:///run/x.sock"),
        Options(host="tcp://127.0.0.1:2375"),
        Options(host="tcp://0.0.0.0:2376", tls_verify=True),
        Options("tcp://10.0.0.1:1", tls_verify=True, tls_ca="/a", tls_cert="/c", tls_key="/k"),
    ):
        check_tls(options, parse_endpoint(options.host))


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Instance:
    """One with an endpoint for everybody."""
    monkeypatch.setattr(endpoint_tls, "uid_of", lambda _kind, _slot: os.getuid())
    options = Options(host="tcp://0.0.0.0:2376", tls_verify=True)
    made = Instance(tmp_path, "0a1b2c3d", 0, options)
    made.pki_dir.mkdir()
    return made


def test_certificates_are_made_once(instance: Instance) -> None:
    lay_out_tls(instance)
    server = instance.pki_dir / SERVER
    first = (server / "tls.crt").read_bytes()
    client = (client_directory(instance) / "cert.pem").read_bytes()
    certificate = x509.load_pem_x509_certificate(first)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "localhost" in names.get_values_for_type(x509.DNSName)
    assert "127.0.0.1" in map(str, names.get_values_for_type(x509.IPAddress))
    assert (client_directory(instance) / "key.pem").stat().st_mode & 0o777 == 0o400
    lay_out_tls(instance)
    assert (server / "tls.crt").read_bytes() == first
    assert (client_directory(instance) / "cert.pem").read_bytes() == client


def test_brought_certificates_are_checked_and_used(instance: Instance, tmp_path: Path) -> None:
    own = Authority.create("mine")
    identity = own.issue("endpoint", dns_names=["vch.example"])
    brought = tmp_path / "brought"
    identity.write(brought, owner=(os.getuid(), os.getgid()))

    def with_key(key: Path) -> Instance:
        options = Options(
            host="tcp://0.0.0.0:2376",
            tls_verify=True,
            tls_ca=str(brought / "ca.crt"),
            tls_cert=str(brought / "tls.crt"),
            tls_key=str(key),
        )
        return Instance(instance.data_dir, instance.id, 0, options)

    lay_out_tls(with_key(brought / "tls.key"))
    server = instance.pki_dir / SERVER
    assert (server / "tls.crt").read_bytes() == identity.certificate
    assert own.pem.strip() in (server / "ca.crt").read_bytes()
    other = tmp_path / "other"
    own.issue("other").write(other, owner=(os.getuid(), os.getgid()))
    with pytest.raises(PreconditionError, match="can't be used"):
        lay_out_tls(with_key(other / "tls.key"))
    with pytest.raises(PreconditionError, match="cannot read --tlskey"):
        lay_out_tls(with_key(tmp_path / "missing"))


@pytest.mark.parametrize("written", range(8))
def test_a_start_that_was_killed_between_two_files_is_made_good(
    instance: Instance, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    real, files = write_file, itertools.count()

    def write(path: Path, *arguments: Any, **named: Any) -> None:
        if next(files) == written:
            raise KeyboardInterrupt
        real(path, *arguments, **named)

    with monkeypatch.context() as killed:
        for module in (pki, endpoint_tls):
            killed.setattr(module, "write_file", write, raising=False)
        with pytest.raises(KeyboardInterrupt):
            lay_out_tls(instance)
    lay_out_tls(instance)
    client, server = client_directory(instance), instance.pki_dir / SERVER
    for certificate, key in (
        (client / "cert.pem", client / "key.pem"),
        (server / "tls.crt", server / "tls.key"),
    ):
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    assert (client / "ca.pem").read_bytes() == (server / "ca.crt").read_bytes()

"""What a tether is told, and its certificate."""

import datetime
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from vic.hostagent.v1 import hostagent_pb2 as pb

from hostagent.certificates import TetherAuthority
from hostagent.guestconfig import assignment_frame, first_frame, identity_frame
from hostagent.issuer import IssuerServicer
from hostagent.machine import MachineKind
from installer.pki import Authority
from portlayer.errors import InvalidArgument
from tests.unit.hostagent.machines import COLD, DIALLING, PARENT
from tether.guestconfig import FrameReader, GuestConfig
from tether.guestparse import parse_body

INSTANCE = "0badcafe"


@pytest.fixture
def authority(tmp_path: Path) -> TetherAuthority:
    Authority.create(INSTANCE).write(tmp_path)
    return TetherAuthority.load(INSTANCE, tmp_path)


def told(frame: bytes) -> GuestConfig:
    (body,) = FrameReader().feed(frame)
    return parse_body(body)


def test_the_tether_understands_it(authority: TetherAuthority) -> None:
    config = told(first_frame(COLD, INSTANCE, authority))
    assert config.identity is not None
    assert config.container is not None
    assert config.identity.instance == INSTANCE
    assert config.identity.container_id == COLD.machine_id
    assert config.identity.boot_id == COLD.launch_id
    assert config.identity.management.endpoint == "100.112.0.1:7443"
    assert config.container.hostname == "web"
    assert config.container.hosts == (("172.17.0.2", "web"),)
    assert config.container.nics[0].addresses == ("172.17.0.2/16",)
    assert config.container.root.shm_bytes == 64 << 20
    assert len(config.entropy) == 512


def test_a_machine_that_waits_is_told_of_itself_and_then_whose_it_is(
    authority: TetherAuthority,
) -> None:
    own = told(identity_frame(DIALLING, INSTANCE, authority))
    assert own.identity is not None
    assert own.identity.container_id == DIALLING.machine_id
    assert own.identity.management.endpoint == "100.112.0.1:7443"
    assert own.container is None
    given = told(assignment_frame(COLD))
    # No second key: what it dials with is its own for good.
    assert given.identity is None
    assert given.assignment is not None
    assert given.assignment.container_id == COLD.machine_id
    assert given.assignment.boot_id == COLD.launch_id
    assert given.container is not None
    assert given.container.hostname == "web"


def test_two_starts_share_no_secret(authority: TetherAuthority) -> None:
    first, second = (told(first_frame(COLD, INSTANCE, authority)) for _ in range(2))
    assert first.identity is not None
    assert second.identity is not None
    assert first.entropy != second.entropy
    assert first.identity.tls.key != second.identity.tls.key
    assert first.identity.machine_id != second.identity.machine_id
    fixed = replace(COLD, guest=replace(COLD.guest, machine_id="ab" * 16))  # type: ignore[type-var]
    identity = told(first_frame(fixed, INSTANCE, authority)).identity
    assert identity is not None
    assert identity.machine_id == "ab" * 16


def test_a_parent_is_told_nothing(authority: TetherAuthority) -> None:
    assert first_frame(PARENT, INSTANCE, authority) == b""


async def test_an_issuer_tells_all_that_a_guest_elsewhere_needs(authority: TetherAuthority) -> None:
    servicer = IssuerServicer(INSTANCE, authority)
    management = pb.GuestManagement(
        mac_address="02:00:00:00:00:05",
        address="100.112.0.5/20",
        endpoint="100.112.0.1:7443",
        server_name="interaction.0badcafe.vic",
    )
    request = pb.IssueRequest(
        container_id="c" * 64,
        boot_id="b" * 32,
        guest=pb.GuestConfig(hostname="web", management=management, root_device="sda"),
    )
    config = told((await servicer.Issue(request, cast(Any, None))).frame)
    assert config.identity is not None
    assert config.container is not None
    assert (config.identity.container_id, config.identity.boot_id) == ("c" * 64, "b" * 32)
    assert config.container.root.device == "sda"
    request.guest.root_device = "../sda"
    with pytest.raises(InvalidArgument, match="root_device"):
        await servicer.Issue(request, cast(Any, None))


def test_a_certificate_is_one_tethers_alone(authority: TetherAuthority, tmp_path: Path) -> None:
    issued = authority.issue("c" * 64)
    certificate = x509.load_pem_x509_certificate(issued.certificate.encode())
    ca = x509.load_pem_x509_certificate((tmp_path / "ca.crt").read_bytes())
    certificate.verify_directly_issued_by(ca)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [
        x509.UniformResourceIdentifier(f"spiffe://{INSTANCE}.vic/tether/{'c' * 64}")
    ]
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [x509.oid.ExtendedKeyUsageOID.CLIENT_AUTH]
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert not constraints.ca
    now = datetime.datetime.now(datetime.UTC)
    assert certificate.not_valid_before_utc < now < certificate.not_valid_after_utc
    assert certificate.not_valid_after_utc <= ca.not_valid_after_utc
    key = serialization.load_pem_private_key(issued.key.encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.public_key() == certificate.public_key()
    assert issued.key not in repr(issued)


def test_who_warms_up_checks_certificates_as_tether_and_interaction_do(
    authority: TetherAuthority,
) -> None:
    config = told(first_frame(replace(PARENT, kind=MachineKind.READY), INSTANCE, authority))
    assert config.warm_up is not None
    assert config.warm_up.mirrored
    ca, own = (
        x509.load_pem_x509_certificate(pem.encode())
        for pem in (config.warm_up.ca, config.warm_up.cert)
    )
    own.verify_directly_issued_by(ca)
    assert ca.public_key() != own.public_key()
    names = own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [config.warm_up.server_name]
    issued = x509.load_pem_x509_certificate(authority.issue("c" * 64).certificate.encode())
    kinds = {extension.oid for extension in issued.extensions}
    assert kinds == {extension.oid for extension in own.extensions}

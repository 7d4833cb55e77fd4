"""Callers that use the facets themselves, with a certificate of their own."""

from pathlib import Path

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from vic.exec.v1 import exec_pb2, exec_pb2_grpc

from examples.direct import connect, run
from tests.e2e.suite import Suite

FACETS = {
    "exec": {"vic.exec.v1.ExecService"},
    "interaction": {
        "vic.interaction.v1.InteractionService",
        "vic.interaction.v1.ProcessService",
    },
    "network": {"vic.network.v1.NetworkService"},
    "storage": {
        "vic.storage.v1.ImageService",
        "vic.storage.v1.DiskService",
        "vic.storage.v1.VolumeService",
    },
}
EVERYWHERE = {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}


@pytest.fixture(scope="module", params=["admin", "operator", "viewer"])
def identity(
    request: pytest.FixtureRequest, suite: Suite, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A client's certificate."""
    out = tmp_path_factory.mktemp("client") / str(request.param)
    issued = suite.vic(
        "client", "issue", f"test-{request.param}", f"--role={request.param}", f"--out={out}"
    )
    assert issued.returncode == 0, issued.stderr
    return out


@pytest.mark.parametrize("identity", ["operator"], indirect=True)
def test_the_example_runs_a_container(
    suite: Suite, image: str, identity: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = ["sh", "-c", "echo out; echo err >&2; exit 3"]
    assert run(identity, image, command, suite.data_dir) == 3
    assert suite.ok("ps", "-aq") == ""


@pytest.mark.parametrize("facet", FACETS)
@pytest.mark.parametrize("identity", ["viewer"], indirect=True)
def test_a_reflection_client_finds_every_service_and_its_calls(
    suite: Suite, identity: Path, facet: str
) -> None:
    with connect(facet, identity, suite.data_dir) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert set(database.get_services()) == FACETS[facet] | EVERYWHERE
        pool = DescriptorPool(database)
        for name in FACETS[facet]:
            service = pool.FindServiceByName(name)
            assert service.methods
            for method in service.methods:
                assert method.input_type.full_name.endswith("Request")


@pytest.mark.parametrize("identity", ["viewer"], indirect=True)
def test_a_viewer_may_look_and_not_touch(suite: Suite, identity: Path) -> None:
    with connect("exec", identity, suite.data_dir) as channel:
        stub = exec_pb2_grpc.ExecServiceStub(channel)
        assert stub.Info(exec_pb2.InfoRequest(), timeout=60).driver == "qemu"
        with pytest.raises(grpc.RpcError) as refusal:
            stub.Create(exec_pb2.CreateRequest(), timeout=60)
        assert refusal.value.code() is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize("identity", ["admin"], indirect=True)
def test_not_even_an_admin_reaches_the_host_agent(suite: Suite, identity: Path) -> None:
    from vic.hostagent.v1 import hostagent_pb2, hostagent_pb2_grpc

    with connect("hostagent", identity, suite.data_dir) as channel:
        stub = hostagent_pb2_grpc.HostAgentServiceStub(channel)
        with pytest.raises(grpc.RpcError) as refusal:
            stub.List(hostagent_pb2.ListRequest(), timeout=60)
        assert refusal.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_without_a_certificate_there_is_no_call(suite: Suite) -> None:
    certificate = (suite.data_dir / "pki" / "ca.crt").read_bytes()
    with grpc.secure_channel(
        f"unix:{suite.data_dir}/run/exec.sock",
        grpc.ssl_channel_credentials(certificate),
        [("grpc.ssl_target_name_override", f"exec.{suite.status()['instance_id']}.vic")],
    ) as channel:
        stub = exec_pb2_grpc.ExecServiceStub(channel)
        with pytest.raises(grpc.RpcError) as refusal:
            stub.Info(exec_pb2.InfoRequest(), timeout=60)
        assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_certificate_of_another_instance_is_worth_nothing(suite: Suite, tmp_path: Path) -> None:
    from installer.pki import Authority

    authority = Authority.create("ffffffff")
    instance_id = suite.status()["instance_id"]
    forged = authority.issue("evil", uri=f"spiffe://{instance_id}.vic/admin/evil")
    forged.write(tmp_path / "evil", owner=(0, 0))
    (tmp_path / "evil" / "ca.crt").unlink()
    (tmp_path / "evil" / "ca.crt").write_bytes((suite.data_dir / "pki" / "ca.crt").read_bytes())
    with connect("exec", tmp_path / "evil", suite.data_dir) as channel:
        stub = exec_pb2_grpc.ExecServiceStub(channel)
        with pytest.raises(grpc.RpcError) as refusal:
            stub.Info(exec_pb2.InfoRequest(), timeout=60)
        assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE

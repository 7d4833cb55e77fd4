"""Callers that use the facets themselves, with a certificate of their own."""

import re
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from vic.exec.v1 import exec_pb2, exec_pb2_grpc

from examples.direct import connect, run
from tests.e2e.suite import Suite

FACETS = {
    "hostagent": {"vic.hostagent.v1.HostAgentService"},
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
# A call of each service that changes nothing, with a part of its answer.
READING = (
    ("vic.exec.v1.ExecService/List", '{"states": ["CONTAINER_STATE_EXITED"]}', '"id": "%(id)s"'),
    (
        "vic.interaction.v1.InteractionService/Logs",
        '{"containerId": "%(id)s", "stdout": true, "tail": -1}',
        '"data": "aGVsbG8K"',
    ),
    ("vic.interaction.v1.ProcessService/ListRegistered", "{}", '"%(id)s"'),
    ("vic.network.v1.NetworkService/List", "{}", '"name": "bridge"'),
    ("vic.storage.v1.ImageService/List", "{}", '"%(image)s"'),
    ("vic.storage.v1.DiskService/List", "{}", '"%(id)s"'),
    ("vic.storage.v1.VolumeService/List", "{}", ""),
    ("vic.hostagent.v1.HostAgentService/Info", "{}", '"accelerator": "ACCELERATOR_'),
)
# Only exec may call these, which speak of what it owns: root can take exec's own certificate.
EXECS_OWN = ("vic.interaction.v1.ProcessService", "vic.hostagent.v1.HostAgentService")
REFLECT = Path(__file__).resolve().parents[2] / "examples" / "reflect.py"


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


# Runs the example, and proves that it did without the generated modules.
STOCK = """
import runpy, sys
sys.argv[:] = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    ours = [name for name in sys.modules if name.partition(".")[0] in ("vic", "portlayer")]
    assert not ours, ours
"""


def reflect(suite: Suite, identity: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a client that knows nothing but what the server says of itself."""
    command = [sys.executable, "-c", STOCK, str(REFLECT), str(identity), *arguments]
    return subprocess.run(
        [*command, f"--data-dir={suite.data_dir}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize("facet", FACETS)
@pytest.mark.parametrize("identity", ["viewer"], indirect=True)
def test_a_stock_reflection_client_finds_every_service_and_its_calls(
    suite: Suite, identity: Path, facet: str
) -> None:
    listed = reflect(suite, identity, facet)
    assert listed.returncode == 0, listed.stderr
    calls = listed.stdout.splitlines()
    assert {line.partition("/")[0] for line in calls} == FACETS[facet] | EVERYWHERE
    for name in FACETS[facet]:
        for line in calls:
            if line.startswith(f"{name}/"):
                assert re.fullmatch(r"\S+\((stream )?\w+Request\) returns .*Response\)", line)


@pytest.mark.parametrize(("method", "request_body", "told"), READING)
@pytest.mark.parametrize("identity", ["admin"], indirect=True)
def test_a_stock_reflection_client_calls_every_service(
    suite: Suite, image: str, identity: Path, method: str, request_body: str, told: str
) -> None:
    facet = method.split(".")[1]
    if method.partition("/")[0] in EXECS_OWN:
        identity = suite.data_dir / "pki" / "exec"
    container = suite.ok("run", "-d", image, "echo", "hello")
    suite.ok("wait", container)
    try:
        answered = reflect(suite, identity, facet, method, request_body % {"id": container})
    finally:
        suite.ok("rm", container)
    assert "Traceback" not in answered.stderr
    assert answered.returncode == 0 or f"{method} is not implemented" in answered.stderr
    assert told % {"id": container, "image": image} in answered.stdout + answered.stderr


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

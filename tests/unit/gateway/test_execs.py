"""docker exec: the endpoints, the SDK's idioms, the wire."""

import asyncio
import base64
import socket
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import docker
import docker.errors
import httpx
import pytest
from docker.utils.socket import frames_iter
from vic.exec.v1 import container_pb2

from tests.unit.gateway.conftest import DOCKER, Endpoint, Eventually
from tests.unit.gateway.fake_containers import S
from tests.unit.gateway.fake_facets import FakeSuite

T = TypeVar("T")

pytestmark = pytest.mark.skipif(DOCKER is None, reason="needs the docker CLI")


async def blocking(function: Callable[[], T]) -> T:
    async with asyncio.timeout(60):
        return await asyncio.to_thread(function)


@pytest.fixture
def sdk(engine: Endpoint) -> Iterator[Any]:
    client = docker.DockerClient(base_url=f"unix://{engine.path}", version="1.51", timeout=60)
    yield client
    client.close()


@pytest.fixture
async def container(engine: Endpoint, suite: FakeSuite) -> container_pb2.Container:
    """A container that runs, by the name c1."""
    suite.pulled("busybox:latest")
    options = ("--name", "c1", "-e", "GREETING=hello", "-w", "/srv", "-u", "daemon")
    container_id = await engine.output("run", "-d", *options, "busybox", "sleep")
    return suite.exec.containers[container_id.strip()].proto


async def post(engine: Endpoint, path: str, body: object = None) -> httpx.Response:
    async with engine.http() as client:
        return await client.post(path, json=body)


async def get(engine: Endpoint, path: str) -> Any:
    async with engine.http() as client:
        return (await client.get(path)).json()


# The endpoints


async def test_an_exec_is_the_containers_process_with_what_differs(
    engine: Endpoint, suite: FakeSuite, container: container_pb2.Container
) -> None:
    container.spec.process.additional_groups.append("audio")
    asked = {
        "Cmd": ["true", "-v"],
        "AttachStdin": True,
        "AttachStderr": True,
        "Env": ["GREETING=bye", "MORE=1"],
        "WorkingDir": "/tmp",
        "User": "nobody",
        "Tty": True,
        "ConsoleSize": [24, 80],
        "DetachKeys": "ctrl-a,b",
        "Privileged": True,
    }
    answer = await post(engine, "/v1.51/containers/c1/exec", asked)
    assert answer.status_code == 201
    exec_id = answer.json()["Id"]
    process = suite.interaction.execs[exec_id].request.process
    assert list(process.args) == ["true", "-v"]
    assert {"GREETING=bye", "MORE=1", "TERM=xterm"} <= set(process.env)
    assert f"HOSTNAME={container.id[:12]}" in process.env
    assert (process.cwd, process.user) == ("/tmp", "nobody")
    assert (process.stdin, process.tty, process.capabilities.privileged) == (True, True, True)
    assert (process.window.rows, process.window.columns) == (24, 80)
    assert list(process.additional_groups) == ["audio"]
    assert await get(engine, f"/v1.51/exec/{exec_id}/json") == {
        "ID": exec_id,
        "Running": False,
        "ExitCode": None,
        "ProcessConfig": {
            "tty": True,
            "entrypoint": "true",
            "arguments": ["-v"],
            "privileged": True,
            "user": "nobody",
        },
        "OpenStdin": True,
        "OpenStderr": True,
        "OpenStdout": False,
        "CanRemove": False,
        "ContainerID": container.id,
        "DetachKeys": base64.b64encode(b"\x01b").decode(),
        "Pid": 77,
    }
    inspected = await get(engine, "/v1.51/containers/c1/json")
    assert inspected["ExecIDs"] == [exec_id]


async def test_what_is_not_asked_for_is_as_in_the_container(
    engine: Endpoint, suite: FakeSuite, container: container_pb2.Container
) -> None:
    answer = await post(engine, "/v1.51/containers/c1/exec", {"Cmd": ["true"]})
    process = suite.interaction.execs[answer.json()["Id"]].request.process
    assert (process.cwd, process.user) == ("/srv", "daemon")
    assert "GREETING=hello" in process.env
    assert not any(variable.startswith("TERM=") for variable in process.env)


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({"Cmd": []}, 400, "No exec command specified"),
        ({"Cmd": "true"}, 400, "invalid JSON: Cmd must be an array"),
        ({"Cmd": ["true"], "DetachKeys": "ctrl-é"}, 400, "Invalid detach keys"),
        ({"Cmd": ["true"], "WorkingDir": "srv"}, 400, "needs to be an absolute path"),
        ({"Cmd": ["true"], "Env": ["=x"]}, 400, "invalid environment variable: =x"),
        ({"Cmd": ["true"], "ConsoleSize": [1]}, 400, "ConsoleSize must be two numbers"),
        ({"Cmd": ["true"], "Nice": 5}, 501, "Nice is not implemented yet"),
    ],
)
async def test_what_cannot_be_right_is_refused(
    engine: Endpoint,
    container: container_pb2.Container,
    body: object,
    status: int,
    message: str,
) -> None:
    answer = await post(engine, "/v1.51/containers/c1/exec", body)
    assert answer.status_code == status
    assert message in answer.json()["message"]


async def test_what_is_not_there_is_404(
    engine: Endpoint, container: container_pb2.Container
) -> None:
    answer = await post(engine, "/v1.51/containers/nope/exec", {"Cmd": ["true"]})
    assert (answer.status_code, answer.json()["message"]) == (404, "No such container: nope")
    for path in ("/v1.51/exec/nope/start", "/v1.51/exec/nope/resize?h=1&w=1"):
        answer = await post(engine, path, {})
        assert (answer.status_code, answer.json()["message"]) == (
            404,
            "No such exec instance: nope",
        )
    assert (await get(engine, "/v1.51/exec/nope/json"))["message"] == "No such exec instance: nope"


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (S.CONTAINER_STATE_EXITED, "container {id} is not running"),
        (S.CONTAINER_STATE_PAUSED, "Container {id} is paused, unpause the container before exec"),
        (
            S.CONTAINER_STATE_RESTARTING,
            "Container {id} is restarting, wait until the container is running",
        ),
    ],
)
async def test_a_container_that_can_run_nothing_refuses(
    engine: Endpoint,
    suite: FakeSuite,
    container: container_pb2.Container,
    state: Any,
    message: str,
) -> None:
    made = await post(engine, "/v1.51/containers/c1/exec", {"Cmd": ["true"]})
    container.status.state = state
    refusal = {"message": message.format(id=container.id)}
    answer = await post(engine, "/v1.51/containers/c1/exec", {"Cmd": ["true"]})
    assert (answer.status_code, answer.json()) == (409, refusal)
    for detach in (True, False):
        path = f"/v1.51/exec/{made.json()['Id']}/start"
        answer = await post(engine, path, {"Detach": detach})
        assert (answer.status_code, answer.json()) == (409, refusal)
    assert suite.interaction.execs[made.json()["Id"]].running.task is None
    container.status.state = S.CONTAINER_STATE_RUNNING
    assert (await post(engine, path, {"Detach": True})).status_code == 200


# The SDK's idioms


async def test_exec_run_gives_code_and_output(sdk: Any, container: container_pb2.Container) -> None:
    def run() -> None:
        c1 = sdk.containers.get("c1")
        assert c1.exec_run(["both", "3"]) == (3, b"out\nerr\n")
        assert c1.exec_run(["both", "0"], demux=True) == (0, (b"out\n", b"err\n"))
        assert c1.exec_run(["both", "0"], stderr=False, demux=True) == (0, (b"out\n", None))
        assert c1.exec_run(["echo", "hi"], tty=True) == (0, b"hi\n")

    await blocking(run)


async def test_exec_run_streams(sdk: Any, container: container_pb2.Container) -> None:
    def run() -> list[bytes]:
        code, pieces = sdk.containers.get("c1").exec_run(["echo", "hi"], stream=True)
        assert code is None
        return list(pieces)

    assert b"".join(await blocking(run)) == b"hi\n"


async def test_exec_run_with_a_socket_takes_input_and_its_end(
    sdk: Any, container: container_pb2.Container
) -> None:
    def run() -> list[tuple[int, bytes]]:
        made = sdk.api.exec_create("c1", ["cat"], stdin=True)
        stream = sdk.api.exec_start(made["Id"], socket=True)
        stream._sock.sendall(b"make this test pass\n")
        stream._sock.shutdown(socket.SHUT_WR)
        frames = list(frames_iter(stream, tty=False))
        stream.close()
        assert sdk.api.exec_inspect(made["Id"])["ExitCode"] == 0
        return frames

    frames = await blocking(run)
    assert {number for number, _ in frames} == {1}
    assert b"".join(data for _, data in frames) == b"make this test pass\n"


async def test_a_detached_exec_runs_on(
    sdk: Any,
    suite: FakeSuite,
    container: container_pb2.Container,
    eventually: Eventually,
) -> None:
    def run() -> str:
        made = sdk.api.exec_create("c1", ["sleep"])
        assert sdk.api.exec_start(made["Id"], detach=True) == ""
        assert sdk.api.exec_inspect(made["Id"])["Running"]
        exec_id: str = made["Id"]
        return exec_id

    process = suite.interaction.execs[await blocking(run)]
    process.running.signals.put_nowait("SIGTERM")
    await eventually(lambda: process.code == 143)


async def test_a_detached_command_that_is_not_there_is_400(
    sdk: Any, container: container_pb2.Container
) -> None:
    def run() -> None:
        made = sdk.api.exec_create("c1", ["nope"])
        with pytest.raises(docker.errors.APIError, match="executable file not found") as caught:
            sdk.api.exec_start(made["Id"], detach=True)
        assert caught.value.status_code == 400
        assert sdk.api.exec_inspect(made["Id"])["ExitCode"] == 127

    await blocking(run)


async def test_an_exec_runs_once(sdk: Any, container: container_pb2.Container) -> None:
    def run() -> None:
        made = sdk.api.exec_create("c1", ["true"])
        sdk.api.exec_start(made["Id"])
        with pytest.raises(docker.errors.APIError, match="is already running") as caught:
            sdk.api.exec_start(made["Id"])
        assert caught.value.status_code == 409

    await blocking(run)


async def test_a_start_asks_again_only_for_what_was_not_created_here(
    engine: Endpoint, suite: FakeSuite, container: container_pb2.Container
) -> None:
    async def create() -> str:
        answer = await post(engine, "/v1.51/containers/c1/exec", {"Cmd": ["true"]})
        return str(answer.json()["Id"])

    exec_id, orphan = await create(), await create()
    start = f"/v1.51/exec/{exec_id}/start"
    assert (await post(engine, start, {"Detach": True})).status_code == 200
    assert suite.interaction.inspected == 0
    again = await post(engine, start, {"Detach": True})
    assert (again.status_code, suite.interaction.inspected) == (409, 1)
    assert "already" in again.json()["message"]
    # What went with its container is unknown, as if it had never been.
    del suite.exec.containers[container.id]
    del suite.interaction.execs[orphan]
    answer = await post(engine, f"/v1.51/exec/{orphan}/start", {"Detach": True})
    assert answer.status_code == 404
    assert answer.json()["message"] == f"No such exec instance: {orphan}"


async def test_resize(sdk: Any, suite: FakeSuite, container: container_pb2.Container) -> None:
    def run() -> str:
        made = sdk.api.exec_create("c1", ["sleep"], tty=True)
        sdk.api.exec_start(made["Id"], detach=True, tty=True)
        sdk.api.exec_resize(made["Id"], height=25, width=90)
        exec_id: str = made["Id"]
        return exec_id

    assert suite.interaction.execs[await blocking(run)].window == (25, 90)


# The wire


async def test_the_content_type_tells_whether_output_is_framed(
    engine: Endpoint, container: container_pb2.Container
) -> None:
    async def start(version: str, body: bytes) -> bytes:
        made = await post(engine, f"/{version}/containers/c1/exec", {"Cmd": ["true"]})
        reader, writer = await asyncio.open_unix_connection(engine.path)
        writer.write(
            f"POST /{version}/exec/{made.json()['Id']}/start HTTP/1.1\r\nHost: docker\r\n"
            "Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
        )
        # As the CLI does, the body in a second segment.
        await writer.drain()
        writer.write(body)
        async with asyncio.timeout(60):
            answer = await reader.read(-1)
        writer.close()
        return answer

    framed = await start("v1.51", b"{}")
    assert framed.startswith(b"HTTP/1.1 101 UPGRADED\r\n")
    assert b"Content-Type: application/vnd.docker.multiplexed-stream\r\n" in framed
    for version, body in (("v1.41", b"{}"), ("v1.51", b'{"Tty":true}')):
        raw = await start(version, body)
        assert b"Content-Type: application/vnd.docker.raw-stream\r\n" in raw


async def test_detach_keys_leave_the_process_running(
    engine: Endpoint,
    suite: FakeSuite,
    container: container_pb2.Container,
    eventually: Eventually,
) -> None:
    asked = {
        "Cmd": ["cat"],
        "AttachStdin": True,
        "AttachStdout": True,
        "Tty": True,
        "DetachKeys": "ctrl-a",
    }
    exec_id = (await post(engine, "/v1.51/containers/c1/exec", asked)).json()["Id"]
    reader, writer = await asyncio.open_unix_connection(engine.path)
    body = b'{"Tty":true}'
    writer.write(
        f"POST /v1.51/exec/{exec_id}/start HTTP/1.1\r\nHost: docker\r\n"
        "Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body
        + b"typed before\x01and never this"
    )
    async with asyncio.timeout(60):
        answer = await reader.read(-1)
    writer.close()
    assert b"never" not in answer
    process = suite.interaction.execs[exec_id]
    assert process.code is None
    await eventually(lambda: process.running.output != [])
    assert process.running.output[0].data == b"typed before"

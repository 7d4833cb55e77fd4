"""What clients notice when a facet is restarted, or away."""

import asyncio
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from vic.exec.v1 import container_pb2, exec_pb2

from portlayer.identity import Role
from tests.unit.gateway.conftest import Endpoint
from tests.unit.gateway.fake_facets import FakeSuite
from tests.unit.portlayer.conftest import INSTANCE, TestAuthority


async def created(client: httpx.AsyncClient, suite: FakeSuite, **body: Any) -> None:
    suite.pulled("busybox:latest")
    answer = await client.post(
        "/containers/create?name=one", json={"Image": "busybox", "Cmd": ["sleep"], **body}
    )
    assert answer.status_code == 201


@pytest.mark.parametrize("condition", ["not-running", "next-exit", "removed"])
async def test_wait_survives_a_restart_of_exec(
    engine: Endpoint, suite: FakeSuite, condition: str
) -> None:
    async with engine.http() as client:
        await created(client, suite, HostConfig={"AutoRemove": condition == "removed"})
        await client.post("/containers/one/start")
        url = f"/containers/one/wait?condition={condition}"
        async with client.stream("POST", url) as answer:
            await suite.stop(Role.EXEC)
            container = suite.exec.find("one")
            container.signals.put_nowait("SIGKILL")  # it ends while exec is away
            assert container.task is not None
            await container.task
            await suite.start(Role.EXEC)
            assert json.loads(await answer.aread()) == {"StatusCode": 137}


@pytest.mark.parametrize("condition", ["not-running", "next-exit"])
async def test_wait_for_a_restarting_container_ends_with_its_stop_across_a_restart_of_exec(
    engine: Endpoint, suite: FakeSuite, condition: str
) -> None:
    async with engine.http() as client:
        await created(client, suite)
        await client.post("/containers/one/start")
        url = f"/containers/one/wait?condition={condition}"
        async with client.stream("POST", url) as answer:
            await suite.stop(Role.EXEC)
            container = suite.exec.find("one")
            status = container.proto.status
            status.state = container_pb2.CONTAINER_STATE_RESTARTING
            status.exit_code = 7
            await suite.start(Role.EXEC)
            status.state = container_pb2.CONTAINER_STATE_EXITED
            await suite.exec.happened(container, exec_pb2.EVENT_KIND_STOP)
            async with asyncio.timeout(60):
                assert json.loads(await answer.aread()) == {"StatusCode": 7}


async def test_events_survive_a_restart_of_exec(engine: Endpoint, suite: FakeSuite) -> None:
    async with engine.http() as client:
        await created(client, suite)
        async with client.stream("GET", "/events?since=1700000000") as answer:
            lines = answer.aiter_lines()
            assert json.loads(await anext(lines))["Action"] == "create"
            await suite.stop(Role.EXEC)
            await suite.start(Role.EXEC)
            # On a busy machine the gateway may have found exec away, and say so for a moment.
            async with asyncio.timeout(60):
                while (await client.post("/containers/one/start")).status_code == 503:
                    pass
            assert json.loads(await anext(lines))["Action"] == "start"


async def test_a_facet_that_is_away_is_a_503(client: httpx.AsyncClient, suite: FakeSuite) -> None:
    await suite.stop(Role.EXEC)
    answer = await client.get("/containers/json")
    assert answer.status_code == 503
    assert answer.json()["message"]
    await suite.start(Role.EXEC)


async def test_ping_needs_no_facet(client: httpx.AsyncClient, suite: FakeSuite) -> None:
    for role in (Role.EXEC, Role.INTERACTION, Role.NETWORK, Role.STORAGE):
        await suite.stop(role)
    assert (await client.get("/_ping")).status_code == 200


@pytest.fixture
def instance(tmp_path: Path, authority: TestAuthority) -> Path:
    """A data directory with what the gateway needs of it."""
    (tmp_path / "instance.json").write_text(json.dumps({"instance_id": INSTANCE, "slot": 0}))
    pki = tmp_path / "pki" / "gateway"
    pki.mkdir(parents=True)
    credentials = authority.issue(Role.GATEWAY)
    (pki / "ca.crt").write_bytes(credentials.ca)
    (pki / "tls.crt").write_bytes(credentials.certificate)
    (pki / "tls.key").write_bytes(credentials.key)
    return tmp_path


async def run_gateway(
    instance: Path, descriptors: tuple[int, ...] = (), **environment: str
) -> asyncio.subprocess.Process:
    root = Path(__file__).parents[3]
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "gateway"),
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{root}:{root}/protos",
            "VIC_DATA_DIR": str(instance),
            **environment,
        },
        cwd=root,
        stderr=asyncio.subprocess.PIPE,
        pass_fds=descriptors,
    )


async def test_restart_on_an_inherited_socket_refuses_nobody(instance: Path) -> None:
    path = instance / "docker.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        for _ in range(2):
            process = await run_gateway(
                instance,
                (listener.fileno(),),
                VIC_GATEWAY_LISTEN_FD=str(listener.fileno()),
            )
            # The connection waits in the backlog until the new process accepts it.
            async with Endpoint(path).http() as client:
                assert (await client.get("/_ping")).text == "OK"
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(60):
                _, log = await process.communicate()
            assert process.returncode == 0, log.decode()
            assert all(json.loads(line) for line in log.splitlines())


async def test_plain_tcp_off_loopback_does_not_start(instance: Path) -> None:
    process = await run_gateway(instance, VIC_GATEWAY_LISTEN="tcp://0.0.0.0:2375")
    _, log = await process.communicate()
    assert process.returncode == 1
    assert b"refusing to serve the Docker API on 0.0.0.0 over plain TCP" in log

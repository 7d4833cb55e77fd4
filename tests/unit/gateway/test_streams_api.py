"""Waiting, attaching, logs and sizes over the API itself: what the CLI doesn't show."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from vic.exec.v1.container_pb2 import ContainerState

from portlayer.errors import Unavailable
from tests.unit.gateway.conftest import Endpoint, Eventually
from tests.unit.gateway.creating import create
from tests.unit.gateway.fake_facets import FakeSuite


@pytest.fixture(autouse=True)
def busybox(suite: FakeSuite) -> None:
    suite.pulled("busybox:latest")


async def test_wait_sends_its_head_at_once(engine: Endpoint, suite: FakeSuite) -> None:
    async with engine.http() as client:
        await create(client, "one")
        async with client.stream("POST", "/containers/one/wait?condition=next-exit") as answer:
            assert answer.status_code == 200  # the head is here, the container isn't even started
            await client.post("/containers/one/start")
            await client.post("/containers/one/kill")
            assert json.loads(await answer.aread()) == {"StatusCode": 137}


async def test_wait_conditions(
    client: httpx.AsyncClient, suite: FakeSuite, eventually: Eventually
) -> None:
    await create(client, "one", Cmd=["both", "4"])
    assert (await client.post("/containers/one/wait")).json() == {"StatusCode": 0}
    waiting = asyncio.create_task(client.post("/containers/one/wait?condition=next-exit"))
    removal = asyncio.create_task(client.post("/containers/one/wait?condition=removed"))
    await eventually(lambda: len(suite.exec.changed._waiters) == 2)
    await client.post("/containers/one/start")
    assert (await waiting).json() == {"StatusCode": 4}
    await client.delete("/containers/one")
    assert (await removal).json() == {"StatusCode": 4}
    wrong = await client.post("/containers/one/wait?condition=later")
    assert (wrong.status_code, wrong.json()) == (400, {"message": 'invalid condition: "later"'})


async def test_wait_of_an_old_client_answers_in_one_piece(client: httpx.AsyncClient) -> None:
    await create(client, "one")
    answer = await client.post("/v1.29/containers/one/wait")
    assert answer.json() == {"StatusCode": 0}


async def test_client_that_drops_its_wait_frees_it(
    engine: Endpoint, suite: FakeSuite, eventually: Eventually
) -> None:
    async with engine.http() as client:
        await create(client, "one")
        async with client.stream("POST", "/containers/one/wait?condition=next-exit"):
            await eventually(lambda: len(suite.exec.changed._waiters) == 1)
    await eventually(lambda: len(suite.exec.changed._waiters) == 0)


async def test_an_old_client_that_drops_its_wait_frees_it(
    engine: Endpoint, suite: FakeSuite, eventually: Eventually
) -> None:
    async with engine.http() as client:
        await create(client, "one")
        await client.post("/containers/one/start")
        waiting = asyncio.create_task(client.post("/v1.29/containers/one/wait"))
        await eventually(lambda: len(suite.exec.changed._waiters) == 1)
        waiting.cancel()
        await eventually(lambda: len(suite.exec.changed._waiters) == 0)


async def test_client_that_vanishes_from_attach_frees_it(
    engine: Endpoint, suite: FakeSuite, eventually: Eventually
) -> None:
    async with engine.http() as client:
        await create(client, "one")
    reader, writer = await asyncio.open_unix_connection(str(engine.path))
    writer.write(
        b"POST /v1.51/containers/one/attach?stream=1&stdout=1 HTTP/1.1\r\nHost: d\r\n"
        b"Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n"
    )
    head = await reader.readuntil(b"\r\n\r\n")
    assert b"application/vnd.docker.multiplexed-stream" in head
    writer.write_eof()
    await eventually(lambda: suite.interaction.attached == 1)
    writer.close()
    await eventually(lambda: suite.interaction.attached == 0)


@pytest.mark.parametrize("streams", ["stdout=1&stderr=1", "stdout=1"])
async def test_client_whose_service_goes_is_told(
    engine: Endpoint, suite: FakeSuite, streams: str
) -> None:
    async with engine.http() as client:
        await create(client, "one")
    reader, writer = await asyncio.open_unix_connection(str(engine.path))
    writer.write(
        f"POST /v1.51/containers/one/attach?stream=1&{streams} HTTP/1.1\r\nHost: d\r\n"
        "Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n".encode()
    )
    await reader.readuntil(b"\r\n\r\n")
    (listener,) = suite.exec.find("one").listeners
    listener.put_nowait(Unavailable("the service is stopping"))
    async with asyncio.timeout(60):
        told = await reader.read()
    # As an error's output, and only to a client that wants that.
    assert told[:1] == (b"\x02" if "stderr" in streams else b"")
    assert told[8:] in (
        b"",
        b"vic: this client was cut off: the container goes on, attach again\r\n",
    )
    writer.close()


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (
            ContainerState.CONTAINER_STATE_PAUSED,
            "container one is paused, unpause the container before attach",
        ),
        (
            ContainerState.CONTAINER_STATE_RESTARTING,
            "container one is restarting, wait until the container is running",
        ),
    ],
)
async def test_attach_to_what_stands_still_is_refused(
    engine: Endpoint, suite: FakeSuite, state: Any, message: str
) -> None:
    async with engine.http() as client:
        container = await create(client, "one")
        suite.exec.containers[container].proto.status.state = state
        refused = await client.post("/containers/one/attach?stream=1&stdout=1")
    assert (refused.status_code, refused.json()) == (409, {"message": message})


async def test_who_is_being_started_by_its_policy_is_restarting(
    engine: Endpoint, suite: FakeSuite
) -> None:
    async with engine.http() as client:
        container = await create(client, "one")
        status = suite.exec.containers[container].proto.status
        status.state = ContainerState.CONTAINER_STATE_STARTING
        status.finished_at.seconds = 1000
        status.restart_count = 1
        refused = await client.post("/containers/one/attach?stream=1&stdout=1")
        shown = (await client.get("/containers/one/json")).json()["State"]
        topped = await client.get("/containers/one/top")
        executed = await client.post("/containers/one/exec", json={"Cmd": ["true"]})
        # Not so who starts it by hand, as Docker shows what is left until it runs.
        status.restart_count = 0
        by_hand = (await client.get("/containers/one/json")).json()["State"]
    sentence = "container one is restarting, wait until the container is running"
    assert (refused.status_code, refused.json()) == (409, {"message": sentence})
    assert (shown["Status"], shown["Running"], shown["Restarting"]) == ("restarting", True, True)
    sentence = f"Container {container} is restarting, wait until the container is running"
    for answer in (topped, executed):
        assert (answer.status_code, answer.json()) == (409, {"message": sentence})
    assert (by_hand["Status"], by_hand["Running"]) == ("exited", False)


@pytest.mark.parametrize(
    ("version", "tty", "kind"),
    [
        ("1.42", False, "multiplexed"),
        ("1.41", False, "raw"),
        ("1.51", True, "raw"),
    ],
)
async def test_content_type_by_version_and_terminal(
    client: httpx.AsyncClient, version: str, tty: bool, kind: str
) -> None:
    await create(client, "one", Tty=tty)
    answer = await client.get(f"/v{version}/containers/one/logs?stdout=1")
    assert answer.headers["Content-Type"] == f"application/vnd.docker.{kind}-stream"


async def test_logs_need_a_stream_and_a_log(client: httpx.AsyncClient) -> None:
    await create(client, "one")
    assert (await client.get("/containers/one/logs")).status_code == 400
    await create(client, "two", HostConfig={"LogConfig": {"Type": "none"}})
    answer = await client.get("/containers/two/logs?stdout=1")
    assert answer.status_code == 501
    assert answer.json()["message"] == "configured logging driver does not support reading"


async def test_framed_logs(client: httpx.AsyncClient, suite: FakeSuite) -> None:
    container = await create(client, "one", Cmd=["both", "0"])
    await client.post("/containers/one/start")
    await asyncio.wait({suite.exec.containers[container].task})  # type: ignore[type-var]
    content = (await client.get("/containers/one/logs?stdout=1&stderr=1")).content
    assert content == b"\1\0\0\0\0\0\0\4out\n\2\0\0\0\0\0\0\4err\n"
    assert (await client.get("/containers/one/logs?stderr=1")).content == (b"\2\0\0\0\0\0\0\4err\n")


@pytest.mark.parametrize("query", ["h=a&w=1", "h=1", "h=-1&w=1", "h=1&w=70000", ""])
async def test_resize_needs_two_numbers(client: httpx.AsyncClient, query: str) -> None:
    await create(client, "one")
    assert (await client.post(f"/containers/one/resize?{query}")).status_code == 400


async def test_resize(client: httpx.AsyncClient, suite: FakeSuite) -> None:
    container = await create(client, "one", Cmd=["sleep"], Tty=True)
    refused = await client.post("/containers/one/resize?h=50&w=132")
    assert refused.status_code == 409
    assert refused.json()["message"] == f"container {container} is not running"
    await client.post("/containers/one/start")
    assert (await client.post("/containers/one/resize?h=50&w=132")).status_code == 200
    for size, message in {
        "h=a&w=1": 'invalid resize height "a": invalid syntax',
        "h=1": 'invalid resize width "": invalid syntax',
        "h=-1&w=1": 'invalid resize height "-1": value out of range',
    }.items():
        refused = await client.post(f"/containers/one/resize?{size}")
        assert (refused.status_code, refused.json()["message"]) == (400, message)
    assert suite.exec.containers[container].window == (50, 132)

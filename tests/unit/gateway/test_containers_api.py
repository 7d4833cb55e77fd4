"""Containers over the API itself: what the CLI doesn't show."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from vic.exec.v1.container_pb2 import ContainerState

from portlayer.errors import Reason, Unavailable
from tests.unit.gateway.conftest import Endpoint, Eventually
from tests.unit.gateway.fake_facets import FakeSuite

CREATE = {"Image": "busybox", "Cmd": ["sleep"]}


@pytest.fixture(autouse=True)
def busybox(suite: FakeSuite) -> None:
    suite.pulled("busybox:latest")


async def create(client: httpx.AsyncClient, name: str, **body: Any) -> str:
    answer = await client.post(f"/containers/create?name={name}", json={**CREATE, **body})
    assert answer.status_code == 201, answer.text
    container: str = answer.json()["Id"]
    return container


async def test_inspect_has_dockers_full_shape(client: httpx.AsyncClient) -> None:
    container = await create(client, "one", HostConfig={"Memory": 67108864}, Hostname="h")
    value = (await client.get("/containers/one/json")).json()
    assert value["Id"] == container
    assert value["Name"] == "/one"
    assert value["Path"] == "sleep"
    assert value["State"] == {
        "Status": "created",
        "Running": False,
        "Paused": False,
        "Restarting": False,
        "OOMKilled": False,
        "Dead": False,
        "Pid": 0,
        "ExitCode": 0,
        "Error": "",
        "StartedAt": "0001-01-01T00:00:00Z",
        "FinishedAt": "0001-01-01T00:00:00Z",
    }
    assert value["Image"].startswith("sha256:")
    assert value["Config"]["Hostname"] == "h"
    assert value["HostConfig"]["Memory"] == 67108864
    assert value["HostConfig"]["NetworkMode"] == "bridge"
    assert value["HostConfig"]["RestartPolicy"] == {"Name": "no", "MaximumRetryCount": 0}
    assert value["NetworkSettings"]["IPAddress"] == ""
    assert value["Mounts"] == []


async def test_addresses_show_while_it_runs(client: httpx.AsyncClient) -> None:
    wished = {"EndpointsConfig": {"bridge": {"MacAddress": "02:42:0A:01:00:99"}}}
    await create(client, "one", NetworkingConfig=wished)
    settings = (await client.get("/containers/one/json")).json()["NetworkSettings"]
    assert settings["Networks"]["bridge"]["IPAddress"] == ""
    assert settings["Networks"]["bridge"]["MacAddress"] == "02:42:0a:01:00:99"
    await client.post("/containers/one/start")
    settings = (await client.get("/containers/one/json")).json()["NetworkSettings"]
    assert settings["IPAddress"] == "172.17.0.2"
    assert settings["Networks"]["bridge"]["IPPrefixLen"] == 16
    assert settings["Networks"]["bridge"]["MacAddress"] == "02:42:ac:11:00:02"


async def test_sizes_are_told_where_they_are_asked_for(client: httpx.AsyncClient) -> None:
    await create(client, "one")
    await create(client, "two")
    asked = (await client.get("/containers/json?all=1&size=1")).json()
    assert [(one["SizeRw"], one["SizeRootFs"]) for one in asked] == [(5, 95), (5, 95)]
    inspected = (await client.get("/containers/one/json?size=true")).json()
    assert (inspected["SizeRw"], inspected["SizeRootFs"]) == (5, 95)
    for unasked in (
        (await client.get("/containers/json?all=1&size=0")).json()[0],
        (await client.get("/containers/one/json")).json(),
    ):
        assert not {"SizeRw", "SizeRootFs"} & set(unasked)
    assert (await client.get("/containers/nosuch/json?size=1")).status_code == 404


async def test_names_with_a_slash_and_short_ids(client: httpx.AsyncClient) -> None:
    container = await create(client, "one")
    for reference in ("%2Fone", "/one", container[:12], container):
        answer = await client.get(f"/containers/{reference}/json")
        assert answer.json()["Id"] == container


async def test_nothing_to_do_is_304_without_a_body(client: httpx.AsyncClient) -> None:
    await create(client, "one")
    stopped = await client.post("/containers/one/stop")
    assert (stopped.status_code, stopped.content) == (304, b"")
    assert (await client.post("/containers/one/start")).status_code == 204
    assert (await client.post("/containers/one/start")).status_code == 304


async def test_a_stop_among_many_has_the_time_that_all_take(
    client: httpx.AsyncClient, suite: FakeSuite
) -> None:
    await create(client, "one")
    await client.post("/containers/one/start")
    assert (await client.post("/containers/one/stop?t=0")).status_code == 204
    # A hundred took 33 s on two cores with a load of 90.
    assert suite.exec.stop_seconds > 300


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "json"),
        ("POST", "start"),
        ("POST", "stop"),
        ("POST", "kill"),
        ("POST", "wait"),
        ("POST", "rename?name=two"),
        ("POST", "resize?h=1&w=1"),
        ("GET", "logs?stdout=1"),
    ],
)
async def test_unknown_container(client: httpx.AsyncClient, method: str, path: str) -> None:
    answer = await client.request(method, f"/containers/nobody/{path}")
    assert (answer.status_code, answer.json()) == (
        404,
        {"message": "No such container: nobody"},
    )


async def test_kill_of_what_does_not_run(client: httpx.AsyncClient) -> None:
    container = await create(client, "one")
    answer = await client.post("/containers/one/kill")
    assert answer.status_code == 409
    assert answer.json()["message"] == (
        f"cannot kill container: one: container {container} is not running"
    )


async def test_missing_program_is_named(client: httpx.AsyncClient) -> None:
    await create(client, "one", Cmd=["nope"])
    answer = await client.post("/containers/one/start")
    assert answer.status_code == 400
    assert "executable file not found in $PATH" in answer.json()["message"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "invalid JSON: "),
        (b"[]", "invalid JSON: the body must be an object"),
        (b"", "config cannot be empty in order to create a container"),
        (b"{}", "config cannot be empty in order to create a container"),
        (b'{"Image":7}', "invalid JSON: Image must be a string"),
        (b'{"Image":"a","Env":"A=1"}', "invalid JSON: Env must be an array"),
        (b'{"Image":"a","Env":[1]}', "invalid JSON: Env must hold strings"),
        (b'{"Image":"a","Tty":1}', "invalid JSON: Tty must be a boolean"),
        (b'{"Image":"a","HostConfig":[]}', "invalid JSON: HostConfig must be an object"),
        (b'{"Image":"a","HostConfig":{"Memory":"1g"}}', "HostConfig.Memory must be a number"),
        (b'{"Image":"a","HostConfig":{"Memory":1e99}}', "HostConfig.Memory must be a number"),
        (b'{"Image":"a","Env":["=x"]}', "invalid environment variable: =x"),
        (b'{"Image":"a","WorkingDir":"x"}', "the working directory 'x' is invalid"),
        (b'{"Image":"a","Cmd":"\\ud800"}', "invalid JSON: a string is not valid Unicode"),
        (b"[" * 100_000, "invalid JSON: it is nested too deeply"),
        (b"\xff", "invalid JSON: "),
    ],
)
async def test_bodies_that_cannot_be(client: httpx.AsyncClient, body: bytes, message: str) -> None:
    answer = await client.post(
        "/containers/create", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 400
    assert message in answer.json()["message"]


async def test_body_that_is_no_json_by_its_own_word(client: httpx.AsyncClient) -> None:
    answer = await client.post(
        "/containers/create", content=b"x=1", headers={"Content-Type": "text/plain"}
    )
    assert answer.status_code == 400
    assert answer.json()["message"] == (
        "unsupported Content-Type header (text/plain): must be 'application/json'"
    )


async def test_body_without_end_is_cut_off(client: httpx.AsyncClient) -> None:
    answer = await client.post(
        "/containers/create",
        content=b'"' + b"x" * 5_000_000,
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 413


@pytest.mark.parametrize("name", ["", "a b", "-x", "a/b", "é", "x"])
async def test_invalid_names(client: httpx.AsyncClient, name: str) -> None:
    answer = await client.post("/containers/create", params={"name": name}, json=CREATE)
    if not name:
        assert answer.status_code == 201
        return
    assert answer.status_code == 400
    assert f"Invalid container name ({name})" in answer.json()["message"]


async def test_unknown_image(client: httpx.AsyncClient) -> None:
    answer = await client.post("/containers/create", json={"Image": "nowhere"})
    assert (answer.status_code, answer.json()) == (404, {"message": "No such image: nowhere"})


async def test_what_clients_always_send_is_taken(client: httpx.AsyncClient) -> None:
    """The body of ``docker run IMAGE`` as CLI 28 sends it, and docker-py's nulls."""
    body: dict[str, Any] = {
        **dict.fromkeys(("Volumes", "OnBuild", "Shell", "Healthcheck", "Env", "Entrypoint")),
        "Image": "busybox",
        "Domainname": "",
        "AttachStdout": True,
        "Labels": {},
        "NetworkDisabled": False,
        "HostConfig": {
            **dict.fromkeys(
                ("Binds", "VolumesFrom", "CapAdd", "CapDrop", "ExtraHosts", "GroupAdd", "Links")
            ),
            **dict.fromkeys(("MaskedPaths", "ReadonlyPaths", "Ulimits", "DeviceRequests")),
            **dict.fromkeys(("OomKillDisable", "PidsLimit", "Init", "MemorySwappiness")),
            "ContainerIDFile": "/tmp/cid",
            "LogConfig": {"Type": "", "Config": {}},
            "NetworkMode": "default",
            "PortBindings": {},
            "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
            "ConsoleSize": [24, 80],
            "CgroupnsMode": "",
            "Dns": [],
            "Isolation": "",
            "ShmSize": 0,
            "MemorySwappiness ": None,
            "BlkioWeightDevice": [],
            "BlkioDeviceReadBps": None,
        },
        "NetworkingConfig": {
            "EndpointsConfig": {
                "default": {
                    "IPAMConfig": {},
                    "Links": None,
                    "Aliases": None,
                    "MacAddress": "",
                    "DriverOpts": None,
                    "GwPriority": 0,
                    "NetworkID": "",
                    "IPPrefixLen": 0,
                    "DNSNames": None,
                }
            }
        },
    }
    answer = await client.post("/containers/create", json=body)
    assert answer.status_code == 201, answer.text


@pytest.mark.parametrize(
    ("bindings", "status", "message"),
    [
        ({"x/tcp": []}, 400, "invalid port specification: 'x/tcp'"),
        ({"0/tcp": []}, 400, "invalid port specification: '0/tcp'"),
        ({"65536": []}, 400, "invalid port specification: '65536'"),
        ({"80/icmp": []}, 400, "invalid protocol: icmp"),
        ({"80/sctp": []}, 501, "protocol sctp in HostConfig.PortBindings is not implemented"),
        ({"80": {}}, 400, "HostConfig.PortBindings.80 must be an array"),
        ({"80": [7]}, 400, "HostConfig.PortBindings.80 must be an object"),
        ({"80": [{"HostPort": 80}]}, 400, "HostConfig.PortBindings.80.HostPort must be a string"),
        ({"80": [{"HostPort": "web"}]}, 400, "invalid port specification: 'web'"),
        ({"80": [{"HostPort": "9-8"}]}, 400, "invalid port specification: '9-8'"),
        ({"80": [{"HostPort": "0-8"}]}, 400, "invalid port specification: '0-8'"),
        ({"80": [{"HostPort": "65536"}]}, 400, "invalid port specification: '65536'"),
        ({"80": [{"HostIp": "somewhere"}]}, 400, "invalid IP address: somewhere"),
        ({"80": [{"Flavour": "x"}]}, 501, "HostConfig.PortBindings.80.Flavour"),
    ],
)
async def test_ports_that_cannot_be_published_are_refused(
    client: httpx.AsyncClient, bindings: dict[str, Any], status: int, message: str
) -> None:
    body = {"Image": "busybox", "HostConfig": {"PortBindings": bindings}}
    answer = await client.post("/containers/create", json=body)
    assert answer.status_code == status
    assert message in answer.json()["message"]


@pytest.mark.parametrize("bindings", [None, [], [{}], [{"HostIp": "", "HostPort": "0"}]])
async def test_a_binding_that_says_nothing_is_any_port(
    client: httpx.AsyncClient, bindings: Any
) -> None:
    body = {"Image": "busybox", "HostConfig": {"PortBindings": {"80": bindings}}}
    answer = await client.post("/containers/create", json=body)
    assert answer.status_code == 201, answer.text
    shown = (await client.get(f"/containers/{answer.json()['Id']}/json")).json()
    expected = {"80/tcp": [{"HostIp": "", "HostPort": ""}]}
    assert shown["HostConfig"]["PortBindings"] == expected


async def test_names_of_fields_are_taken_in_any_case(
    client: httpx.AsyncClient, suite: FakeSuite
) -> None:
    body = {"image": "busybox", "cmd": "sleep", "hostconfig": {"autoremove": True}}
    answer = await client.post("/containers/create", json=body)
    spec = suite.exec.containers[answer.json()["Id"]].proto.spec
    assert (list(spec.command), spec.auto_remove) == (["sleep"], True)


async def test_unknown_option_is_refused_by_name(client: httpx.AsyncClient) -> None:
    body = {**CREATE, "HostConfig": {"FromTheFuture": {"x": 1}}}
    answer = await client.post("/containers/create", json=body)
    assert answer.status_code == 501
    assert answer.json()["message"] == "HostConfig.FromTheFuture is not implemented yet"


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


async def test_list_filters(client: httpx.AsyncClient) -> None:
    await create(client, "web-1", Labels={"tier": "web"})
    await create(client, "web-2", Labels={"tier": "web", "x": "1"})
    await create(client, "db", Labels={"tier": "db"})
    await client.post("/containers/db/start")

    async def names(**filters: list[str]) -> list[str]:
        query = {"all": "1", "filters": json.dumps(filters)}
        answer = await client.get("/containers/json", params=query)
        assert answer.status_code == 200, answer.text
        return [container["Names"][0] for container in answer.json()]

    assert await names() == ["/db", "/web-2", "/web-1"]
    assert await names(label=["tier=web"]) == ["/web-2", "/web-1"]
    assert await names(label=["tier=web", "x"]) == ["/web-2"]
    assert await names(name=["^/?web"]) == ["/web-2", "/web-1"]
    assert await names(status=["running"]) == ["/db"]
    assert await names(status=["running", "created"]) == ["/db", "/web-2", "/web-1"]
    assert await names(ancestor=["busybox"], name=["db"]) == ["/db"]
    assert await names(ancestor=["other"]) == []
    assert await names(before=["web-2"]) == ["/web-1"]
    assert await names(since=["web-1"]) == ["/db", "/web-2"]
    assert await names(network=["bridge"]) == ["/db", "/web-2", "/web-1"]
    assert await names(volume=["v"]) == []
    shown = await client.get("/containers/json")
    assert [container["Names"] for container in shown.json()] == [["/db"]]
    newest = await client.get("/containers/json?limit=2")
    assert len(newest.json()) == 2


@pytest.mark.parametrize(
    "filters",
    [
        "x",
        "[]",
        '{"nope":["x"]}',
        '{"status":["gone"]}',
        '{"exited":["a"]}',
        '{"label":[1]}',
        '{"publish":["x"]}',
        '{"name":["(a+)+$"]}',
        '{"health":["ill"]}',
        '{"is-task":["perhaps"]}',
    ],
)
async def test_filters_that_cannot_be(client: httpx.AsyncClient, filters: str) -> None:
    await create(client, "one")
    answer = await client.get("/containers/json", params={"all": "1", "filters": filters})
    assert answer.status_code == 400, answer.text


async def test_a_list_of_a_hundred(client: httpx.AsyncClient) -> None:
    for number in range(100):
        await create(client, f"c{number}")
    assert len((await client.get("/containers/json?all=1")).json()) == 100


def test_every_reason_has_an_answer() -> None:
    from gateway import errors

    assert set(errors._ANSWERS) == set(Reason)

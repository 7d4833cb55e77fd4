"""POST /containers/create over the API itself: bodies, names, ports and options."""

from typing import Any

import httpx
import pytest

from tests.unit.gateway.creating import CREATE
from tests.unit.gateway.fake_facets import FakeSuite


@pytest.fixture(autouse=True)
def busybox(suite: FakeSuite) -> None:
    suite.pulled("busybox:latest")


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


async def test_a_network_that_is_named_by_its_id_as_well_is_joined_once(
    client: httpx.AsyncClient, suite: FakeSuite
) -> None:
    def body(**settings: dict[str, Any]) -> dict[str, Any]:
        return {**CREATE, "NetworkingConfig": {"EndpointsConfig": settings}}

    answer = await client.post(
        "/containers/create", json=body(bridge={}, bbbbbb={"GwPriority": 5}, other={})
    )
    assert answer.status_code == 201, answer.text
    joined = [(one.network, one.gateway_priority) for one in suite.exec.requests[-1].spec.networks]
    assert joined == [("bridge", 5), ("other", 0)]
    answer = await client.post(
        "/containers/create", json=body(bridge={"GwPriority": 4}, bbbbbb={"GwPriority": 5})
    )
    assert answer.status_code == 400
    assert answer.json()["message"] == (
        "network bridge is named by its name and by its ID, with different settings"
    )


async def test_negative_cpus_are_too_many(client: httpx.AsyncClient, suite: FakeSuite) -> None:
    body = {**CREATE, "HostConfig": {"NanoCpus": -1}}
    await client.post("/containers/create", json=body)
    # exec refuses it with the CPUs that there are
    assert suite.exec.requests[-1].spec.resources.nano_cpus == 2**63


@pytest.mark.parametrize(
    ("version", "name", "mode", "warned"),
    [
        ("v1.44", "MacAddress", "bridge", True),
        ("v1.51", "macaddress", "none", True),
        ("v1.43", "MacAddress", "bridge", False),
        ("v1.51", "Hostname", "bridge", False),
    ],
)
async def test_a_container_wide_mac_address_is_warned_of_since_1_44(
    client: httpx.AsyncClient, version: str, name: str, mode: str, warned: bool
) -> None:
    body = {**CREATE, name: "02:42:0a:09:00:05", "HostConfig": {"NetworkMode": mode}}
    answer = await client.post(f"/{version}/containers/create", json=body)
    assert answer.status_code == 201, answer.text
    warning = (
        "The container-wide MacAddress field is now deprecated. It should be specified in "
        "EndpointsConfig instead."
    )
    assert answer.json()["Warnings"] == [warning] * warned

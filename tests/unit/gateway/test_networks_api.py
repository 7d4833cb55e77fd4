"""Endpoints below /networks."""

import asyncio
import json
import time
from typing import Any

import httpx
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from vic.network.v1 import network_pb2

from gateway.errors import ApiError
from gateway.translate.filters import Filters
from gateway.translate.networks import prunable
from gateway.translate.plans import PRUNE_FILTERS
from gateway.translate.until import until_of
from tests.unit.gateway.fake_facets import FakeSuite


@pytest.fixture(autouse=True)
def busybox(suite: FakeSuite) -> None:
    """An image to make containers of."""
    suite.pulled("busybox:latest")


async def create(client: httpx.AsyncClient, **body: Any) -> tuple[int, Any]:
    """Ask for a network; returns status and answer."""
    answer = await client.post("/networks/create", json=body)
    return answer.status_code, answer.json()


async def test_all_of_a_network_that_is_asked_for_reaches_the_facet(
    client: httpx.AsyncClient, suite: FakeSuite
) -> None:
    config = {
        "Subnet": "10.9.0.0/16",
        "IPRange": "10.9.4.0/24",
        "Gateway": "10.9.0.1",
        "AuxiliaryAddresses": {"printer": "10.9.4.7"},
    }
    status, answer = await create(
        client,
        Name="app",
        CheckDuplicate=True,
        Driver="bridge",
        Scope="local",
        EnableIPv6=False,
        IPAM={"Driver": "default", "Options": {}, "Config": [config]},
        Internal=True,
        Attachable=True,
        Ingress=False,
        ConfigOnly=False,
        ConfigFrom={"Network": ""},
        Options={"com.docker.network.driver.mtu": "1400"},
        Labels={"team": "a"},
    )
    assert (status, answer["Warning"]) == (201, "")
    (asked,) = suite.network.asked
    assert asked.network_id == answer["Id"]
    assert asked.internal
    assert asked.attachable
    assert dict(asked.options) == {"com.docker.network.driver.mtu": "1400"}
    shown = (await client.get("/networks/app")).json()
    assert shown["IPAM"]["Config"] == [config]
    assert (shown["Labels"], shown["Internal"]) == ({"team": "a"}, True)


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({}, 400, "name is empty"),
        ({"Name": "a", "Driver": "overlay"}, 501, "network driver 'overlay'"),
        ({"Name": "a", "Driver": "host"}, 403, 'only one instance of "host" network is allowed'),
        ({"Name": "a", "Scope": "swarm"}, 501, "Scope"),
        ({"Name": "a", "Ingress": True}, 501, "Ingress"),
        ({"Name": "a", "ConfigFrom": {"Network": "b"}}, 501, "ConfigFrom"),
        ({"Name": "a", "EnableIPv4": False}, 501, "EnableIPv4"),
        ({"Name": "a", "IPAM": {"Driver": "dhcp"}}, 501, "IPAM.Driver"),
        ({"Name": "a", "IPAM": {"Options": {"x": "y"}}}, 501, "IPAM.Options"),
        ({"Name": "a", "IPAM": {"Config": [{"Network": "x"}]}}, 501, "IPAM.Config.Network"),
        ({"Name": "a", "IPAM": {"Config": "x"}}, 400, "IPAM.Config"),
        ({"Name": "bridge"}, 409, "network with name bridge already exists"),
    ],
)
async def test_what_cannot_be_is_refused(
    client: httpx.AsyncClient, body: dict[str, Any], status: int, message: str
) -> None:
    got, answer = await create(client, **body)
    assert (got, message in answer["message"]) == (status, True), answer


async def test_a_network_is_removed_once(client: httpx.AsyncClient) -> None:
    await create(client, Name="app")
    assert (await client.delete("/networks/app")).status_code == 204
    again = await client.delete("/networks/app")
    assert (again.status_code, again.json()) == (404, {"message": "network app not found"})


async def test_a_network_of_ended_containers_goes_when_their_vms_are_gone(
    client: httpx.AsyncClient, suite: FakeSuite
) -> None:
    await create(client, Name="app")
    made = await client.post("/containers/create", json={"Image": "busybox", "Cmd": ["sleep"]})
    container = made.json()["Id"]
    network = suite.network.find("app")
    network.endpoints.add(container_id=container, ipv4_address="10.0.0.2", bound=True)
    await client.post(f"/containers/{container}/start")
    assert (await client.delete("/networks/app")).status_code == 403
    await client.post(f"/containers/{container}/stop")
    suite.network.refused.clear()
    removing = asyncio.create_task(client.delete("/networks/app"))
    async with asyncio.timeout(60):
        await suite.network.refused.wait()
    del network.endpoints[:]
    async with asyncio.timeout(60):
        assert (await removing).status_code == 204


async def test_a_network_in_use_stays(client: httpx.AsyncClient, suite: FakeSuite) -> None:
    await create(client, Name="app")
    network = suite.network.find("app")
    running = network_pb2.Endpoint(container_id="c" * 64, ipv4_address="10.0.0.2", bound=True)
    stopped = network_pb2.Endpoint(container_id="d" * 64, ipv4_address="10.0.0.3")
    network.endpoints.extend([running, stopped])
    refused = await client.delete("/networks/app")
    assert refused.status_code == 403
    assert "has active endpoints" in refused.json()["message"]
    # Those that run alone are shown.
    assert list((await client.get("/networks/app")).json()["Containers"]) == ["c" * 64]


async def test_a_container_is_connected_as_asked_and_disconnected(
    client: httpx.AsyncClient, suite: FakeSuite
) -> None:
    await client.post("/containers/create", params={"name": "web"}, json={"Image": "busybox"})
    settings = {
        "IPAMConfig": {
            "IPv4Address": "10.9.0.5",
            "IPv6Address": "fd00:9::5",
            "LinkLocalIPs": [],
        },
        "Links": ["db:database", "app_db_1"],
        "Aliases": ["www"],
        "MacAddress": "02:42:0a:09:00:05",
        "DriverOpts": None,
        "GwPriority": -3,
        # As inspect had it; nobody asks for it.
        "NetworkID": "x",
        "Gateway": "10.9.0.1",
        "IPPrefixLen": 16,
    }
    body = {"Container": "/web", "EndpointConfig": settings}
    joined = await client.post("/networks/app/connect", json=body)
    assert (joined.status_code, joined.content) == (200, b"")
    (asked,) = suite.exec.joined
    assert (asked.network, asked.ipv4_address) == ("app", "10.9.0.5")
    assert asked.ipv6_address == "fd00:9::5"
    assert list(asked.links) == ["db:database", "app_db_1:app_db_1"]
    assert (list(asked.aliases), asked.gateway_priority) == (["www"], -3)
    shown = (await client.get("/containers/web/json")).json()["NetworkSettings"]["Networks"]["app"]
    assert shown["IPAMConfig"] == {"IPv4Address": "10.9.0.5", "IPv6Address": "fd00:9::5"}
    assert (shown["Links"], shown["GwPriority"]) == (["db:database", "app_db_1:app_db_1"], -3)
    for status, words in ((200, ""), (500, "is not connected to the network app")):
        forced = {"Container": "web", "Force": True}
        left = await client.post("/networks/app/disconnect", json=forced)
        assert (left.status_code, words in left.text) == (status, True)


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ({}, 400, "Container"),
        ({"Container": 3}, 400, "Container"),
        ({"Container": "nobody"}, 404, ""),
        ({"Container": "web", "EndpointConfig": {"DriverOpts": {"a": "b"}}}, 501, "DriverOpts"),
        (
            {"Container": "web", "EndpointConfig": {"IPAMConfig": {"LinkLocalIPs": ["1"]}}},
            501,
            "LinkLocalIPs",
        ),
        ({"Container": "web", "EndpointConfig": {"Aliases": "a"}}, 400, "Aliases"),
        ({"Container": "web", "Surprise": True}, 501, "Surprise"),
    ],
)
async def test_what_cannot_be_connected_is_refused(
    client: httpx.AsyncClient, body: dict[str, Any], status: int, message: str
) -> None:
    await client.post("/containers/create", params={"name": "web"}, json={"Image": "busybox"})
    refused = await client.post("/networks/app/connect", json=body)
    assert (refused.status_code, message in refused.json()["message"]) == (status, True)


async def test_nobody_joins_the_hosts_own_network(client: httpx.AsyncClient) -> None:
    refused = await client.post("/networks/host/connect", json={"Container": "web"})
    assert (refused.status_code, refused.json()["message"]) == (
        400,
        "cannot connect container to host network - container must be created in host network mode",
    )


@pytest.mark.parametrize("field", ["Links", "Aliases"])
async def test_the_default_network_has_neither_links_nor_aliases(
    client: httpx.AsyncClient, field: str
) -> None:
    await client.post("/containers/create", params={"name": "web"}, json={"Image": "busybox"})
    body = {"Container": "web", "EndpointConfig": {field: ["a:b"]}}
    refused = await client.post("/networks/bridge/connect", json=body)
    assert (refused.status_code, field.lower() in refused.text.lower()) in (
        (400, True),
        (501, True),
    )


async def test_links_are_of_the_network_that_the_container_is_in(
    client: httpx.AsyncClient, suite: FakeSuite
) -> None:
    host = {"Links": ["db:database"], "NetworkMode": "app"}
    networking = {"EndpointsConfig": {"app": {"Links": ["db:database"]}, "other": {}}}
    body = {"Image": "busybox", "HostConfig": host, "NetworkingConfig": networking}
    made = await client.post("/containers/create", json=body)
    assert made.status_code == 201, made.text
    (container,) = suite.exec.containers.values()
    asked = [(n.network, list(n.links)) for n in container.proto.spec.networks]
    assert asked == [("app", ["db:database"]), ("other", [])]
    body["HostConfig"] = {"Links": ["db:database"]}
    refused = await client.post("/containers/create", json=body)
    assert (refused.status_code, "Links is not supported" in refused.text) == (501, True)


async def test_prune_takes_a_network_whose_last_container_has_just_ended(
    client: httpx.AsyncClient, suite: FakeSuite
) -> None:
    members = {}
    for name in ("ended", "used"):
        await create(client, Name=name)
        made = await client.post("/containers/create", json={"Image": "busybox", "Cmd": ["sleep"]})
        members[name] = made.json()["Id"]
        await client.post(f"/containers/{members[name]}/start")
    # The VM of one that has ended may be in a network where another one runs.
    for network, name in (("ended", "ended"), ("used", "ended"), ("used", "used")):
        suite.network.find(network).endpoints.add(container_id=members[name], bound=True)
    await client.post(f"/containers/{members['ended']}/stop")
    pruning = asyncio.create_task(client.post("/networks/prune"))
    async with asyncio.timeout(60):
        await suite.network.listed.wait()
        assert not suite.network.pruned
        del suite.network.find("ended").endpoints[:]
        assert (await pruning).json() == {"NetworksDeleted": ["ended"]}


@pytest.mark.parametrize(
    "filters",
    [{"label": ["other"]}, {"label": ["a=c"]}, {"label!": ["x", "a=b"]}, {"until": ["1h"]}],
)
async def test_prune_waits_for_no_network_that_it_leaves(
    client: httpx.AsyncClient, suite: FakeSuite, filters: dict[str, list[str]]
) -> None:
    await create(client, Name="left", Labels={"a": "b"})
    made = await client.post("/containers/create", json={"Image": "busybox", "Cmd": ["sleep"]})
    suite.network.find("left").endpoints.add(container_id=made.json()["Id"], bound=True)
    async with asyncio.timeout(60):
        answer = await client.post("/networks/prune", params={"filters": json.dumps(filters)})
    assert answer.json() == {"NetworksDeleted": None}


@pytest.mark.parametrize(
    ("filters", "fits"),
    [
        ({}, True),
        ({"label": ["a"]}, True),
        ({"label": ["a=b"], "label!": ["a=c", "d"]}, True),
        ({"label": ["a", "d"]}, False),
        ({"label!": ["d", "a"]}, False),
        ({"until": ["101"]}, True),
        ({"until": ["100"]}, False),
    ],
)
def test_what_prune_takes(filters: dict[str, list[str]], fits: bool) -> None:
    network = network_pb2.Network(labels={"a": "b"}, created_at=Timestamp(seconds=100))
    read = Filters.parse(json.dumps(filters), PRUNE_FILTERS)
    assert prunable([network], read, until_of(read)) == ([network] if fits else [])


def test_prune_takes_no_network_that_is_not_ours_to_remove() -> None:
    predefined = network_pb2.Network(predefined=True)
    external = network_pb2.Network(external=network_pb2.External(parent="eth0"))
    assert prunable([predefined, external], Filters({}), None) == []


async def test_prune_passes_its_filters_on(client: httpx.AsyncClient, suite: FakeSuite) -> None:
    await create(client, Name="app")
    filters = {"label": ["a=b"], "label!": ["keep"], "until": ["1700000000"]}
    pruned = await client.post("/networks/prune", params={"filters": json.dumps(filters)})
    assert pruned.json() == {"NetworksDeleted": ["app"]}
    (request,) = suite.network.pruned
    assert list(request.label_filters) == ["a=b", "!keep"]
    assert request.until == Timestamp(seconds=1_700_000_000)
    bad = await client.post("/networks/prune", params={"filters": '{"name":["x"]}'})
    assert bad.status_code == 400
    assert (await client.post("/networks/prune")).json() == {"NetworksDeleted": None}


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        *(
            ("10m", 9400.0),
            ("1h30m", 4600.0),
            ("500ms", 9999.5),
            ("1.5s", 9998.5),
            ("-3m", 10180.0),
        ),
        *(("9000", 9000.0), ("9000.25", 9000.25), ("1970-01-01T01:00:00Z", 3600.0)),
        *(("1970-01-01T01:00:00.5+01:00", 0.5), ("1970-01-02+01:00", 82_800.0)),
        *(("1970-01-01T02Z", 7200.0), ("1970-01-01T02:03Z", 7380.0)),
        # Nothing is older than that; a message with 0 in it couldn't be told from one without.
        *(("0", 1e-9), ("-5", 1e-9), ("1969-12-31T00:00:00Z", 1e-9), ("24h", 1e-9)),
    ],
)
def test_moments_of_prune(text: str, moment: float) -> None:
    filters = Filters.parse(json.dumps({"until": [text]}), PRUNE_FILTERS)
    found = until_of(filters, 10_000.0)
    assert found is not None
    assert found.seconds + found.nanos / 1e9 == pytest.approx(moment, rel=1e-12)


def test_a_date_without_a_zone_is_of_the_daemons() -> None:
    filters = Filters.parse(json.dumps({"until": ["2024-05-06T07:08:09"]}), PRUNE_FILTERS)
    found = until_of(filters)
    assert found is not None
    assert found.seconds == time.mktime((2024, 5, 6, 7, 8, 9, 0, 0, -1))


@pytest.mark.parametrize("values", [["soon"], ["1", "2"], [""], ["10x"], ["m"], ["2024-13-01"]])
def test_moments_of_prune_that_cannot_be(values: list[str]) -> None:
    filters = Filters.parse(json.dumps({"until": values}), PRUNE_FILTERS)
    with pytest.raises(ApiError):
        until_of(filters)

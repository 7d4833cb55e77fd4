"""Endpoints below /networks."""

import json
from typing import Any

import httpx
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from vic.network.v1 import network_pb2

from gateway.errors import ApiError
from gateway.translate.filters import Filters
from gateway.translate.plans import PRUNE_FILTERS, until_of
from tests.unit.gateway.fake_facets import FakeSuite


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
    ("text", "moment"), [("10m", 9400.0), ("1h30m", 4600.0), ("500ms", 9999.5), ("9000", 9000.0)]
)
def test_moments_of_prune(text: str, moment: float) -> None:
    filters = Filters.parse(json.dumps({"until": [text]}), PRUNE_FILTERS)
    found = until_of(filters, 10_000.0)
    assert found is not None
    assert found.seconds + found.nanos / 1e9 == pytest.approx(moment)


@pytest.mark.parametrize("values", [["soon"], ["1", "2"], ["-3m"], ["10x"]])
def test_moments_of_prune_that_cannot_be(values: list[str]) -> None:
    filters = Filters.parse(json.dumps({"until": values}), PRUNE_FILTERS)
    with pytest.raises(ApiError):
        until_of(filters)

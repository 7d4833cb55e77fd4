"""Endpoints below /volumes."""

import json
from typing import Any

import httpx
import pytest

from tests.unit.gateway.fake_facets import FakeSuite


async def names(client: httpx.AsyncClient, **filters: list[str]) -> list[str]:
    answer = await client.get("/volumes", params={"filters": json.dumps(filters)})
    return [volume["Name"] for volume in answer.json()["Volumes"]]


async def test_a_volume_from_its_creation_to_its_removal(
    client: httpx.AsyncClient, suite: FakeSuite
) -> None:
    assert (await client.get("/volumes")).json() == {"Volumes": [], "Warnings": None}
    body = {
        "Name": "data",
        "Driver": "local",
        "Labels": {"a": "b"},
        "DriverOpts": {"size": "1g"},
    }
    created = await client.post("/volumes/create", json=body)
    assert created.status_code == 201
    (asked,) = suite.volumes.asked
    assert (asked.name, dict(asked.labels), dict(asked.options)) == (
        "data",
        {"a": "b"},
        {"size": "1g"},
    )
    assert created.json() == {
        "CreatedAt": "2023-11-14T22:13:20Z",
        "Driver": "local",
        "Labels": {"a": "b"},
        "Mountpoint": "/v/data/disk.vmdk",
        "Name": "data",
        "Options": {"size": "1g"},
        "Scope": "local",
        "Status": {"SizeBytes": 1 << 30, "VolumeStore": "default"},
    }
    assert (await client.get("/volumes/data")).json() == created.json()
    assert await names(client) == ["data"]
    usage = (await client.get("/system/df?type=volume")).json()
    assert usage["Volumes"][0]["UsageData"] == {"Size": 4096, "RefCount": 0}
    assert (await client.delete("/volumes/data")).status_code == 204
    missing = await client.get("/volumes/data")
    assert (missing.status_code, missing.json()) == (404, {"message": "get data: no such volume"})
    assert (await client.delete("/volumes/data")).status_code == 404
    assert (await client.delete("/volumes/data?force=1")).status_code == 204


async def test_a_volume_in_use_is_refused_and_says_by_whom(
    client: httpx.AsyncClient, suite: FakeSuite
) -> None:
    suite.volumes.add("v", container_ids=["c" * 64])
    refused = await client.delete("/volumes/v?force=1")
    message = f"remove v: volume is in use - [{'c' * 64}]"
    assert (refused.status_code, refused.json()) == (409, {"message": message})


async def test_a_filter_is_refused_also_where_nothing_is(client: httpx.AsyncClient) -> None:
    for kind in ("volumes", "networks", "images/json"):
        wrong = await client.get(f"/{kind}", params={"filters": '{"dangling":["maybe"]}'})
        message = "invalid filter 'dangling=[maybe]'"
        assert (wrong.status_code, wrong.json()) == (400, {"message": message})


async def test_the_filters_of_a_list(client: httpx.AsyncClient, suite: FakeSuite) -> None:
    suite.volumes.add("db-data", labels={"tier": "db", "keep": ""}, container_ids=["c"])
    suite.volumes.add("web-data", labels={"tier": "web"})
    assert await names(client, name=["^db"]) == ["db-data"]
    assert await names(client, name=["data"]) == ["db-data", "web-data"]
    assert await names(client, label=["tier"]) == ["db-data", "web-data"]
    assert await names(client, label=["tier=db", "keep"]) == ["db-data"]
    assert await names(client, dangling=["true"]) == ["web-data"]
    assert await names(client, dangling=["0"]) == ["db-data"]
    assert await names(client, driver=["nfs"]) == []
    wrong = await client.get("/volumes", params={"filters": '{"size":["1"]}'})
    assert (wrong.status_code, wrong.json()) == (400, {"message": "invalid filter 'size'"})


@pytest.mark.parametrize(
    ("version", "filters", "everything", "labels"),
    [
        ("", {}, False, []),
        ("/v1.41", {}, True, []),
        ("", {"all": ["true"]}, True, []),
        ("", {"label": ["a=b"], "label!": ["keep"]}, False, ["a=b", "!keep"]),
    ],
)
async def test_a_prune_is_of_anonymous_volumes_unless_all_are_asked_for(
    client: httpx.AsyncClient,
    suite: FakeSuite,
    version: str,
    filters: dict[str, Any],
    everything: bool,
    labels: list[str],
) -> None:
    suite.volumes.add("v", used_bytes=7)
    pruned = await client.post(f"{version}/volumes/prune", params={"filters": json.dumps(filters)})
    assert pruned.json() == {"VolumesDeleted": ["v"], "SpaceReclaimed": 7}
    (asked,) = suite.volumes.pruned
    assert (asked.all, list(asked.label_filters)) == (everything, labels)
    assert (await client.post("/volumes/prune")).json()["VolumesDeleted"] is None


async def test_what_can_not_be_asked_of_a_volume(client: httpx.AsyncClient) -> None:
    refused = await client.post("/volumes/create", json={"Name": "a/b"})
    assert (refused.status_code, refused.json()) == (400, {"message": "create a/b: no"})
    cluster = await client.post("/volumes/create", json={"ClusterVolumeSpec": {"Group": "g"}})
    assert cluster.status_code == 501
    assert "ClusterVolumeSpec" in cluster.json()["message"]
    unknown = await client.post("/volumes/create", json={"Nmae": "x"})
    assert unknown.status_code == 501
    assert "Nmae" in unknown.json()["message"]
    assert (await client.put("/volumes/v", json={})).status_code == 503

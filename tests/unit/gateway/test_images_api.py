"""Images over the API itself."""

import asyncio
import json

import httpx
from vic.storage.v1 import image_pb2

from tests.unit.gateway.fake_facets import FakeSuite


async def test_image_names_hold_slashes(client: httpx.AsyncClient, suite: FakeSuite) -> None:
    image = suite.pulled("registry.test:5000/team/app:1.2")
    for name in ("registry.test:5000/team/app:1.2", image.id, image.id[7:19]):
        answer = await client.get(f"/images/{name}/json")
        assert answer.json()["Id"] == image.id
    missing = await client.get("/images/a/b/c/json")
    assert (missing.status_code, missing.json()) == (404, {"message": "No such image: a/b/c"})
    removed = await client.delete("/images/registry.test:5000/team/app:1.2")
    assert removed.json() == [
        {"Untagged": "registry.test:5000/team/app:1.2"},
        {"Deleted": image.id},
    ]


async def test_inspect_by_version(client: httpx.AsyncClient, suite: FakeSuite) -> None:
    suite.pulled("busybox:latest")
    newest = (await client.get("/images/busybox/json")).json()
    assert newest["RootFS"] == {"Type": "layers", "Layers": ["sha256:" + "1" * 64]}
    assert newest["Created"] == "2023-11-14T22:13:20Z"
    assert "VirtualSize" not in newest
    assert "Hostname" not in newest["Config"]
    oldest = (await client.get("/v1.24/images/busybox/json")).json()
    assert oldest["VirtualSize"] == oldest["Size"] == 4_261_550
    assert oldest["Config"]["Hostname"] == ""
    assert (oldest["Container"], oldest["ContainerConfig"]["Image"]) == ("", "")
    image = suite.images.find("busybox")
    image.container_id, image.container_config = "cd", '{"Image": "alpine"}'
    committed = (await client.get("/v1.44/images/busybox/json")).json()
    assert (committed["Container"], committed["ContainerConfig"]["Image"]) == ("cd", "alpine")
    assert "Container" not in (await client.get("/v1.45/images/busybox/json")).json()


async def test_a_number_of_any_size_in_an_image_is_answered(
    client: httpx.AsyncClient, suite: FakeSuite
) -> None:
    image = suite.pulled("busybox:latest")
    image.container_config = '{"StopTimeout": 36893488147419103232, "Image": "größe"}'
    answer = await client.get("/v1.44/images/busybox/json")
    assert answer.status_code == 200
    assert answer.json()["ContainerConfig"]["StopTimeout"] == 2**65
    assert answer.json()["ContainerConfig"]["Image"] == "größe"
    assert answer.content.endswith(b"}\n")
    assert b'": ' not in answer.content


async def test_a_pattern_of_many_sets_is_refused_at_once(client: httpx.AsyncClient) -> None:
    # Were there two ways to read each set, the answer would take longer than anybody lives.
    filters = json.dumps({"reference": ["[^a]" * 100 + "["]})
    async with asyncio.timeout(60):
        refused = await client.get("/images/json", params={"filters": filters})
    assert (refused.status_code, refused.json()) == (400, {"message": "syntax error in pattern"})


async def test_list_filters(client: httpx.AsyncClient, suite: FakeSuite) -> None:
    for name in suite.images.registry:
        suite.pulled(name)

    async def tags(**filters: list[str]) -> list[str]:
        answer = await client.get("/images/json", params={"filters": json.dumps(filters)})
        assert answer.status_code == 200, answer.text
        return sorted(image["RepoTags"][0] for image in answer.json())

    everything = ["busybox:latest", "registry.test:5000/team/app:1.2"]
    assert await tags() == everything
    assert await tags(reference=["busybox"]) == ["busybox:latest"]
    assert await tags(reference=["busy*:l*"]) == ["busybox:latest"]
    assert await tags(reference=["*/team/*"]) == ["registry.test:5000/team/app:1.2"]
    assert await tags(dangling=["true"]) == []
    assert await tags(dangling=["0"]) == everything
    assert await tags(label=["made=here"]) == everything
    assert await tags(label=["made=there"]) == []
    assert await tags(until=["1600000000"]) == []
    unknown = await client.get("/images/json", params={"filters": '{"before":["nope"]}'})
    assert (unknown.status_code, unknown.json()["message"]) == (404, "No such image: nope:latest")
    for pattern in ("[bad", "[]", "bad\\", "[a-]"):
        filters = json.dumps({"reference": [pattern]})
        wrong = await client.get("/images/json", params={"filters": filters})
        assert (wrong.status_code, wrong.json()["message"]) == (400, "syntax error in pattern")


async def test_a_reference_filter_shows_the_names_that_fit_alone(
    client: httpx.AsyncClient, suite: FakeSuite
) -> None:
    image = suite.pulled("busybox:latest")
    image.repository_tags.append("mine/box:1")
    answer = await client.get("/images/json", params={"filters": '{"reference":["mine/*"]}'})
    (listed,) = answer.json()
    assert (listed["RepoTags"], listed["RepoDigests"]) == (["mine/box:1"], [])


async def test_dangling_means_without_a_tag(client: httpx.AsyncClient, suite: FakeSuite) -> None:
    image = suite.pulled("busybox:latest")

    async def count(dangling: str) -> int:
        filters = json.dumps({"dangling": [dangling]})
        return len((await client.get("/images/json", params={"filters": filters})).json())

    assert (await count("true"), await count("false")) == (0, 1)
    del image.repository_tags[:]
    assert (await count("true"), await count("false")) == (1, 1)
    del image.repository_digests[:]
    assert (await count("true"), await count("false")) == (1, 0)


async def test_tags(client: httpx.AsyncClient, suite: FakeSuite) -> None:
    image = suite.pulled("busybox:latest")
    for query in ("repo=a/b", "repo=a/b:1", "repo=r:5000/a:1&tag=2"):
        answer = await client.post(f"/images/busybox/tag?{query}")
        assert (answer.status_code, answer.content) == (201, b"")
    assert list(image.repository_tags)[1:] == ["a/b:latest", "a/b:1", "r:5000/a:2"]
    missing = await client.post("/images/nosuch/tag?repo=a")
    assert (missing.status_code, missing.json()) == (404, {"message": "No such image: nosuch"})
    digest = "sha256:" + "0" * 64
    for query, message in (
        ("repo=a&tag=-", "invalid tag format"),
        ("tag=1", "invalid reference format"),
        (f"repo=a@{digest}", "cannot import digest reference"),
    ):
        refused = await client.post(f"/images/busybox/tag?{query}")
        assert (refused.status_code, refused.json()) == (400, {"message": message})


async def test_history(client: httpx.AsyncClient, suite: FakeSuite) -> None:
    image = suite.pulled("busybox:latest")
    first, second = (await client.get("/images/busybox:latest/history")).json()
    assert first == {
        "Id": image.id,
        "Created": 1_700_000_000,
        "CreatedBy": "CMD true",
        "Tags": ["busybox:latest"],
        "Size": 5,
        "Comment": "why",
    }
    assert (second["Id"], second["Tags"]) == ("<missing>", None)
    assert (await client.get("/images/nosuch/history")).status_code == 404


async def test_prune(client: httpx.AsyncClient, suite: FakeSuite) -> None:
    answer = await client.post("/images/prune")
    assert answer.json() == {"ImagesDeleted": [{"Deleted": "sha256:1"}], "SpaceReclaimed": 7}
    filters = {"dangling": ["false"], "until": ["5"], "label": ["a=b"], "label!": ["c"]}
    await client.post("/images/prune", params={"filters": json.dumps(filters)})
    first, second = suite.images.prunes
    assert (first.all, first.HasField("until"), list(first.label_filters)) == (False, False, [])
    assert (second.all, second.until.seconds) == (True, 5)
    assert list(second.label_filters) == ["a=b", "!c"]
    for wrong in ({"dangling": ["maybe"]}, {"until": ["soon"]}, {"nosuch": ["x"]}):
        refused = await client.post("/images/prune", params={"filters": json.dumps(wrong)})
        assert refused.status_code == 400


async def test_disk_usage(client: httpx.AsyncClient, suite: FakeSuite) -> None:
    suite.pulled("busybox:latest")
    usage = (await client.get("/system/df")).json()
    assert usage["LayersSize"] == 100
    (image,) = usage["Images"]
    assert (image["Containers"], image["SharedSize"], image["Size"]) == (2, 3, 4_261_550)
    assert (usage["Containers"], usage["Volumes"], usage["BuildCache"]) == ([], [], [])
    images = (await client.get("/system/df?type=image")).json()
    assert images["Images"]
    assert (images["Containers"], images["Volumes"], images["BuildCache"]) == (None, None, None)
    wrong = await client.get("/system/df?type=x")
    assert (wrong.status_code, wrong.json()) == (400, {"message": "unknown object type: x"})
    builds = await client.post("/build/prune")
    assert builds.json() == {"CachesDeleted": None, "SpaceReclaimed": 0}


async def test_networks(client: httpx.AsyncClient) -> None:
    for path in ("/networks", "/networks/"):
        assert [n["Name"] for n in (await client.get(path)).json()] == ["bridge", "none"]
    bridge = (await client.get("/networks/bridge")).json()
    assert bridge["IPAM"]["Config"] == [{"Subnet": "172.17.0.0/16", "Gateway": "172.17.0.1"}]
    custom = await client.get("/networks", params={"filters": '{"type":["custom"]}'})
    assert custom.json() == []


async def test_an_image_of_another_platform_is_not_what_was_asked_for(
    client: httpx.AsyncClient, suite: FakeSuite
) -> None:
    await client.post("/images/create?fromImage=busybox&tag=latest")
    ours = json.dumps({"os": "linux", "architecture": "amd64"})
    other = json.dumps({"os": "linux", "architecture": "arm64"})
    for path in ("json", "history"):
        there = f"/images/busybox/{path}"
        assert (await client.get(there, params={"platform": ours})).status_code == 200
        refused = await client.get(there, params={"platform": other})
        assert refused.status_code == 404
        assert refused.json()["message"] == "busybox is not for linux/arm64"
    pushed = await client.post("/images/busybox/push", params={"tag": "latest", "platform": other})
    assert pushed.status_code == 404
    assert (await client.get("/images/busybox/json?platform=x")).status_code == 400


async def test_a_removal_says_which_containers_run(
    client: httpx.AsyncClient, suite: FakeSuite
) -> None:
    await client.post("/images/create?fromImage=busybox&tag=latest")
    made = (await client.post("/containers/create", json={"Image": "busybox"})).json()["Id"]
    await client.post(f"/containers/{made}/start")
    await client.delete("/images/busybox")
    assert list(suite.images.removals[-1].running_container_ids) == [made]


async def test_what_others_were_made_of_is_listed_with_all_only_unless_it_is_named(
    client: httpx.AsyncClient, suite: FakeSuite
) -> None:
    base = image_pb2.Image(id="sha256:b", repository_tags=["base:1"])
    child = image_pb2.Image(id="sha256:c", parent_id=base.id)
    suite.images.images.update({image.id: image for image in (base, child)})

    async def listed(query: str = "") -> set[str]:
        return {image["Id"] for image in (await client.get(f"/images/json{query}")).json()}

    assert await listed() == {"sha256:b", "sha256:c"}
    del base.repository_tags[:]
    assert await listed() == {"sha256:c"}
    assert await listed("?all=1") == {"sha256:b", "sha256:c"}
    assert await listed('?all=1&filters={"dangling":["true"]}') == {"sha256:c"}
    (shown,) = (await client.get("/images/json")).json()
    assert shown["ParentId"] == "sha256:b"

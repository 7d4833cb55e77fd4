"""Images over the API itself."""

import asyncio
import base64
import json

import httpx
import pytest
from vic.storage.v1 import image_pb2

from tests.unit.gateway.conftest import Endpoint, Eventually
from tests.unit.gateway.fake_facets import FakeSuite
from tests.unit.gateway.fake_images import DIGEST


def auth(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


async def test_pull_lines_are_dockers(client: httpx.AsyncClient) -> None:
    answer = await client.post("/images/create?fromImage=busybox&tag=latest")
    assert answer.headers["Content-Type"] == "application/json"
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert lines[0] == {"status": "Pulling from library/busybox", "id": "latest"}
    assert lines[1] == {
        "status": "Pulling fs layer",
        "progressDetail": {},
        "id": "a1b2c3d4e5f6",
    }
    assert lines[2] == {
        "status": "Downloading",
        "progressDetail": {"current": 1_000_000, "total": 2_000_000},
        "progress": "[" + "=" * 25 + ">" + " " * 24 + "]      1MB/2MB",
        "id": "a1b2c3d4e5f6",
    }
    assert lines[-2]["status"].startswith("Digest: sha256:")
    assert lines[-1] == {"status": "Status: Downloaded newer image for busybox:latest"}


@pytest.mark.parametrize(
    ("query", "reference", "all_tags"),
    [
        ("fromImage=busybox&tag=latest", "busybox:latest", False),
        ("fromImage=busybox:latest", "busybox:latest", False),
        ("fromImage=busybox", "busybox", True),
        ("fromImage=a/b&tag=sha256:00", "a/b@sha256:00", False),
        ("fromImage=localhost:5000/a", "localhost:5000/a", True),
        ("fromImage=localhost:5000/a:1", "localhost:5000/a:1", False),
    ],
)
async def test_what_is_pulled(
    client: httpx.AsyncClient, suite: FakeSuite, query: str, reference: str, all_tags: bool
) -> None:
    await client.post(f"/images/create?{query}&platform=linux/amd64")
    request = suite.images.pulls[0]
    assert (request.reference, request.all_tags) == (reference, all_tags)
    assert request.platform == "linux/amd64"


@pytest.mark.parametrize(
    ("header", "username", "password"),
    [
        (auth({"username": "u", "password": "p", "serveraddress": "r"}), "u", "p"),
        (auth({"auth": base64.b64encode(b"u:p").decode()}), "u", "p"),
        (auth({"username": "u", "password": "p"}).rstrip("="), "u", "p"),
        (auth({}), "", ""),
        ("", "", ""),
        ("%%%", "", ""),
        (auth([1]), "", ""),
    ],
)
async def test_credentials(
    client: httpx.AsyncClient, suite: FakeSuite, header: str, username: str, password: str
) -> None:
    await client.post(
        "/images/create?fromImage=busybox&tag=latest", headers={"X-Registry-Auth": header}
    )
    credentials = suite.images.pulls[0].credentials
    assert (credentials.username, credentials.password) == (username, password)


async def test_refused_pull_is_a_plain_status(client: httpx.AsyncClient) -> None:
    answer = await client.post("/images/create?fromImage=busybox&tag=nope")
    assert answer.status_code == 404
    assert answer.json()["message"].startswith("manifest for busybox:nope not found")
    assert (await client.post("/images/create")).status_code == 400


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


async def test_push_lines_are_dockers(client: httpx.AsyncClient, suite: FakeSuite) -> None:
    header = {"X-Registry-Auth": auth({"username": "u", "password": "p"})}
    answer = await client.post("/images/r:5000/a/b/push?tag=1", headers=header)
    assert [json.loads(line) for line in answer.text.splitlines()] == [
        {"status": "The push refers to repository [r:5000/a/b:1]"},
        {"status": "Mounted from library/x", "progressDetail": {}, "id": "a1b2"},
        {"status": f"latest: digest: {DIGEST} size: 9"},
        {"progressDetail": {}, "aux": {"Tag": "latest", "Digest": DIGEST, "Size": 9}},
    ]
    await client.post("/images/r:5000/a/b/push")
    one, every = suite.images.pushes
    assert (one.all_tags, one.credentials.username) == (False, "u")
    assert (every.reference, every.all_tags) == ("r:5000/a/b", True)
    missing = await client.post("/images/nosuch/push?tag=1")
    assert json.loads(missing.text.splitlines()[-1])["error"] == (
        "An image does not exist locally with the tag: nosuch"
    )


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


async def test_an_import_sends_its_body_and_what_is_said_of_it(
    client: httpx.AsyncClient, suite: FakeSuite
) -> None:
    query = "fromSrc=-&repo=a/b&tag=1&message=why&changes=CMD+x&changes=ENV+a=b"
    answer = await client.post(f"/images/create?{query}", content=b"x" * 600_000)
    assert [json.loads(line) for line in answer.text.splitlines()] == [
        {
            "status": "Importing",
            "progressDetail": {"current": 1, "total": 2},
            "progress": "[=========================>                        ]       1B/2B",
        },
        {"status": "sha256:1"},
    ]
    start, *data, last = suite.images.uploads[0]
    assert last.complete
    assert not any(message.complete for message in data)
    assert (start.start.reference, start.start.message) == ("a/b:1", "why")
    assert list(start.start.changes) == ["CMD x", "ENV a=b"]
    assert b"".join(message.data for message in data) == b"x" * 600_000
    await client.post("/images/create?fromSrc=http://a/x.tar")
    assert suite.images.uploads[1][0].start.source_url == "http://a/x.tar"
    assert (await client.post("/images/create?fromSrc=")).status_code == 400


async def test_a_load_tells_its_progress_and_each_image(
    client: httpx.AsyncClient, suite: FakeSuite
) -> None:
    answer = await client.post("/images/load", content=b"tar")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert (lines[0]["id"], lines[0]["status"]) == ("abc", "Loading layer")
    assert [line["stream"] for line in lines[1:]] == [
        "The image x:1 already exists, renaming the old one with ID sha256:2 to empty string\n",
        "Loaded image: x:1\n",
        "Loaded image ID: sha256:1\n",
    ]
    damaged = await client.post("/images/load", content=b"damaged")
    assert damaged.status_code == 200
    assert json.loads(damaged.text)["errorDetail"] == {"message": "invalid archive: damaged"}
    quiet = await client.post("/images/load?quiet=1", content=b"tar")
    assert all("stream" in line for line in map(json.loads, quiet.text.splitlines()))
    assert b"".join(message.data for message in suite.images.uploads[0]) == b"tar"
    assert (await client.post("/images/load?platform=x", content=b"")).status_code == 400


@pytest.mark.parametrize("path", ["/images/load", "/images/create?fromSrc=-"])
@pytest.mark.parametrize("length", ["Transfer-Encoding: chunked", "Content-Length: 1000"])
async def test_a_body_whose_client_goes_away_is_never_called_complete(
    engine: Endpoint, suite: FakeSuite, eventually: Eventually, path: str, length: str
) -> None:
    _reader, writer = await asyncio.open_unix_connection(engine.path)
    chunk = b"3\r\ntar\r\n" if "chunked" in length else b"tar"
    writer.write(f"POST {path} HTTP/1.1\r\nHost: x\r\n{length}\r\n\r\n".encode() + chunk)
    await writer.drain()
    await eventually(lambda: any(message.data for message in suite.images.arriving))
    writer.close()
    await eventually(lambda: bool(suite.images.uploads))
    ((start, *data),) = suite.images.uploads
    assert start.HasField("start")
    assert [message.data for message in data] == [b"tar"]


async def test_images_are_saved_alone_and_together(client: httpx.AsyncClient) -> None:
    answer = await client.get("/images/a/b:1/get")
    assert (answer.text, answer.headers["content-type"]) == ("['a/b:1']", "application/x-tar")
    platform = json.dumps({"os": "linux", "architecture": "arm64", "variant": "v8"})
    several = await client.get("/images/get", params={"names": ["a", "b:2"], "platform": platform})
    assert several.text == "['a', 'b:2']linux/arm64/v8"
    assert (await client.get("/images/nosuch/get")).status_code == 404
    assert (await client.get("/images/get")).status_code == 400


async def test_a_search_is_filtered(client: httpx.AsyncClient) -> None:
    async def names(**filters: list[str]) -> list[str]:
        query = {"term": "mine", "limit": "5", "filters": json.dumps(filters)}
        answer = await client.get("/images/search", params=query)
        return [hit["name"] for hit in answer.json()]

    assert await names() == ["official", "mine"]
    assert await names(stars=["6"]) == ["official"]
    assert await names(**{"is-official": ["false"]}) == ["mine"]
    assert await names(**{"is-automated": ["true"]}) == []
    for query in ({"limit": "101"}, {"limit": "x"}, {"filters": '{"stars":["x"]}'}):
        refused = await client.get("/images/search", params={"term": "x", **query})
        assert refused.status_code == 400


async def test_what_a_registry_has_is_told(client: httpx.AsyncClient) -> None:
    answer = await client.get("/distribution/a/b:1/json")
    assert answer.json() == {
        "Descriptor": {"mediaType": "m", "digest": "sha256:1", "size": 7},
        "Platforms": [
            {"architecture": "amd64", "os": "linux"},
            {"architecture": "arm64", "os": "linux", "variant": "v8"},
        ],
    }


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
        assert refused.json()["message"] == (
            "image with reference busybox was found but its platform (linux/amd64) does not match "
            "the specified platform (linux/arm64)"
        )
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

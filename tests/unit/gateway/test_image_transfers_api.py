"""Images that come and go over the Docker API: pulls and pushes, archives, registries."""

import asyncio
import base64
import json

import httpx
import pytest

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
        # What nothing but JSON can spell, and what no reader of it should follow.
        (auth({"username": "\ud800", "password": "p"}), "", ""),
        (base64.urlsafe_b64encode(b'{"a":' * 900 + b"1" + b"}" * 900).decode(), "", ""),
        (base64.urlsafe_b64encode(b"[" * 6000).decode(), "", ""),
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

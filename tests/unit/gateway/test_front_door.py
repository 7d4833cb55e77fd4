"""What every request passes: versions, headers, error form, web pages kept out."""

import asyncio
import json

import httpx
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway import negotiation
from gateway.app import build_app
from gateway.errors import ApiError
from gateway.negotiation import DockerFrontDoor
from gateway.origins import OriginPolicy
from tests.unit.gateway.fake_facets import FakeSuite


async def test_ping_tells_what_it_is(client: httpx.AsyncClient) -> None:
    for method in ("GET", "HEAD"):
        answer = await client.request(method, "/_ping")
        assert answer.status_code == 200
        assert answer.text == ("OK" if method == "GET" else "")
        assert answer.headers["Api-Version"] == "1.51"
        assert answer.headers["Docker-Experimental"] == "false"
        assert answer.headers["Ostype"] == "linux"
        assert answer.headers["Server"] == "vic/0.1.0 (linux)"
        assert "Date" in answer.headers
        assert "no-cache" in answer.headers["Cache-Control"]


@pytest.mark.parametrize("version", ["", "/v1.24", "/v1.41", "/v1.51"])
async def test_every_version_is_spoken(client: httpx.AsyncClient, version: str) -> None:
    assert (await client.get(f"{version}/version")).json()["ApiVersion"] == "1.51"


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (
            "1.99",
            "client version 1.99 is too new. Maximum supported API version is 1.51",
        ),
        (
            "1.20",
            "client version 1.20 is too old. Minimum supported API version is 1.24, "
            "please upgrade your client to a newer version",
        ),
        ("2.0", "client version 2.0 is too new. Maximum supported API version is 1.51"),
    ],
)
async def test_too_new_and_too_old(client: httpx.AsyncClient, version: str, message: str) -> None:
    answer = await client.get(f"/v{version}/containers/json")
    assert (answer.status_code, answer.json()) == (400, {"message": message})
    assert answer.headers["Api-Version"] == "1.51"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/v1.41"),
        ("GET", "/nope"),
        ("GET", "/docs"),
        ("GET", "/openapi.json"),
        ("PUT", "/containers/json"),
        ("HEAD", "/containers/json"),
        ("GET", "/v1/containers/json"),
        ("GET", "/vx.y/containers/json"),
        ("OPTIONS", "/containers/json"),
    ],
)
async def test_unknown_page(client: httpx.AsyncClient, method: str, path: str) -> None:
    answer = await client.request(method, path)
    assert answer.status_code == 404
    if method != "HEAD":
        assert answer.json() == {"message": "page not found"}


async def test_swarm_is_refused_as_dockerd_does(client: httpx.AsyncClient) -> None:
    for path in ("/services", "/nodes/x", "/tasks", "/secrets", "/configs", "/swarm"):
        answer = await client.get(path)
        assert answer.status_code == 503
        assert answer.json()["message"].startswith("This node is not a swarm manager.")
    for path in ("/swarm/init", "/swarm/join"):
        begun = await client.post(path, json={})
        assert begun.status_code == 501
        assert begun.json()["message"].startswith("swarm mode is not supported")
    left = await client.post("/swarm/leave")
    assert (left.status_code, left.json()) == (503, {"message": "This node is not part of a swarm"})


async def test_what_is_missing_is_named(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1.45/containers/abc/checkpoints")
    assert answer.status_code == 501
    assert answer.json() == {"message": "GET /containers/{id}/checkpoints is not implemented yet"}
    assert (await client.get("/plugins")).json() == []


@pytest.mark.parametrize("host", ["127.0.0.1:2375", "[::1]:2375", "localhost:2375", "LOCALHOST"])
async def test_hosts_that_cannot_be_rebound(client: httpx.AsyncClient, host: str) -> None:
    assert (await client.get("/_ping", headers={"Host": host})).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "localhost.evil.example:2375"},
        {"Host": "127.0.0.1.nip.io"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
async def test_web_pages_are_kept_out(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    answer = await client.get("/_ping", headers=headers)
    assert answer.status_code == 403
    assert "refused" in answer.json()["message"]


async def test_names_and_origins_that_are_allowed(suite: FakeSuite) -> None:
    policy = OriginPolicy(["docker.example"], ["https://admin.example"])
    transport = httpx.ASGITransport(app=build_app(suite.facets, policy, "1"))
    async with httpx.AsyncClient(transport=transport, base_url="http://docker.example") as client:
        origin = {"Origin": "https://admin.example"}
        assert (await client.get("/_ping", headers=origin)).status_code == 200


async def test_unix_socket_takes_any_host(client: httpx.AsyncClient, app: ASGIApp) -> None:
    async def without_peer(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "client": None}, receive, send)

    transport = httpx.ASGITransport(app=without_peer)
    async with httpx.AsyncClient(transport=transport, base_url="http://api.moby") as client:
        assert (await client.get("/_ping")).status_code == 200


async def test_a_fault_of_ours_tells_nothing_of_itself(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError("secret detail")

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    door = DockerFrontDoor(broken, OriginPolicy(), "vic")
    scope: Scope = {"type": "http", "method": "GET", "path": "/info", "headers": [], "client": None}
    await door(scope, receive, send)
    assert sent[0]["status"] == 500
    assert b"secret" not in sent[1]["body"]
    assert json.loads(sent[1]["body"])["message"].startswith("internal error")
    assert "secret detail" in caplog.text


async def refused_after(sent: list[Message], *headers: tuple[bytes, bytes]) -> int:
    """How many messages of a client's are taken in before a refusal goes out."""
    rest = list(sent)
    left: list[int] = []

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        raise ApiError(409, "no")

    async def receive() -> Message:
        if not rest:
            await asyncio.Event().wait()
        return rest.pop(0)

    async def send(message: Message) -> None:
        left.append(len(rest))

    door = DockerFrontDoor(refuse, OriginPolicy(), "vic")
    scope: Scope = {"type": "http", "method": "PUT", "path": "/x", "client": None}
    await door({**scope, "headers": list(headers)}, receive, send)
    return len(sent) - left[0]


async def test_a_refusal_waits_for_a_body_that_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that still sends it would tell of a broken pipe."""

    def piece(size: int, more: bool = True) -> Message:
        return {"type": "http.request", "body": bytes(size), "more_body": more}

    assert await refused_after([piece(1000), piece(1000), piece(0, more=False)]) == 3
    assert await refused_after([piece(1000), {"type": "http.disconnect"}]) == 2
    assert await refused_after([piece(200 * 1024)] * 5) == 2
    assert await refused_after([piece(1000)], (b"expect", b"100-continue")) == 0
    monkeypatch.setattr(negotiation, "_READ_SECONDS", 0.01)
    assert await refused_after([piece(1000)]) == 1

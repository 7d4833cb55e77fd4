"""What builds fetch: ADD of a URL, and a context or a Dockerfile by `remote`."""

import asyncio
import base64
import gzip
import io
import json
import tarfile
from collections.abc import AsyncIterator
from ipaddress import ip_address
from typing import Any

import httpx
import pytest

from gateway.build import fetching, spooling
from portlayer.web.reach import guard_of
from tests.descriptors import open_descriptors
from tests.unit.gateway.fake_facets import FakeSuite
from tests.unit.gateway.test_build_api import build, committed, context, text
from tests.unit.gateway.web_server import Page, WebServer, web_server


@pytest.fixture(autouse=True)
def builds(suite: FakeSuite) -> None:
    suite.images.builds = True


@pytest.fixture
async def web(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[WebServer]:
    """A server that builds may reach although it is on this host."""
    monkeypatch.setattr(fetching, "guard_of", lambda who: lambda address: "")
    async with web_server() as server:
        yield server


def layer(suite: FakeSuite, at: int = -1) -> list[tarfile.TarInfo]:
    """The members of a layer that was made."""
    data = b"".join(message.data for message in suite.images.uploads[at])
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return tar.getmembers()


async def failure(client: httpx.AsyncClient, dockerfile: str) -> str:
    """Why a build fails."""
    lines = await build(client, context(dockerfile))
    error: str = lines[-1]["error"]
    return error


async def test_a_file_is_added_from_the_web(
    client: httpx.AsyncClient, suite: FakeSuite, web: WebServer
) -> None:
    packed = gzip.compress(b"not unpacked")
    web.pages["/a/b%20c.gz?x=1"] = Page(
        packed, headers={"Last-Modified": "Tue, 15 Nov 1994 12:45:26 GMT"}
    )
    url = f"{web.url}/a/b%20c.gz?x=1#there"
    lines = await build(client, context(f"FROM busybox\nADD --chown=3:4 {url} /new/\n"))
    told = [line for line in lines if "progress" in line]
    assert told[-1]["status"] == "Downloading"
    assert told[-1]["progressDetail"] == {"current": len(packed), "total": len(packed)}
    assert "id" not in told[-1]
    assert lines[lines.index(told[-1]) + 1 :][:2] == [{}, {"stream": "\n"}]
    directory, file = layer(suite)
    assert (directory.name, directory.mode) == ("new", 0o755)
    assert (file.name, file.mode, file.size) == ("new/b c.gz", 0o600, len(packed))
    assert (file.uid, file.gid, file.mtime) == (3, 4, 784903526)
    (by,) = committed(suite)
    instruction = by.removeprefix("/bin/sh -c #(nop) ADD --chown=3:4 ")
    digest, rest = instruction.split(" ", 1)
    assert (len(digest), rest) == (64, "in /new/ ")
    assert "User-Agent: vic-build" in web.asked[0]


@pytest.mark.parametrize("encoding", ["gzip", "X-GZip"])
async def test_what_was_packed_for_the_way_is_unpacked(
    client: httpx.AsyncClient, suite: FakeSuite, web: WebServer, encoding: str
) -> None:
    content = bytes(3 << 20) + b"end"
    packed = gzip.compress(content[:99]) + gzip.compress(content[99:])
    web.pages["/x"] = Page(packed, headers={"Content-Encoding": encoding})
    web.pages["/none"] = Page(b"", headers={"Content-Encoding": encoding})
    await build(client, context(f"FROM busybox\nADD {web.url}/x {web.url}/none /to/\n"))
    assert [(member.name, member.size) for member in layer(suite)] == [
        *(("to", 0), ("to/x", len(content)), ("to/none", 0))
    ]
    assert end_of(suite, "to/x") == b"end"
    dockerfile = gzip.compress(b"FROM busybox\nENV A=1\n")
    headers = {"Content-Encoding": encoding, "Content-Type": "text/plain"}
    web.pages["/D"] = Page(dockerfile, headers=headers)
    answer = await client.post("/build", params={"remote": f"{web.url}/D"})
    assert "Successfully built" in answer.text, answer.text


def end_of(suite: FakeSuite, name: str) -> bytes:
    """The last three bytes of a file of the last layer."""
    data = b"".join(message.data for message in suite.images.uploads[-1])
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        file = tar.extractfile(name)
        assert file is not None
        return file.read()[-3:]


@pytest.mark.parametrize(
    ("body", "encoding", "why"),
    [
        (gzip.compress(b"x" * 99)[:-3], "gzip", "its gzip ends in the middle"),
        (gzip.compress(b"x" * 99) + b"more", "gzip", "its gzip is damaged"),
        (gzip.compress(bytes(20_000)), "gzip", "has more than 15000 bytes"),
        (b"x", "br", 'unsupported Content-Encoding "br"'),
        (b"x", "gzip, gzip", 'unsupported Content-Encoding "gzip, gzip"'),
    ],
    ids=["cut", "garbage", "bomb", "other", "twice"],
)
async def test_what_is_packed_otherwise_or_badly_is_refused(
    client: httpx.AsyncClient,
    web: WebServer,
    monkeypatch: pytest.MonkeyPatch,
    body: bytes,
    encoding: str,
    why: str,
) -> None:
    monkeypatch.setattr(spooling, "MAX_BYTES", 15_000)
    web.pages["/x"] = Page(body, headers={"Content-Encoding": encoding})
    assert why in await failure(client, f"FROM busybox\nADD {web.url}/x /x")


async def test_the_cache_goes_by_what_was_fetched(
    client: httpx.AsyncClient, web: WebServer
) -> None:
    body = context(f"FROM busybox\nADD {web.url}/x /x\n")
    web.pages["/x"] = Page(b"one", headers={"Last-Modified": "Tue, 15 Nov 1994 12:45:26 GMT"})
    assert "Using cache" not in text(await build(client, body))
    web.pages["/x"] = Page(b"one")
    assert "Using cache" in text(await build(client, body))
    web.pages["/x"] = Page(b"two")
    assert "Using cache" not in text(await build(client, body))
    assert len(web.asked) == 3


async def test_files_from_the_web_and_the_context_come_together(
    client: httpx.AsyncClient, suite: FakeSuite, web: WebServer
) -> None:
    web.pages["/x"] = Page(b"from the web")
    dockerfile = "FROM busybox\nARG WHERE\nADD a $WHERE/x b* /to/\n"
    told = text(
        await build(
            client, context(dockerfile, a="1", b1="2"), buildargs=json.dumps({"WHERE": web.url})
        )
    )
    assert "Successfully built" in told
    assert [member.name for member in layer(suite)] == ["to", "to/a", "to/x", "to/b1"]
    assert "ADD multi:" in committed(suite)[-1]


async def test_a_file_without_a_name(
    client: httpx.AsyncClient, suite: FakeSuite, web: WebServer
) -> None:
    web.pages["/"] = Page(b"a", headers={"Content-Disposition": 'attachment; filename="n/m.txt"'})
    web.pages["/d/"] = Page(b"b")
    suite.images.files = {"/there": b""}
    await build(client, context(f"FROM busybox\nADD {web.url} /to/\n"))
    assert [member.name for member in layer(suite)] == ["to", "to/m.txt"]
    why = await failure(client, f"FROM busybox\nADD {web.url}/d/ /to/")
    assert why == f"ADD failed: cannot determine filename for source {web.url}/d/"
    await build(client, context(f"FROM busybox\nADD {web.url}/d/ /named\n"))
    assert [member.name for member in layer(suite)] == ["named"]
    await build(client, context(f"FROM busybox\nADD {web.url}/d/ /there\n"))
    assert [member.name for member in layer(suite)] == ["there/__unnamed__"]


async def test_what_a_server_refuses_is_told(client: httpx.AsyncClient, web: WebServer) -> None:
    web.pages["/no"] = Page(b" not for you \n" + bytes(9999), "418 I'm a teapot")
    why = await failure(client, f"FROM busybox\nADD {web.url}/x /x")
    told = f"ADD failed: failed to GET {web.url}/x with status 404 Not Found: no such page"
    assert why == told
    why = await failure(client, f"FROM busybox\nADD {web.url}/no /x")
    assert "with status 418 I'm a teapot: not for you" in why
    assert len(why) < 6000


async def test_credentials_of_a_url_are_for_its_server_alone(
    client: httpx.AsyncClient, web: WebServer
) -> None:
    async with web_server() as other:
        other.pages["/y"] = Page(b"y")
        web.pages["/x"] = Page(b"", "302 Found", {"Location": f"{other.url}/y"})
        authority = web.url.removeprefix("http://")
        url = f"http://me:p%40ss@{authority}"
        assert "Successfully" in text(
            await build(client, context(f"FROM busybox\nADD {url}/x /x\n"))
        )
        assert base64.b64encode(b"me:p@ss").decode() in web.asked[0]
        assert "Authorization" not in other.asked[0]
        why = await failure(client, f"FROM busybox\nADD {url}/z /x")
        assert f"http://me:xxxxx@{authority}/z" in why


@pytest.mark.parametrize(
    ("instruction", "why"),
    [
        ("COPY http://x.test/y /", "COPY failed: source can't be a URL for COPY"),
        ("ADD https://x.test/y.git#main:d /", "(https://x.test/y.git#main:d) requires BuildKit"),
        ("ADD git@x.test:y /", "ADD of a Git repository (git@x.test:y) requires BuildKit"),
        ("ADD http://[x/y /", "not the URL of a web server"),
        ("ADD https://:80/y /", "not the URL of a web server"),
    ],
)
async def test_what_is_fetched_from_nowhere(
    client: httpx.AsyncClient, instruction: str, why: str
) -> None:
    assert why in await failure(client, f"FROM busybox\n{instruction}")


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1:1", "127.9.9.9", "localhost", "[::1]", "0.0.0.0", "[::ffff:127.0.0.1]"),
        *("169.254.169.254", "[fe80::1]", "127.1", "2130706433", "0x7f000001"),
    ],
)
async def test_what_is_the_hosts_own_is_not_fetched(client: httpx.AsyncClient, host: str) -> None:
    why = await failure(client, f"FROM busybox\nADD http://{host}/y /y")
    assert why.startswith("ADD failed: ")
    assert "builds don't reach" in why or "invalid URL" in why
    answer = await client.post("/build", params={"remote": f"http://{host}/y"})
    assert answer.status_code in (403, 500), answer.text


async def test_a_redirect_leads_to_nothing_of_the_hosts_own(
    client: httpx.AsyncClient, web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = guard_of("builds")
    allowed = ip_address("127.0.0.1")
    monkeypatch.setattr(
        fetching, "guard_of", lambda who: lambda asked: "" if asked == allowed else refused(asked)
    )
    web.pages["/x"] = Page(b"", "302 Found", {"Location": web.url.replace("127.0.0.1", "[::1]")})
    why = await failure(client, f"FROM busybox\nADD {web.url}/x /x")
    assert "dial tcp ::1:" in why
    assert "builds don't reach the host's loopback" in why


async def test_what_is_too_large_or_too_slow_is_given_up(
    client: httpx.AsyncClient, web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.pages["/x"] = Page(bytes(20_000))
    web.pages["/slow"] = Page(b"begun", endless=True)
    monkeypatch.setattr(spooling, "MAX_BYTES", 15_000)
    why = await failure(client, f"FROM busybox\nADD {web.url}/x /x")
    assert why == f"ADD failed: {web.url}/x has more than 15000 bytes"
    seconds = 0.2
    while not web.waits.is_set():  # a busy machine may not have asked by then
        monkeypatch.setattr(fetching, "LONGEST_SECONDS", seconds)
        why = await failure(client, f"FROM busybox\nADD {web.url}/slow /x")
        assert '/slow": context deadline exceeded' in why
        seconds *= 2
    async with asyncio.timeout(60):
        await web.gone.wait()


@pytest.mark.parametrize("remote", [False, True])
async def test_a_fetch_ends_with_its_client(app: Any, web: WebServer, remote: bool) -> None:
    web.pages["/x"] = Page(b"begun", endless=True)
    said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    body = context(f"FROM busybox\nADD {web.url}/x /")
    await said.put({"type": "http.request", "body": body, "more_body": False})
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/build",
        "raw_path": b"/build",
        "query_string": f"remote={web.url}/x".encode() if remote else b"",
        "headers": [(b"host", b"localhost")],
        "http_version": "1.1",
        "scheme": "http",
    }

    async def send(_message: Any) -> None:
        pass

    before = open_descriptors()
    async with asyncio.timeout(60):
        answering = asyncio.create_task(app(scope, said.get, send))
        await web.waits.wait()
        await said.put({"type": "http.disconnect"})
        await web.gone.wait()
        await asyncio.wait([answering])
    assert len(open_descriptors() - before) <= 2


@pytest.mark.parametrize("kind", ["text/plain; charset=utf-8", "application/octet-stream", ""])
async def test_a_dockerfile_is_built_from_the_web(
    client: httpx.AsyncClient, suite: FakeSuite, web: WebServer, kind: str
) -> None:
    headers = {"Content-Type": kind} if kind else {}
    web.pages["/D"] = Page(b"FROM busybox\nENV A=1\n", headers=headers)
    answer = await client.post("/build", params={"remote": f"{web.url}/D", "t": "far"})
    assert answer.status_code == 200, answer.text
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert lines[0]["id"] == "Downloading context"
    assert lines[0]["status"] == f"{web.url}/D"
    assert lines[1] == {}
    assert "Successfully tagged far:latest" in text(lines)
    assert "A=1" in suite.images.find("far").config.env
    web.pages["/D"] = Page(b"FROM busybox\nCOPY a /\n", headers=headers)
    answer = await client.post("/build", params={"remote": f"{web.url}/D"})
    assert "COPY failed: missing build context" in answer.text


@pytest.mark.parametrize("kind", ["application/x-tar", "application/gzip", ""])
async def test_a_context_is_built_from_the_web(
    client: httpx.AsyncClient, suite: FakeSuite, web: WebServer, kind: str
) -> None:
    packed = gzip.compress(context("", **{"d/file": "FROM busybox\nCOPY a /x\n", "a": "1"}))
    web.pages["/c"] = Page(packed, headers={"Content-Type": kind} if kind else {})
    options = {"remote": f"{web.url}/c", "dockerfile": "d/file"}
    answer = await client.post("/build", params=options)
    assert "Successfully built" in answer.text, answer.text
    assert [member.name for member in layer(suite)] == ["x"]
    assert f'"status":"{web.url}/c"' in answer.text
    quiet = await client.post("/build", params={**options, "q": "1"})
    assert quiet.text.startswith('{"stream":"sha256:')


async def test_a_dockerfile_that_is_too_large_is_not_waited_for(
    client: httpx.AsyncClient, web: WebServer
) -> None:
    headers = {"Content-Type": "text/plain", "Content-Length": str(4 * 1024 * 1024 + 1)}
    web.pages["/D"] = Page(b"FROM", headers=headers, endless=True)
    async with asyncio.timeout(20):
        answer = await client.post("/build", params={"remote": f"{web.url}/D"})
    assert answer.status_code == 400, answer.text
    assert "has more than 4194304 bytes" in answer.json()["message"]


async def test_a_dockerfile_may_be_in_small_letters(client: httpx.AsyncClient) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        header = tarfile.TarInfo("dockerfile")
        header.size = len(b"FROM busybox\nUSER 1\n")
        tar.addfile(header, io.BytesIO(b"FROM busybox\nUSER 1\n"))
    assert "Successfully" in text(await build(client, packed.getvalue()))


async def test_a_context_that_is_none_is_a_plain_status(
    client: httpx.AsyncClient, web: WebServer
) -> None:
    web.pages["/html"] = Page(b"<html>", headers={"Content-Type": "text/html"})
    web.pages["/empty"] = Page(b"", headers={"Content-Type": "text/plain"})
    web.pages["/secret"] = Page(b"who?", "401 Unauthorized")
    web.pages["/broken"] = Page(b"why?", "502 Bad Gateway")
    cases = {
        "html": (400, 'unsupported Content-Type "text/html"'),
        "nothing": (404, "error downloading remote context"),
        "secret": (401, "with status 401 Unauthorized: who?"),
        "broken": (500, "with status 502 Bad Gateway: why?"),
    }
    for name, (status, message) in cases.items():
        answer = await client.post("/build", params={"remote": f"{web.url}/{name}"})
        assert answer.status_code == status, answer.text
        assert message in answer.json()["message"]
    answer = await client.post("/build", params={"remote": f"{web.url}/empty"})
    assert "empty response" in answer.text
    answer = await client.post("/build", params={"remote": "http://nowhere.invalid/x"})
    assert answer.status_code == 404
    assert "lookup nowhere.invalid: no such host" in answer.json()["message"]

"""POST /build over the API itself: what is told, made, taken from the cache, and refused."""

import asyncio
import base64
import gzip
import io
import json
import tarfile
from typing import Any

import httpx
import pytest

from gateway.build import output
from gateway.build.builder import Builder
from gateway.build.output import Output
from tests.unit.gateway.conftest import DOCKER, Endpoint
from tests.unit.gateway.fake_facets import FakeSuite


@pytest.fixture(autouse=True)
def builds(suite: FakeSuite) -> None:
    suite.images.builds = True


def context(dockerfile: str, **files: str) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, text in {"Dockerfile": dockerfile, **files}.items():
            header = tarfile.TarInfo(name)
            header.size = len(text.encode())
            tar.addfile(header, io.BytesIO(text.encode()))
    return packed.getvalue()


async def build(client: httpx.AsyncClient, body: bytes, **options: str) -> list[dict[str, Any]]:
    answer = await client.post("/build", params=options, content=gzip.compress(body))
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


def text(lines: list[dict[str, Any]]) -> str:
    return "".join(line.get("stream", "") for line in lines)


def committed(suite: FakeSuite) -> list[str]:
    return [upload[0].start.created_by for upload in suite.images.uploads]


async def test_each_step_is_told_and_makes_an_image(
    client: httpx.AsyncClient, suite: FakeSuite
) -> None:
    dockerfile = (
        "FROM busybox\nARG A=1\nENV B=$A\nMAINTAINER me\nCOPY . /in/\n"
        'RUN ["echo", "hi"]\nCMD x $B\n'
    )
    lines = await build(client, context(dockerfile), t="n:1", buildargs='{"A":"2","Z":"3"}')
    told = text(lines)
    assert told.startswith(
        "Step 1/7 : FROM busybox\n ---> 000000000000\nStep 2/7 : ARG A=1\n ---> "
    )
    short = suite.exec.requests[0].container_id[:12]
    run = f" ---> Running in {short}\nhi\n ---> Removed intermediate container {short}\n ---> "
    assert run in told
    assert told.endswith("not consumed\nSuccessfully built 000000000000\nSuccessfully tagged n:1\n")
    assert "[Warning] One or more build-args [Z] were not consumed" in told
    assert next(line["status"] for line in lines if "id" in line) == "Pulling from library/busybox"
    made = suite.images.find("n:1")
    assert {"aux": {"ID": made.id}} in lines
    assert (made.author, list(made.config.command)) == ("me", ["/bin/sh", "-c", "x $B"])
    assert list(made.config.env) == [
        "PATH=/bin",
        "B=2",
    ]
    shell = "/bin/sh -c #(nop) "
    by = committed(suite)
    assert by[:3] == [f"{shell} ARG A=1", f"{shell} ENV B=$A", f"{shell} MAINTAINER me"]
    assert by[3].startswith(f"{shell}COPY dir:")
    assert by[3].endswith(" in /in/ ")
    assert by[4] == "|1 A=2 echo hi"
    assert by[5] == f'{shell} CMD ["/bin/sh" "-c" "x $B"]'
    assert suite.exec.containers == {}
    spec = suite.exec.requests[0].spec
    assert list(spec.process.env) == ["A=2"]
    assert spec.health_check.test == ["NONE"]


async def test_what_was_done_before_is_taken_from_the_cache(
    client: httpx.AsyncClient, suite: FakeSuite
) -> None:
    body = context('FROM busybox\nCOPY a /x\nRUN ["echo", "hi"]\nLABEL l=$HOME\n', a="1")
    await build(client, body, t="one")
    first = suite.images.find("one")
    again = text(await build(client, body, t="one"))
    assert again.count(" ---> Using cache\n") == 3
    assert len(suite.images.uploads) == 3
    assert suite.images.find("one") == first

    assert "Using cache" not in text(await build(client, body, nocache="1"))
    changed = context('FROM busybox\nCOPY a /x\nRUN ["echo", "hi"]\nLABEL l=$HOME\n', a="2")
    assert "Using cache" not in text(await build(client, changed))
    for name, hits in (("one", 3), ("nosuch", 0)):
        told = text(await build(client, body, cachefrom=json.dumps([name])))
        assert told.count("Using cache") == hits


async def test_no_image_is_taken_for_a_first_step_from_scratch(
    client: httpx.AsyncClient, suite: FakeSuite
) -> None:
    """A pulled one may claim to have been made so."""
    body = context("FROM scratch\nLABEL a=b\n")
    await build(client, body)
    assert "Using cache" not in text(await build(client, body))
    assert len(suite.images.uploads) == 2


async def test_a_copy_asks_the_image_where_it_leads(
    client: httpx.AsyncClient, suite: FakeSuite
) -> None:
    suite.images.files = {"/etc/passwd": b"me:x:5:6:::\n", "/there": b"", "/data": b"of the image"}
    dockerfile = (
        "FROM busybox AS b\nFROM scratch\nCOPY --chown=0 a /n/\nFROM busybox\n"
        "COPY --chown=me:7 a /there\nCOPY --from=b /data /copied\n"
        "COPY --from=1 /data /\nWORKDIR w\n"
    )
    told = text(await build(client, context(dockerfile, a="1")))
    assert "Successfully built" in told, told
    layers = []
    for upload in suite.images.uploads:
        data = b"".join(message.data for message in upload)
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            layers.append([(m.name, m.uid, m.gid) for m in tar])
    assert layers[0] == [("n", 0, 0), ("n/a", 0, 0)]
    assert layers[1] == [("there/a", 5, 7)]
    assert layers[2] == [("copied", 0, 0)]
    assert layers[4] == [("w", 0, 0)]


@pytest.mark.parametrize(("options", "left"), [({}, 1), ({"rm": "0"}, 1), ({"forcerm": "1"}, 0)])
async def test_a_command_that_fails_ends_the_build(
    client: httpx.AsyncClient, suite: FakeSuite, options: dict[str, str], left: int
) -> None:
    lines = await build(client, context('FROM busybox\nRUN ["both", "7"]\nRUN never'), **options)
    message = "The command 'both 7' returned a non-zero code: 7"
    assert lines[-1] == {"errorDetail": {"code": 7, "message": message}, "error": message}
    assert {"stream": "out\n"} in lines
    assert {"stream": "\x1b[91merr\n\x1b[0m"} in lines
    assert len(suite.exec.containers) == left
    assert suite.images.uploads == []


async def test_a_quiet_build_tells_its_image_alone(
    client: httpx.AsyncClient, suite: FakeSuite
) -> None:
    lines = await build(client, context("FROM busybox\nUSER 1"), q="1", t="quiet")
    assert lines == [{"stream": f"{suite.images.find('quiet').id}\n"}]


async def test_a_quiet_build_that_fails_tells_how_it_came_to_that(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = context('FROM busybox\nUSER 1\nRUN ["both", "7"]\n')
    loud = await build(client, body)
    quiet = await build(client, body, q="1")
    assert text(quiet).startswith("Step 1/3 : FROM busybox\n")
    assert [line.keys() for line in quiet[-3:]] == [line.keys() for line in loud[-3:]]
    monkeypatch.setattr(output, "_HELD_BYTES", 100)
    assert "Step 1/3" not in text(await build(client, body, q="1"))


async def test_the_dockerfile_is_hidden_where_it_is_ignored(client: httpx.AsyncClient) -> None:
    body = context("FROM busybox\nCOPY Docker* /", **{".dockerignore": "Dockerfile"})
    assert "no source files" in (await build(client, body))[-1]["error"]
    other = context("", **{"x/y": "FROM busybox\nCOPY x/y /", ".dockerignore": "*.md"})
    assert "Successfully" in text(await build(client, other, dockerfile="x/y"))


async def test_triggers_are_carried_out_before_all_else(
    client: httpx.AsyncClient, suite: FakeSuite
) -> None:
    image = suite.pulled("busybox:latest")
    image.config.on_build.extend(["ENV T=1", "COPY a /"])
    told = text(await build(client, context("FROM busybox\nENV U=$T", a="1"), t="t"))
    assert told.startswith("Step 1/2 : FROM busybox\n# Executing 2 build triggers\n ---> ")
    made = suite.images.find("t")
    assert list(made.config.env) == ["PATH=/bin", "T=1", "U=1"]
    assert list(made.config.on_build) == []


async def test_a_private_registry_gets_its_own_credentials(
    client: httpx.AsyncClient, suite: FakeSuite
) -> None:
    config = {"registry.test:5000": {"username": "u", "password": "p"}}
    header = base64.urlsafe_b64encode(json.dumps(config).encode()).decode()
    body = context("FROM registry.test:5000/team/app:1.2\nUSER 1")
    answer = await client.post("/build", content=body, headers={"X-Registry-Config": header})
    assert "Successfully built" in answer.text
    assert suite.images.pulls[0].credentials.username == "u"
    await client.post(
        "/build", content=context("FROM busybox"), headers={"X-Registry-Config": header}
    )
    assert suite.images.pulls[1].credentials.username == ""


@pytest.mark.parametrize(
    ("options", "status", "message"),
    [
        ({"squash": "1"}, 501, "(squash) is not implemented"),
        ({"remote": "https://x/y.git"}, 501, "clone it and send the directory"),
        ({"remote": "github.com/x/y"}, 501, "A Git repository as build context"),
        ({"remote": "client-session"}, 501, "it needs BuildKit"),
        ({"remote": "ftp://x/y"}, 400, "remoteURL (ftp://x/y) could not be recognized as URL"),
        ({"version": "2"}, 501, "BuildKit (version=2) is not supported"),
        ({"outputs": "[{}]"}, 501, "(outputs) is not supported"),
        ({"session": "x"}, 501, "(session, buildid) is not supported"),
        ({"networkmode": "host"}, 501, "HostConfig.NetworkMode 'host'"),
        ({"memory": "-1"}, 400, "Minimum memory limit"),
        ({"buildargs": "[]"}, 400, "invalid value for 'buildargs'"),
        ({"labels": '{"a":1}'}, 400, "invalid value for 'labels'"),
        ({"t": "UPPER@sha256:1"}, 400, "build tag cannot contain a digest"),
        ({"labels": '{"a":"\\ud800"}'}, 400, "invalid value for 'labels'"),
        ({"isolation": "hyperv"}, 400, "Unsupported isolation"),
        ({"novelty": "1"}, 501, "build option novelty is not implemented"),
        ({"target": "x"}, 400, 'target stage "x" could not be found'),
        ({"dockerfile": "../x"}, 400, "Cannot locate specified Dockerfile"),
    ],
)
async def test_options_that_are_not_there_are_named(
    client: httpx.AsyncClient, options: dict[str, str], status: int, message: str
) -> None:
    answer = await client.post("/build", params=options, content=context("FROM busybox"))
    assert answer.status_code == status, answer.text
    assert message in answer.json()["message"]


async def test_a_cancellation_finds_no_build(client: httpx.AsyncClient) -> None:
    assert (await client.post("/build/cancel", params={"id": "x"})).status_code == 200
    without = await client.post("/build/cancel")
    assert (without.status_code, without.json()) == (400, {"message": "build ID not provided"})


async def test_work_ends_with_who_reads_of_it() -> None:
    said = Output(quiet=False)
    ended = asyncio.Event()

    async def work() -> None:
        try:
            while True:
                await said.text("more than anybody reads\n")
        finally:
            await said.text("an end\n")
            ended.set()

    lines = said.told(work)
    await anext(lines)
    await lines.aclose()
    assert ended.is_set()


@pytest.mark.parametrize("quiet", ["0", "1"])
async def test_a_build_ends_with_its_client(
    app: Any, monkeypatch: pytest.MonkeyPatch, quiet: str
) -> None:
    """Also one that says nothing until its end."""
    begun, ended = asyncio.Event(), asyncio.Event()

    async def go_on(self: Builder) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    monkeypatch.setattr(Builder, "build", go_on)
    said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    body = context("FROM busybox\nRUN sleep infinity")
    await said.put({"type": "http.request", "body": body, "more_body": False})
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/build",
        "raw_path": b"/build",
        "query_string": f"q={quiet}".encode(),
        "headers": [(b"host", b"localhost")],
        "http_version": "1.1",
        "scheme": "http",
    }

    async def send(_message: Any) -> None:
        pass

    async with asyncio.timeout(60):
        answering = asyncio.create_task(app(scope, said.get, send))
        await begun.wait()
        await said.put({"type": "http.disconnect"})
        await ended.wait()
        await asyncio.wait([answering])


@pytest.mark.skipif(DOCKER is None, reason="needs the docker CLI")
async def test_the_docker_cli_builds(
    engine: Endpoint, monkeypatch: pytest.MonkeyPatch, suite: FakeSuite
) -> None:
    monkeypatch.setenv("DOCKER_BUILDKIT", "0")
    result = await engine.docker(
        "build", "-t", "a", "-t", "b", "-", stdin=b"FROM busybox\nUSER 1\n"
    )
    assert "Successfully tagged b:latest" in result.out, result.err
    assert result.code == 0
    assert suite.images.find("a") == suite.images.find("b")

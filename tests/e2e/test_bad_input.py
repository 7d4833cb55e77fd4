"""Bad input about containers: Docker's status and words, and everything as it was."""

import asyncio
import json
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from vic.exec.v1 import container_pb2, exec_pb2, exec_pb2_grpc

from installer.facets import facet_channel
from installer.instance import load_instance
from portlayer.identity import Role
from tests.e2e.suite import Suite

pytestmark = pytest.mark.usefixtures("containers")


@pytest.fixture
def lives(suite: Suite, image: str) -> Iterator[dict[str, str]]:
    """A container in each of three states, by the state."""
    found = {"created": suite.ok("create", "--name", "c1", image, "sleep", "1000")}
    for state in ("running", "paused"):
        found[state] = suite.ok("run", "-d", "--name", f"{state[0]}1", image, "sleep", "1000")
    suite.ok("pause", "p1")
    before = states(suite)
    yield found
    assert states(suite) == before


def states(suite: Suite) -> list[str]:
    return sorted(suite.ok("ps", "-a", "--format", "{{.Names}} {{.State}}").splitlines())


def test_a_verb_in_a_wrong_state(suite: Suite, lives: dict[str, str]) -> None:
    created, paused = lives["created"], lives["paused"]
    first = "stop the container before removing or force remove"
    for method, path, status, message in (
        ("POST", "/c1/stop", 304, ""),
        ("POST", "/r1/start", 304, ""),
        ("POST", "/p1/start", 409, "cannot start a paused container, try unpause instead"),
        ("POST", "/c1/pause", 409, f"container {created} is not running"),
        ("POST", "/p1/pause", 409, f"container {paused} is already paused"),
        ("POST", "/r1/unpause", 409, f"container {lives['running']} is not paused"),
        ("POST", "/c1/kill", 409, f"cannot kill container: c1: container {created} is not running"),
        ("DELETE", "/r1", 409, f'cannot remove container "/r1": container is running: {first}'),
        ("DELETE", "/p1", 409, 'cannot remove container "/p1": container is paused and must be'),
        ("POST", "/nobody/start", 404, "No such container: nobody"),
        ("POST", "/r1/kill?signal=SIGNOPE", 400, "invalid signal: SIGNOPE"),
        ("POST", "/r1/rename?name=r1", 400, "Renaming a container with the same name"),
        ("POST", "/r1/rename?name=", 400, "Neither old nor new names may be empty"),
        ("POST", "/r1/rename?name=c1", 409, f'already in use by container "{created}"'),
        ("POST", "/r1/rename?name=-", 400, "Invalid container name (-), only [a-zA-Z0-9]"),
        ("POST", "/r1/wait?condition=bored", 400, 'invalid condition: "bored"'),
        ("POST", "/r1/stop?t=soon", 400, "soon"),
    ):
        found, body = suite.api(method, f"/containers{path}")
        assert found == status, (path, body)
        assert message in (body or {}).get("message", ""), path


def test_what_cannot_be_made(suite: Suite, image: str) -> None:
    before = states(suite)
    for name, host, status, message in (
        ("a%20b", {}, 400, "Invalid container name (a b), only [a-zA-Z0-9][a-zA-Z0-9_.-] are"),
        ("x", {}, 400, "Invalid container name (x)"),
        (
            *("ok", {"RestartPolicy": {"Name": "sometimes"}}, 400),
            "invalid restart policy: unknown policy 'sometimes'; use one of 'no', 'always', "
            "'on-failure', or 'unless-stopped'",
        ),
        (
            *("ok", {"RestartPolicy": {"Name": "always", "MaximumRetryCount": 3}}, 400),
            "maximum retry count can only be used with 'on-failure'",
        ),
        ("ok", {"Memory": 1 << 20}, 400, "Minimum memory limit allowed is 6MB"),
        ("ok", {"NanoCpus": 10**12}, 400, "range of CPUs is from 0.01 to"),
        ("ok", {"NanoCpus": -1}, 400, "range of CPUs is from 0.01 to"),
        (
            *("ok", {"LogConfig": {"Type": "asdf"}}, 400),
            'error looking up logging plugin asdf: plugin "asdf" not found',
        ),
    ):
        body = json.dumps({"Image": image, "HostConfig": host}).encode()
        found, answer = suite.api("POST", f"/containers/create?name={name}", body)
        assert (found, message in answer["message"]) == (status, True), (found, answer)
    assert states(suite) == before


def test_filters_that_do_not_exist(suite: Suite) -> None:
    for filters, message in (
        ({"colour": ["red"]}, "invalid filter 'colour'"),
        ({"status": ["walking"]}, "invalid filter 'status=walking'"),
    ):
        path = f"/containers/json?filters={quote(json.dumps(filters))}"
        status, body = suite.api("GET", path)
        assert (status, message in body["message"]) == (400, True), body


def test_an_id_that_fits_two(suite: Suite, image: str) -> None:
    instance = load_instance(suite.data_dir)
    assert instance is not None

    async def make() -> None:
        async with facet_channel(instance, Role.EXEC) as channel:
            stub = exec_pb2_grpc.ExecServiceStub(channel)
            for end in ("0", "1"):
                spec = container_pb2.ContainerSpec(image=image, name=f"two{end}")
                request = exec_pb2.CreateRequest(container_id="abab" + end * 60, spec=spec)
                await stub.Create(request, timeout=60)

    asyncio.run(make())
    status, body = suite.api("POST", "/containers/abab/start")
    message = "multiple IDs found with provided prefix: abab"
    assert (status, body["message"]) == (400, message)
    assert sorted(states(suite)) == ["two0 created", "two1 created"]
    assert suite.inspect("abab1")["Name"] == "/two1"

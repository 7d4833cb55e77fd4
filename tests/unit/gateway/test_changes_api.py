"""docker diff and docker commit over the API itself."""

import json
from typing import Any

import httpx
import pytest
from vic.exec.v1 import container_pb2, exec_pb2
from vic.interaction.v1 import interaction_pb2

from gateway.translate.commits import read_config
from portlayer.errors import FailedPrecondition, Internal, InvalidArgument, Reason
from tests.unit.gateway.fake_facets import FakeSuite

K = interaction_pb2


@pytest.fixture(autouse=True)
async def container(suite: FakeSuite, client: httpx.AsyncClient) -> str:
    suite.pulled("busybox:latest")
    body = {"Image": "busybox", "Cmd": ["sleep"], "Env": ["A=1", "B=2"], "Labels": {"l": "x"}}
    answer = await client.post("/containers/create?name=one", json=body)
    return str(answer.json()["Id"])


async def test_changes_have_dockers_numbers(client: httpx.AsyncClient, suite: FakeSuite) -> None:
    assert (await client.get("/containers/one/changes")).json() == []
    suite.interaction.changes = [
        interaction_pb2.Change(kind=K.CHANGE_KIND_MODIFIED, path="/etc"),
        interaction_pb2.Change(kind=K.CHANGE_KIND_ADDED, path="/etc/n\ufffd"),
        interaction_pb2.Change(kind=K.CHANGE_KIND_DELETED, path="/etc/old"),
    ]
    answer = await client.get("/containers/one/changes")
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json() == [
        {"Path": "/etc", "Kind": 0},
        {"Path": "/etc/n\ufffd", "Kind": 1},
        {"Path": "/etc/old", "Kind": 2},
    ]
    assert (await client.get("/containers/none/changes")).status_code == 404


async def test_a_commit_sends_the_layer_and_what_is_said_of_it(
    client: httpx.AsyncClient, suite: FakeSuite, container: str
) -> None:
    query = "container=one&repo=a/b&tag=1&author=me&comment=why&changes=CMD+x&changes=ENV+a=b"
    answer = await client.post(f"/commit?{query}")
    assert (answer.status_code, answer.json()) == (201, {"Id": "sha256:made"})
    first, *data, last = suite.images.uploads[0]
    assert last.complete
    start = first.start
    assert (start.reference, start.author, start.message) == ("a/b:1", "me", "why")
    assert list(start.changes) == ["CMD x", "ENV a=b"]
    assert start.created_by == "sleep"
    assert start.container_id == container
    own = json.loads(start.container_config)
    assert (own["Image"], own["Cmd"], own["Hostname"]) == ("busybox", ["sleep"], container[:12])
    assert start.parent == suite.images.find("busybox").id
    assert b"".join(message.data for message in data) == b"the layer"
    assert suite.interaction.layers[0].freeze
    told = suite.exec.told[-1]
    assert told.kind == exec_pb2.EVENT_KIND_COMMIT
    assert dict(told.attributes) == {
        "comment": "why",
        "imageID": "sha256:made",
        "imageRef": "a/b:1",
    }
    await client.post("/commit?container=one&pause=0")
    assert not suite.interaction.layers[1].freeze


@pytest.mark.parametrize(
    ("layer", "status"),
    [
        ([FailedPrecondition("started", Reason.FILES_TAKEN)], 409),
        ([b"half", Internal("the rest can't be read")], 500),
    ],
)
async def test_a_layer_that_fails_makes_no_image(
    client: httpx.AsyncClient, suite: FakeSuite, layer: list[Any], status: int
) -> None:
    suite.interaction.layer = layer
    answer = await client.post("/commit?container=one")
    assert (answer.status_code, answer.json()["message"]) == (status, layer[-1].message)
    # Storage may have seen the stream's end, but never that all has come.
    assert not any(message.complete for upload in suite.images.uploads for message in upload)
    assert suite.exec.told == []


async def test_what_storage_refuses_is_told_while_the_layer_still_comes(
    client: httpx.AsyncClient, suite: FakeSuite
) -> None:
    suite.images.refused = InvalidArgument("BOGUS is not a valid change command")
    suite.interaction.layer = [b"half", None]
    answer = await client.post("/commit?container=one&changes=BOGUS+x")
    assert (answer.status_code, answer.json()["message"]) == (400, suite.images.refused.message)
    assert suite.exec.told == []


@pytest.mark.parametrize(
    ("query", "status"), [("", 400), ("container=none", 404), ("container=one&repo=A", 201)]
)
async def test_what_is_committed_has_to_be_there(
    client: httpx.AsyncClient, query: str, status: int
) -> None:
    # Whether a name is one, storage says.
    assert (await client.post(f"/commit?{query}")).status_code == status


def test_the_config_is_the_containers_where_the_body_says_nothing() -> None:
    spec = container_pb2.ContainerSpec(
        entrypoint=["/e"], command=["c"], labels={"l": "mine", "m": "x"}, stop_signal="SIGINT"
    )
    spec.process.env[:] = ["A=1", "B=2"]
    spec.process.user, spec.process.cwd = "app", "/work"
    spec.exposed_ports[:], spec.volumes[:] = ["80/tcp"], ["/data"]
    spec.health_check.test[:] = ["CMD", "true"]
    spec.health_check.interval.seconds = 3
    whole = read_config(None, spec)
    assert (list(whole.entrypoint), list(whole.command)) == (["/e"], ["c"])
    assert (whole.user, whole.working_directory, whole.stop_signal) == ("app", "/work", "SIGINT")
    assert (list(whole.exposed_ports), list(whole.volumes)) == (["80/tcp"], ["/data"])
    assert (list(whole.health_check.test), whole.health_check.interval.seconds) == (
        ["CMD", "true"],
        3,
    )
    changed = read_config(
        {
            "Hostname": "of no image",
            "Cmd": ["d"],
            "Env": ["B=3", "C=4"],
            "Labels": {"l": "new"},
            "ExposedPorts": {"53/udp": {}},
            "Healthcheck": {"Retries": 2},
        },
        spec,
    )
    assert (list(changed.entrypoint), list(changed.command)) == (["/e"], ["d"])
    assert list(changed.env) == ["B=3", "C=4", "A=1"]
    assert dict(changed.labels) == {"l": "new", "m": "x"}
    assert list(changed.exposed_ports) == ["53/udp", "80/tcp"]
    assert (list(changed.health_check.test), changed.health_check.retries) == (["CMD", "true"], 2)
    # An entry point of its own comes with a command of its own, or none.
    assert list(read_config({"Entrypoint": ["/f"]}, spec).command) == []
    assert not read_config(None, container_pb2.ContainerSpec()).HasField("health_check")

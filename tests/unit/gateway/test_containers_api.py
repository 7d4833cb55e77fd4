"""Containers over the API itself: what the CLI doesn't show."""

import json

import httpx
import pytest

from portlayer.errors import Reason
from tests.unit.gateway.creating import create
from tests.unit.gateway.fake_facets import FakeSuite


@pytest.fixture(autouse=True)
def busybox(suite: FakeSuite) -> None:
    suite.pulled("busybox:latest")


async def test_inspect_has_dockers_full_shape(client: httpx.AsyncClient) -> None:
    container = await create(client, "one", HostConfig={"Memory": 67108864}, Hostname="h")
    value = (await client.get("/containers/one/json")).json()
    assert value["Id"] == container
    assert value["Name"] == "/one"
    assert value["Path"] == "sleep"
    assert value["State"] == {
        "Status": "created",
        "Running": False,
        "Paused": False,
        "Restarting": False,
        "OOMKilled": False,
        "Dead": False,
        "Pid": 0,
        "ExitCode": 0,
        "Error": "",
        "StartedAt": "0001-01-01T00:00:00Z",
        "FinishedAt": "0001-01-01T00:00:00Z",
    }
    assert value["Image"].startswith("sha256:")
    assert value["Config"]["Hostname"] == "h"
    assert value["HostConfig"]["Memory"] == 67108864
    assert value["HostConfig"]["NetworkMode"] == "bridge"
    assert value["HostConfig"]["RestartPolicy"] == {"Name": "no", "MaximumRetryCount": 0}
    assert value["NetworkSettings"]["IPAddress"] == ""
    assert value["Mounts"] == []


async def test_addresses_show_while_it_runs(client: httpx.AsyncClient) -> None:
    wished = {"EndpointsConfig": {"bridge": {"MacAddress": "02:42:0A:01:00:99"}}}
    await create(client, "one", NetworkingConfig=wished)
    settings = (await client.get("/containers/one/json")).json()["NetworkSettings"]
    assert settings["Networks"]["bridge"]["IPAddress"] == ""
    assert settings["Networks"]["bridge"]["MacAddress"] == "02:42:0a:01:00:99"
    await client.post("/containers/one/start")
    settings = (await client.get("/containers/one/json")).json()["NetworkSettings"]
    assert settings["IPAddress"] == "172.17.0.2"
    assert settings["Networks"]["bridge"]["IPPrefixLen"] == 16
    assert settings["Networks"]["bridge"]["MacAddress"] == "02:42:ac:11:00:02"


async def test_sizes_are_told_where_they_are_asked_for(client: httpx.AsyncClient) -> None:
    await create(client, "one")
    await create(client, "two")
    asked = (await client.get("/containers/json?all=1&size=1")).json()
    assert [(one["SizeRw"], one["SizeRootFs"]) for one in asked] == [(5, 95), (5, 95)]
    inspected = (await client.get("/containers/one/json?size=true")).json()
    assert (inspected["SizeRw"], inspected["SizeRootFs"]) == (5, 95)
    for unasked in (
        (await client.get("/containers/json?all=1&size=0")).json()[0],
        (await client.get("/containers/one/json")).json(),
    ):
        assert not {"SizeRw", "SizeRootFs"} & set(unasked)
    assert (await client.get("/containers/nosuch/json?size=1")).status_code == 404


async def test_names_with_a_slash_and_short_ids(client: httpx.AsyncClient) -> None:
    container = await create(client, "one")
    for reference in ("%2Fone", "/one", container[:12], container):
        answer = await client.get(f"/containers/{reference}/json")
        assert answer.json()["Id"] == container


async def test_nothing_to_do_is_304_without_a_body(client: httpx.AsyncClient) -> None:
    await create(client, "one")
    stopped = await client.post("/containers/one/stop")
    assert (stopped.status_code, stopped.content) == (304, b"")
    assert (await client.post("/containers/one/start")).status_code == 204
    assert (await client.post("/containers/one/start")).status_code == 304


async def test_a_stop_among_many_has_the_time_that_all_take(
    client: httpx.AsyncClient, suite: FakeSuite
) -> None:
    await create(client, "one")
    await client.post("/containers/one/start")
    assert (await client.post("/containers/one/stop?t=0")).status_code == 204
    # A hundred took 33 s on two cores with a load of 90.
    assert suite.exec.stop_seconds > 300


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "json"),
        ("POST", "start"),
        ("POST", "stop"),
        ("POST", "kill"),
        ("POST", "wait"),
        ("POST", "rename?name=two"),
        ("POST", "resize?h=1&w=1"),
        ("GET", "logs?stdout=1"),
    ],
)
async def test_unknown_container(client: httpx.AsyncClient, method: str, path: str) -> None:
    answer = await client.request(method, f"/containers/nobody/{path}")
    assert (answer.status_code, answer.json()) == (
        404,
        {"message": "No such container: nobody"},
    )


async def test_kill_of_what_does_not_run(client: httpx.AsyncClient) -> None:
    container = await create(client, "one")
    answer = await client.post("/containers/one/kill")
    assert answer.status_code == 409
    assert answer.json()["message"] == (
        f"cannot kill container: one: container {container} is not running"
    )


async def test_missing_program_is_named(client: httpx.AsyncClient) -> None:
    await create(client, "one", Cmd=["nope"])
    answer = await client.post("/containers/one/start")
    assert answer.status_code == 400
    assert "executable file not found in $PATH" in answer.json()["message"]


async def test_list_filters(client: httpx.AsyncClient) -> None:
    await create(client, "web-1", Labels={"tier": "web"})
    await create(client, "web-2", Labels={"tier": "web", "x": "1"})
    await create(client, "db", Labels={"tier": "db"})
    await client.post("/containers/db/start")

    async def names(**filters: list[str]) -> list[str]:
        query = {"all": "1", "filters": json.dumps(filters)}
        answer = await client.get("/containers/json", params=query)
        assert answer.status_code == 200, answer.text
        return [container["Names"][0] for container in answer.json()]

    assert await names() == ["/db", "/web-2", "/web-1"]
    assert await names(label=["tier=web"]) == ["/web-2", "/web-1"]
    assert await names(label=["tier=web", "x"]) == ["/web-2"]
    assert await names(name=["^/?web"]) == ["/web-2", "/web-1"]
    assert await names(status=["running"]) == ["/db"]
    assert await names(status=["running", "created"]) == ["/db", "/web-2", "/web-1"]
    assert await names(ancestor=["busybox"], name=["db"]) == ["/db"]
    assert await names(ancestor=["other"]) == []
    assert await names(before=["web-2"]) == ["/web-1"]
    assert await names(since=["web-1"]) == ["/db", "/web-2"]
    assert await names(network=["bridge"]) == ["/db", "/web-2", "/web-1"]
    assert await names(volume=["v"]) == []
    shown = await client.get("/containers/json")
    assert [container["Names"] for container in shown.json()] == [["/db"]]
    newest = await client.get("/containers/json?limit=2")
    assert len(newest.json()) == 2


@pytest.mark.parametrize(
    "filters",
    [
        "x",
        "[]",
        '{"nope":["x"]}',
        '{"status":["gone"]}',
        '{"exited":["a"]}',
        '{"label":[1]}',
        '{"publish":["x"]}',
        '{"publish":["80/abc"]}',
        '{"publish":["9-8"]}',
        '{"expose":["65536"]}',
        '{"health":["ill"]}',
        '{"is-task":["perhaps"]}',
    ],
)
async def test_filters_that_cannot_be(client: httpx.AsyncClient, filters: str) -> None:
    await create(client, "one")
    answer = await client.get("/containers/json", params={"all": "1", "filters": filters})
    assert answer.status_code == 400, answer.text


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("(a+)+$", True),
        ("a?" * 26 + "a" * 26, True),
        ("a*a*a*a*a*b", False),
        (r"^/?a{2}\w+$", True),
        ("(", False),
        ("a{1000}" * 1000, False),
    ],
)
async def test_patterns_of_names_take_linear_time(
    client: httpx.AsyncClient, pattern: str, found: bool
) -> None:
    await create(client, "a" * 26)
    answer = await client.get(
        "/containers/json", params={"all": "1", "filters": json.dumps({"name": [pattern]})}
    )
    assert len(answer.json()) == found


async def test_a_list_of_a_hundred(client: httpx.AsyncClient) -> None:
    for number in range(100):
        await create(client, f"c{number}")
    assert len((await client.get("/containers/json?all=1")).json()) == 100


def test_every_reason_has_an_answer() -> None:
    from gateway import errors

    assert set(errors._ANSWERS) == set(Reason)

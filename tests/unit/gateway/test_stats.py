"""`docker stats` and `docker top` over the API: Docker's shapes and words."""

import json
from typing import Any

import httpx
import pytest
from vic.exec.v1.container_pb2 import CONTAINER_STATE_PAUSED

from tests.unit.gateway.fake_facets import FakeSuite

FIRST: dict[str, Any] = {
    "time": {"seconds": 1000},
    "cpu_usage_us": 500,
    "cpu_user_us": 300,
    "cpu_system_us": 200,
    "system_cpu_us": 9000,
    "online_cpus": 2,
    "memory_bytes": 4096,
    "memory_limit_bytes": 8192,
    "memory_stat": {"inactive_file": 7},
    "pids": 3,
    "pids_limit": 2**64 - 1,
    "interfaces": [{"name": "eth0", "rx_bytes": 1, "tx_packets": 2}],
    "blocks": [{"major": 8, "minor": 0, "read_bytes": 10, "write_bytes": 20}],
}
SECOND = FIRST | {"time": {"seconds": 1001}, "cpu_usage_us": 900, "system_cpu_us": 11000}


@pytest.fixture(autouse=True)
async def running(suite: FakeSuite, client: httpx.AsyncClient) -> None:
    suite.pulled("busybox:latest")
    body = {"Image": "busybox", "Cmd": ["sleep"]}
    await client.post("/containers/create?name=one", json=body)
    await client.post("/containers/create?name=idle", json=body)
    await client.post("/containers/one/start")
    suite.interaction.samples = [FIRST, SECOND]


async def test_a_single_sample_has_the_one_before_it(client: httpx.AsyncClient) -> None:
    answer = await client.get("/containers/one/stats?stream=0")
    value = answer.json()
    assert value["name"] == "/one"
    assert (value["read"], value["preread"]) == ("1970-01-01T00:16:41Z", "1970-01-01T00:16:40Z")
    assert value["cpu_stats"] == {
        "cpu_usage": {
            "total_usage": 900_000,
            "usage_in_kernelmode": 200_000,
            "usage_in_usermode": 300_000,
        },
        "system_cpu_usage": 11_000_000,
        "online_cpus": 2,
        "throttling_data": {"periods": 0, "throttled_periods": 0, "throttled_time": 0},
    }
    assert value["precpu_stats"]["cpu_usage"]["total_usage"] == 500_000
    assert value["memory_stats"] == {"usage": 4096, "stats": {"inactive_file": 7}, "limit": 8192}
    assert value["pids_stats"] == {"current": 3, "limit": 2**64 - 1}
    assert value["networks"]["eth0"]["rx_bytes"] == 1
    assert value["networks"]["eth0"]["tx_packets"] == 2
    assert value["blkio_stats"]["io_service_bytes_recursive"] == [
        {"major": 8, "minor": 0, "op": "read", "value": 10},
        {"major": 8, "minor": 0, "op": "write", "value": 20},
    ]
    assert value["blkio_stats"]["io_serviced_recursive"] is None


async def test_one_shot_is_the_first_sample(client: httpx.AsyncClient) -> None:
    value = (await client.get("/containers/one/stats?stream=0&one-shot=1")).json()
    assert value["read"] == "1970-01-01T00:16:40Z"
    assert value["precpu_stats"]["cpu_usage"]["total_usage"] == 0
    refused = await client.get("/containers/one/stats?one-shot=1")
    assert refused.status_code == 400
    assert refused.json()["message"] == "cannot have stream=true and one-shot=true"


async def test_a_stream_sends_each_on_a_line(client: httpx.AsyncClient, suite: FakeSuite) -> None:
    suite.interaction.samples.append(None)
    answer = await client.get("/containers/one/stats")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    usage = [line["cpu_stats"]["cpu_usage"]["total_usage"] for line in lines]
    before = [line["precpu_stats"]["cpu_usage"]["total_usage"] for line in lines]
    assert (usage, before) == ([500_000, 900_000, 0], [0, 500_000, 900_000])
    assert lines[2]["memory_stats"] == {}
    assert "networks" not in lines[2]


async def test_what_does_not_run_uses_nothing(client: httpx.AsyncClient) -> None:
    value = (await client.get("/containers/idle/stats?stream=false")).json()
    assert (value["name"], value["read"]) == ("/idle", "0001-01-01T00:00:00Z")
    assert (value["memory_stats"], value["pids_stats"]) == ({}, {})
    assert (await client.get("/containers/none/stats")).status_code == 404


async def test_paused_before_anybody_watched(client: httpx.AsyncClient, suite: FakeSuite) -> None:
    suite.interaction.samples = []
    assert (await client.get("/containers/one/stats?stream=0")).status_code == 503
    suite.exec.find("one").proto.status.state = CONTAINER_STATE_PAUSED
    value = (await client.get("/containers/one/stats?stream=0")).json()
    assert value["read"] == "0001-01-01T00:00:00Z"


async def test_top_has_titles_and_rows(client: httpx.AsyncClient, suite: FakeSuite) -> None:
    answer = await client.get("/containers/one/top?ps_args=-o%20pid,cmd")
    assert answer.json() == {"Titles": ["PID", "CMD"], "Processes": [["7", "sleep 1"]]}
    assert suite.interaction.ps_args == ["-o", "pid,cmd"]
    refused = await client.get("/containers/one/top?ps_args=--nope")
    assert (refused.status_code, refused.json()["message"]) == (400, "unknown option --nope")


async def test_top_of_what_does_not_run(client: httpx.AsyncClient, suite: FakeSuite) -> None:
    refused = await client.get("/containers/idle/top")
    assert refused.status_code == 409
    assert refused.json()["message"].endswith("is not running")
    suite.exec.find("one").proto.status.state = CONTAINER_STATE_PAUSED
    refused = await client.get("/containers/one/top")
    assert (refused.status_code, "is paused" in refused.json()["message"]) == (409, True)


async def test_no_number_of_a_guest_is_too_large_to_be_told(
    client: httpx.AsyncClient, suite: FakeSuite
) -> None:
    most = 2**64 - 1
    suite.interaction.samples = [FIRST | {"cpu_usage_us": most, "system_cpu_us": most}]
    value = (await client.get("/containers/one/stats?stream=0&one-shot=1")).json()
    assert value["cpu_stats"]["cpu_usage"]["total_usage"] == most
    assert value["cpu_stats"]["system_cpu_usage"] == most

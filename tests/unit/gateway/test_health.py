"""Health checks over the API: what can be asked for, and how the state is shown."""

from typing import Any

import httpx
import pytest
from vic.exec.v1.container_pb2 import (
    CONTAINER_STATE_EXITED,
    CONTAINER_STATE_PAUSED,
    CONTAINER_STATE_RUNNING,
)
from vic.tether.v1.health_pb2 import Health

from tests.unit.gateway.fake_facets import FakeSuite

CREATE = {"Image": "busybox", "Cmd": ["sleep"]}
CHECK = {
    "Test": ["CMD-SHELL", "ask"],
    "Interval": 1_500_000_000,
    "Timeout": 2_000_000_000,
    "StartPeriod": 3_000_000_000,
    "StartInterval": 100_000_000,
    "Retries": 4,
}


@pytest.fixture(autouse=True)
def busybox(suite: FakeSuite) -> None:
    suite.pulled("busybox:latest")


async def make(client: httpx.AsyncClient, name: str, **body: Any) -> httpx.Response:
    return await client.post(f"/containers/create?name={name}", json={**CREATE, **body})


async def test_what_was_asked_for_is_kept(client: httpx.AsyncClient, suite: FakeSuite) -> None:
    assert (await make(client, "one", Healthcheck=CHECK)).status_code == 201
    shown = (await client.get("/containers/one/json")).json()
    assert shown["Config"]["Healthcheck"] == CHECK
    assert "Health" not in shown["State"]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("Interval", 1, "Interval in Healthcheck cannot be less than 1ms"),
        ("Timeout", -1, "Timeout in Healthcheck cannot be less than 1ms"),
        ("StartPeriod", 999_999, "StartPeriod in Healthcheck cannot be less than 1ms"),
        ("StartInterval", 5, "StartInterval in Healthcheck cannot be less than 1ms"),
        ("Retries", -1, "Retries in Healthcheck cannot be negative"),
    ],
)
async def test_what_cannot_be(
    client: httpx.AsyncClient, field: str, value: int, message: str
) -> None:
    refused = await make(client, "one", Healthcheck=CHECK | {field: value})
    assert (refused.status_code, refused.json()["message"]) == (400, message)


async def test_the_state_is_shown_as_dockerd_shows_it(
    client: httpx.AsyncClient, suite: FakeSuite
) -> None:
    await make(client, "one", Healthcheck=CHECK)
    await make(client, "plain")
    await client.post("/containers/one/start")
    status = suite.exec.find("one").proto.status

    async def listed(health: str) -> list[str]:
        query = {"all": "1", "filters": f'{{"health":["{health}"]}}'}
        found = (await client.get("/containers/json", params=query)).json()
        return [container["Names"][0] for container in found]

    async def line() -> str:
        found = (await client.get("/containers/json?all=1")).json()
        return str(next(c["Status"] for c in found if c["Names"] == ["/one"]))

    for number, (word, shown) in enumerate(
        [("starting", "(health: starting)"), ("healthy", "(healthy)"), ("unhealthy", "(unhealthy)")]
    ):
        told: Any = {"status": number + 1, "failing_streak": number}
        status.health.CopyFrom(Health(**told))
        status.health.results.add(exit_code=number, output="said", started_at={"seconds": 1})
        assert (await line()).endswith(shown)
        assert await listed(word) == ["/one"]
        assert await listed("none") == ["/plain"]
        state = (await client.get("/containers/one/json")).json()["State"]["Health"]
        assert state == {
            "Status": word,
            "FailingStreak": number,
            "Log": [
                {
                    "Start": "1970-01-01T00:00:01Z",
                    "End": "0001-01-01T00:00:00Z",
                    "ExitCode": number,
                    "Output": "said",
                }
            ],
        }
    status.health.status = Health(status=2).status  # type: ignore[arg-type]
    for other in (CONTAINER_STATE_PAUSED, CONTAINER_STATE_EXITED):
        status.state = other
        assert "health" not in await line()
        assert await listed("unhealthy") == ["/one"]
    status.state = CONTAINER_STATE_RUNNING
    assert await listed("healthy") == ["/one"]

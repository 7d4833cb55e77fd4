"""`docker events`: what is told of a container's life."""

import json
import time
from typing import Any

import pytest

from tests.e2e.suite import Suite

pytestmark = pytest.mark.usefixtures("containers")


def history(suite: Suite, since: float, *options: str) -> list[dict[str, Any]]:
    told = suite.ok(
        *("events", "--since", f"{since:.6f}", "--until", f"{time.time():.6f}"),
        *("--format", "{{json .}}", *options),
    )
    return [json.loads(line) for line in told.splitlines()]


def actions(events: list[dict[str, Any]]) -> list[str]:
    return [event["Action"] for event in events]


def test_the_life_of_a_container(suite: Suite, image: str) -> None:
    since = time.time()
    script = "trap 'exit 4' TERM; echo ready; while :; do sleep 1 & wait; done"
    container = suite.ok("run", "-d", "--name", "told", "-l", "tier=x", image, "sh", "-c", script)
    suite.await_output("told", "ready")
    suite.ok("stop", "-t", "300", "told")
    suite.ok("start", "told")
    suite.ok("rm", "-f", "told")
    mine = ("--filter", "container=told", "--filter", "type=container")
    events = history(suite, since, *mine)
    assert actions(events) == [
        *("create", "start", "kill", "die", "stop"),
        *("start", "kill", "die", "destroy"),
    ]
    for event in events:
        assert event["Actor"]["ID"] == container
        attributes = event["Actor"]["Attributes"]
        assert (attributes["name"], attributes["image"]) == ("told", image)
        assert attributes["tier"] == "x"
    codes = [e["Actor"]["Attributes"]["exitCode"] for e in events if e["Action"] == "die"]
    assert codes == ["4", "137"]
    signals = [e["Actor"]["Attributes"]["signal"] for e in events if e["Action"] == "kill"]
    assert signals == ["15", "9"]
    times = [event["timeNano"] for event in events]
    assert times == sorted(times)
    assert actions(history(suite, since, *mine, "--filter", "event=die")) == ["die", "die"]
    assert history(suite, since, *mine, "--filter", "label=tier=y") == []
    half = history(suite, times[4] / 1e9 + 0.000_001, *mine)
    assert actions(half) == ["start", "kill", "die", "destroy"]

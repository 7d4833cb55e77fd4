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


def test_images_and_networks_are_told_with_containers(suite: Suite, image: str) -> None:
    since = time.time()
    suite.ok("tag", image, "told:1")
    suite.ok("network", "create", "told-net")
    container = suite.ok("run", "-d", "--name", "told", "--network", "told-net", "told:1", "cat")
    suite.ok("wait", "told")
    suite.ok("rm", "told")
    suite.ok("network", "rm", "told-net")
    suite.ok("rmi", "told:1")
    events = history(suite, since)
    told = [(event["Type"], event["Action"]) for event in events]
    # An end is told by whoever hears of it first: the exit before the network's part in it.
    assert told == [
        *(("image", "tag"), ("network", "create"), ("container", "create")),
        *(("network", "connect"), ("container", "start"), ("container", "die")),
        *(("network", "disconnect"), ("container", "destroy")),
        *(("network", "destroy"), ("image", "untag")),
    ]
    connect = events[3]["Actor"]["Attributes"]
    assert connect == {"container": container, "name": "told-net", "type": "bridge"}
    tagged = history(suite, since, "--filter", "image=told")
    assert {event["Type"] for event in tagged} == {"image", "container"}
    assert actions(history(suite, since, "--filter", "network=told-n")) == [
        *("create", "connect", "disconnect", "destroy"),
    ]
    suite.refused("events", "--filter", "colour=red", code=1, message="invalid filter 'colour'")

"""Health checks of a real container, and the events of what clients run in it."""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import pytest

from tests.e2e.suite import Suite, docker_cli
from tests.e2e.test_events import actions, history

pytestmark = pytest.mark.usefixtures("containers")


@contextmanager
def changes(suite: Suite, since: float) -> Iterator[IO[str]]:
    """Changes of health, a line each, as they come; the test's time-out bounds the wait."""
    command = [docker_cli(), "events", "--since", f"{since:.6f}", "--format", "{{.Action}}"]
    command += ["--filter", "event=health_status"]
    told = subprocess.Popen(command, env=suite.environment, stdout=subprocess.PIPE, text=True)
    try:
        assert told.stdout is not None
        yield told.stdout
    finally:
        told.kill()
        told.communicate()


def test_health_and_what_clients_run_are_told(suite: Suite, image: str) -> None:
    since = time.time()
    check = ("--health-cmd", "cat /well", "--health-interval", "200ms", "--health-retries", "2")
    suite.ok("run", "-d", "--name", "checked", *check, image, "sleep", "100000")
    suite.ok("create", "--name", "plain", image, "true")
    with changes(suite, since) as told:
        assert told.readline() == "health_status: unhealthy\n"
        suite.ok("exec", "checked", "sh", "-c", "echo fine > /well")
        assert told.readline() == "health_status: healthy\n"

    health = suite.inspect("checked")["State"]["Health"]
    assert (health["Status"], health["FailingStreak"]) == ("healthy", 0)
    assert (health["Log"][-1]["ExitCode"], health["Log"][-1]["Output"]) == (0, "fine\n")
    assert len(health["Log"]) <= 5
    names = ("ps", "--all", "--format", "{{.Names}} {{.Status}}", "--filter")
    assert suite.ok(*names, "health=healthy").endswith("(healthy)")
    assert suite.ok(*names, "health=none").split()[0] == "plain"

    events = history(suite, since, "--filter", "container=checked", "--filter", "event=exec_create")
    events += history(suite, since, "--filter", "container=checked", "--filter", "event=exec_start")
    events += history(suite, since, "--filter", "container=checked", "--filter", "event=exec_die")
    assert actions(events) == [
        "exec_create: sh -c echo fine > /well",
        "exec_start: sh -c echo fine > /well",
        "exec_die",
    ]
    assert len({json.dumps(event["Actor"]["Attributes"]["execID"]) for event in events}) == 1
    assert events[2]["Actor"]["Attributes"]["exitCode"] == "0"
    assert [event["timeNano"] for event in events] == sorted(e["timeNano"] for e in events)

    suite.ok("stop", "-t", "0", "checked")
    assert suite.inspect("checked")["State"]["Health"]["Status"] == "unhealthy"


def test_an_unknown_user_is_named(suite: Suite, image: str) -> None:
    refused = suite.docker("run", "--rm", "-u", "nosuch", image, "true")
    assert refused.returncode == 125
    message = "unable to find user nosuch: no matching entries in passwd file"
    assert message in refused.stderr
    assert "permission denied" not in refused.stderr

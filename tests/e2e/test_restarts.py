"""Restart policies as the docker CLI shows them."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.suite import Suite
from tests.images import Registry, busybox_image

CONTAINERS = pytest.mark.usefixtures("containers")


@contextmanager
def events(suite: Suite, name: str) -> Iterator[Iterator[str]]:
    """What happens to a container from its beginning, as it happens."""
    options = ("--since", "1", "--filter", f"container={name}", "--format", "{{.Action}}")
    following = suite.popen("events", *options, stdout=subprocess.PIPE)
    assert following.stdout is not None
    try:
        yield (line.decode().strip() for line in following.stdout)
    finally:
        following.kill()
        following.wait()
        following.stdout.close()


def until(happening: Iterator[str], action: str, times: int = 1) -> None:
    for happened in happening:
        times -= happened == action
        if not times:
            return
    raise AssertionError(f"the events ended before {action!r}")


@CONTAINERS
def test_a_vm_that_is_killed_behind_our_back_comes_back(suite: Suite, image: str) -> None:
    script = ("sh", "-c", "sleep 11; echo steady; sleep 10000")
    suite.ok("run", "-d", "--restart", "always", "--name", "phoenix", image, *script)
    with events(suite, "phoenix") as happening:
        until(happening, "start")
        for count in range(1, 11):
            if count == 6:
                # After ten seconds its pauses begin anew.
                suite.await_output("phoenix", "steady")
            os.kill(suite.inspect("phoenix")["State"]["Pid"], signal.SIGKILL)
            until(happening, "start")
            told = suite.inspect("phoenix")
            assert told["RestartCount"] == count
            assert told["State"]["Status"] == "running"
        if (pid := suite.inspect("phoenix")["State"]["Pid"]) > 0:
            suite.kill("exec")
            assert suite.inspect("phoenix")["State"]["Pid"] == pid
        suite.ok("stop", "-t", "1", "phoenix")
        until(happening, "stop")
    state = suite.inspect("phoenix")["State"]
    assert (state["Status"], state["Restarting"]) == ("exited", False)
    suite.kill("exec")
    assert suite.inspect("phoenix")["State"]["Status"] == "exited"


@CONTAINERS
def test_on_failure_is_tried_so_many_times(suite: Suite, image: str) -> None:
    options = ("--restart", "on-failure:2", "--name", "failing")
    suite.ok("run", "-d", *options, image, "sh", "-c", "echo tried; exit 3")
    with events(suite, "failing") as happening:
        until(happening, "die", 3)
    told = suite.inspect("failing")
    assert (told["State"]["Status"], told["State"]["ExitCode"]) == ("exited", 3)
    assert told["RestartCount"] == 2
    assert told["HostConfig"]["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 2}
    assert suite.ok("logs", "failing").split() == ["tried"] * 3


@CONTAINERS
def test_a_restarting_container_is_stopped(suite: Suite, image: str) -> None:
    suite.ok("run", "-d", "--restart", "always", "--name", "loop", image, "false")
    with events(suite, "loop") as happening:
        # By now its pauses are so long that it is found in one.
        until(happening, "die", 4)
        suite.ok("stop", "loop")
        assert suite.ok("wait", "loop") == "1"
        assert suite.inspect("loop")["State"]["Status"] == "exited"
    suite.ok("update", "--restart", "no", "loop")
    assert suite.inspect("loop")["HostConfig"]["RestartPolicy"]["Name"] == "no"
    suite.docker("start", "loop")
    assert suite.ok("wait", "loop") == "1"
    assert suite.inspect("loop")["RestartCount"] == 0


@CONTAINERS
def test_policies_that_cannot_be_are_refused(suite: Suite, image: str) -> None:
    suite.refused("run", "--rm", "--restart", "always", image, code=125, message="--restart")
    body = {"Image": image, "HostConfig": {"AutoRemove": True, "RestartPolicy": {"Name": "always"}}}
    status, told = suite.api("POST", "/containers/create", json.dumps(body).encode())
    assert status == 400
    assert told["message"] == "can't create 'AutoRemove' container with restart policy"
    suite.refused("run", "--restart", "sometimes", image, code=125, message="sometimes")


def test_down_and_up_apply_the_policies(registry: Registry) -> None:
    suite = Suite()
    try:
        suite.up()
        reference = registry.push(busybox_image(), "library/busybox")
        suite.ok("pull", reference)
        for name, policy in (
            ("always", "always"),
            ("unless", "unless-stopped"),
            ("stopped", "unless-stopped"),
            ("forced", "always"),
            ("plain", "no"),
        ):
            suite.ok("run", "-d", "--name", name, "--restart", policy, reference, "sleep", "10000")
        suite.ok("stop", "-t", "0", "stopped", "forced")
        suite.down()
        suite.up()
        for name in ("always", "unless", "forced"):
            with events(suite, name) as happening:
                until(happening, "start", 2)
        assert sorted(suite.ok("ps", "--format", "{{.Names}}").split()) == [
            "always",
            "forced",
            "unless",
        ]
        suite.down()
    finally:
        suite.remove()

"""The life of a container as the docker CLI shows it."""

import asyncio
import json
import subprocess
import time
from pathlib import Path

import pytest

from tests import websocket
from tests.e2e.suite import Suite

pytestmark = pytest.mark.usefixtures("containers")

NUMBERS = "n=0; while :; do echo $n; n=$((n+1)); sleep 0.2; done"


def test_run_ps_logs_stop_start_wait_rm(suite: Suite, image: str) -> None:
    script = "echo begun >> /log; wc -l < /log; exec sleep 1000"
    container = suite.ok("run", "-d", "--name", "life", image, "sh", "-c", script)
    assert len(container) == 64
    suite.await_output("life", "1")
    assert suite.ok("ps", "--format", "{{.Names}} {{.State}}") == "life running"
    suite.ok("stop", "-t", "1", "life")
    assert suite.ok("ps", "--quiet") == ""
    assert suite.ok("ps", "-a", "--format", "{{.Names}} {{.State}}") == "life exited"
    assert suite.ok("start", "life") == "life"
    # The file that the first start wrote is there at the second one.
    suite.await_output("life", "2")
    suite.ok("kill", "life")
    assert suite.ok("wait", "life") == "137"
    assert suite.ok("logs", "life").splitlines() == ["1", "2"]
    assert suite.ok("rm", "life") == "life"
    suite.refused("inspect", "life", code=1, message="o such object: life")


def test_logs_keep_the_streams_apart(suite: Suite, image: str) -> None:
    suite.ok("run", "--name", "streams", image, "sh", "-c", "echo out; echo err >&2")
    logs = suite.docker("logs", "streams")
    assert (logs.stdout, logs.stderr) == ("out\n", "err\n")


def test_logs_by_tail_and_time(suite: Suite, image: str) -> None:
    suite.ok("run", "--name", "tail", image, "seq", "1", "50")
    assert suite.ok("logs", "--tail", "2", "tail").splitlines() == ["49", "50"]
    assert suite.ok("logs", "--tail", "0", "tail") == ""
    stamped = suite.ok("logs", "-t", "--tail", "1", "tail").split()
    assert stamped[0].endswith("Z")
    assert stamped[1] == "50"
    assert suite.ok("logs", "--since", stamped[0], "tail").splitlines()[-1] == "50"


def test_start_attached_gives_the_exact_output_each_time(suite: Suite, image: str) -> None:
    suite.ok("create", "--name", "sorter", image, "sh", "-c", "printf 'b\\na\\n' | sort")
    for _ in range(3):
        assert suite.ok("start", "-a", "sorter") == "a\nb"


def test_kill_sends_the_signal_that_is_named(suite: Suite, image: str) -> None:
    script = "trap 'exit 9' HUP; echo ready; while :; do sleep 1 & wait; done"
    suite.ok("run", "-d", "--name", "target", image, "sh", "-c", script)
    suite.await_output("target", "ready")
    suite.ok("kill", "-s", "HUP", "target")
    assert suite.ok("wait", "target") == "9"


def test_a_running_container_is_removed_by_force_only(suite: Suite, image: str) -> None:
    suite.ok("run", "-d", "--name", "busy", image, "sleep", "1000")
    suite.refused("rm", "busy", code=1, message="running")
    assert suite.ok("rm", "-f", "busy") == "busy"
    assert suite.ok("ps", "-aq") == ""


def test_a_container_is_renamed(suite: Suite, image: str) -> None:
    suite.ok("create", "--name", "before", image)
    suite.ok("rename", "before", "after")
    assert suite.inspect("after")["Name"] == "/after"
    suite.refused("inspect", "before", code=1, message="o such object: before")


def test_ps_filters_by_and_across_keys_and_or_within_one(suite: Suite, image: str) -> None:
    suite.ok("create", "--name", "one", "-l", "tier=front", image)
    suite.ok("create", "--name", "two", "-l", "tier=back", image)
    listing = ("ps", "-a", "--format", "{{.Names}}")
    assert suite.ok(*listing, "--filter", "label=tier=front") == "one"
    both = suite.ok(*listing, "--filter", "name=one", "--filter", "name=two").split()
    assert sorted(both) == ["one", "two"]
    assert suite.ok(*listing, "--filter", "name=one", "--filter", "label=tier=back") == ""


def test_inspect_has_dockers_shape(suite: Suite, image: str) -> None:
    suite.ok("run", "-d", "--name", "shape", "-m", "64m", image, "sleep", "1000")
    found = suite.inspect("shape")
    assert found["State"]["Status"] == "running"
    assert found["State"]["Running"] is True
    assert found["State"]["Pid"] > 0
    assert found["HostConfig"]["Memory"] == 64 * 1024 * 1024
    assert found["Config"]["Cmd"] == ["sleep", "1000"]
    network = found["NetworkSettings"]["Networks"]["bridge"]
    assert network["IPAddress"]
    assert network["Gateway"]
    assert network["MacAddress"] == network["MacAddress"].lower()
    for key in ("Created", "Path", "Args", "Image", "LogPath", "RestartCount", "Mounts"):
        assert key in found


def test_attach_to_a_running_container(suite: Suite, image: str) -> None:
    suite.ok("run", "-d", "-i", "--name", "echo", image, "cat")
    attached = suite.popen("attach", "echo", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert attached.stdin is not None
    assert attached.stdout is not None
    with attached.stdin, attached.stdout:
        attached.stdin.write(b"over and out\n")
        attached.stdin.flush()
        assert attached.stdout.readline() == b"over and out\n"
        # Who comes by WebSocket is on the same streams.
        asyncio.run(_talk_by_websocket(suite, "echo"))
        assert attached.stdout.readline() == b"by socket\n"
        suite.ok("kill", "echo")
        assert attached.wait(300) == 137


async def _talk_by_websocket(suite: Suite, container: str) -> None:
    path = Path(suite.endpoint.removeprefix("unix://"))
    target = f"/containers/{container}/attach/ws?stdin=1&stdout=1&stream=1"
    head, client = await websocket.connect(path, target, *websocket.UPGRADE)
    assert head.startswith("HTTP/1.1 101 ")
    client.writer.write(websocket.masked(websocket.BINARY, b"by socket\n"))
    assert await client.receive() == (websocket.BINARY, b"by socket\n")
    client.writer.write(websocket.masked(websocket.CLOSE, b""))
    await client.closed()
    client.writer.close()


def test_a_stopped_container_is_not_attached_to(suite: Suite, image: str) -> None:
    suite.ok("create", "--name", "still", image)
    suite.refused("attach", "still", code=1, message="You cannot attach to a stopped container")


def test_info_tells_the_driver_and_the_accelerator(suite: Suite) -> None:
    info = json.loads(suite.ok("info", "--format", "{{json .}}"))
    assert info["NCPU"] > 0
    assert info["MemTotal"] > 0
    text = json.dumps(info).lower()
    assert "qemu" in text
    assert "tcg" in text or "kvm" in text


def test_pause_and_unpause(suite: Suite, image: str) -> None:
    script = "trap 'date +%s; exit 9' HUP; echo ready; while :; do sleep 1 & wait; done"
    # Without a stop signal of its own any signal would have it go on, as with dockerd.
    stop = ("--stop-signal", "QUIT")
    suite.ok("run", "-d", *stop, "--name", "held", image, "sh", "-c", script)
    suite.await_output("held", "ready")
    paused_at = time.time()
    suite.ok("pause", "held")
    assert suite.inspect("held")["State"]["Status"] == "paused"
    assert "(Paused)" in suite.ok("ps", "--format", "{{.Status}}")
    suite.refused("pause", "held", code=1, message="already paused")
    suite.refused("attach", "held", code=1, message="paused")
    suite.refused("start", "held", code=1, message="try unpause instead")
    suite.ok("kill", "-s", "HUP", "held")
    assert suite.inspect("held")["State"]["Status"] == "paused"
    # The VM's clock, which counts whole seconds here, has stood still for some.
    while time.time() < paused_at + 3:
        assert suite.inspect("held")["State"]["Status"] == "paused"
    unpaused_at = int(time.time())
    suite.ok("unpause", "held")
    assert suite.ok("wait", "held") == "9"
    assert int(suite.ok("logs", "held").split()[-1]) >= unpaused_at - 1
    suite.refused("unpause", "held", code=1, message="is not paused")


def test_a_paused_container_is_killed_and_stopped(suite: Suite, image: str) -> None:
    script = "trap 'exit 3' TERM; echo ready; while :; do sleep 1 & wait; done"
    suite.ok("run", "-d", "--name", "held", image, "sh", "-c", script)
    suite.await_output("held", "ready")
    suite.ok("pause", "held")
    suite.ok("stop", "-t", "300", "held")
    assert suite.inspect("held")["State"]["ExitCode"] == 3
    suite.ok("start", "held")
    suite.ok("pause", "held")
    suite.ok("kill", "held")
    assert suite.ok("wait", "held") == "137"


def test_ps_shows_what_is_asked_for(suite: Suite, image: str) -> None:
    assert suite.docker("run", "--name", "failed", image, "sh", "-c", "exit 3").returncode == 3
    suite.ok("run", "-d", "--name", "busy", "--expose", "8080", image, "sleep", "1000")
    suite.ok("create", "--name", "fresh", image)

    def shown(*options: str) -> list[str]:
        return suite.ok("ps", "--format", "{{.Names}}", *options).split()

    def chosen(*filters: str) -> list[str]:
        return shown("-a", *(word for text in filters for word in ("--filter", text)))

    assert shown() == ["busy"]
    assert shown("-n", "2") == ["fresh", "busy"]
    assert shown("-l") == ["fresh"]
    assert shown("--filter", "status=exited") == ["failed"]
    assert chosen("status=created", "status=running") == ["fresh", "busy"]
    assert chosen("exited=3") == ["failed"]
    assert chosen("exited=4") == []
    assert chosen(f"ancestor={image}") == ["fresh", "busy", "failed"]
    assert chosen("before=busy") == ["failed"]
    assert chosen("since=busy") == ["fresh"]
    assert chosen("expose=8000-9000/tcp") == ["busy"]
    assert chosen("publish=80") == []
    assert chosen("network=bridge", "name=^bus") == ["busy"]
    assert chosen("volume=/data") == []
    assert chosen("health=none", f"id={suite.inspect('busy')['Id'][:8]}") == ["busy"]
    for wrong in ("status=asleep", "exited=x", "health=fine", "color=red", "publish=x"):
        suite.refused("ps", "--filter", wrong, code=1, message=wrong.split("=")[0])
    suite.refused("ps", "--filter", "before=nobody", code=1, message="nobody")

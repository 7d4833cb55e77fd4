"""Up, down, restart: what the containers and the host see of it."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.host import look
from tests.e2e.suite import Suite, kill
from tests.images import Registry, busybox_image
from tests.ports import free_port

ROLES = ("hostagent", "network", "storage", "interaction", "exec", "gateway")
COUNTING = "n=0; while :; do n=$((n+1)); echo $n; sleep 0.1; done"


@pytest.fixture
def other(registry: Registry) -> Iterator[Suite]:
    """A second suite, beside the session's one."""
    second = Suite()
    try:
        yield second
    finally:
        second.remove()


def read_numbers(process: "subprocess.Popen[bytes]", count: int) -> list[int]:
    assert process.stdout is not None
    return [int(process.stdout.readline()) for _ in range(count)]


@pytest.fixture
def counter(suite: Suite, image: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A container that counts, and a client attached to it."""
    suite.ok("run", "-d", "--name", "counter", image, "sh", "-c", COUNTING)
    following = suite.popen("logs", "--follow", "counter", stdout=subprocess.PIPE)
    try:
        yield following
    finally:
        following.kill()
        following.wait()
        assert following.stdout is not None
        following.stdout.close()
        suite.ok("rm", "-f", "counter")


def numbers_logged(suite: Suite) -> list[int]:
    return [int(line) for line in suite.ok("logs", "counter").splitlines()]


def await_number(suite: Suite, number: int) -> None:
    suite.await_output("counter", str(number))


@pytest.mark.usefixtures("counter")
def test_a_restart_of_everything_touches_no_container(suite: Suite) -> None:
    machine = suite.inspect("counter")["State"]["Pid"]
    started = suite.inspect("counter")["State"]["StartedAt"]
    before = {role: suite.pid(role) for role in ROLES}
    restarted = suite.vic("restart", seconds=800)
    assert restarted.returncode == 0, restarted.stderr + suite.logs()
    assert not set(before.values()) & {suite.pid(role) for role in ROLES}
    reached = numbers_logged(suite)[-1]
    await_number(suite, reached + 20)
    told = numbers_logged(suite)
    assert told == list(range(1, len(told) + 1))
    state = suite.inspect("counter")["State"]
    assert (state["Pid"], state["StartedAt"]) == (machine, started)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.usefixtures("counter")
def test_a_killed_process_comes_back_and_touches_no_container(suite: Suite, role: str) -> None:
    machine = suite.inspect("counter")["State"]["Pid"]
    before = suite.pid(role)
    suite.kill(role)
    assert suite.pid(role) != before
    await_number(suite, numbers_logged(suite)[-1] + 10)
    told = numbers_logged(suite)
    assert told == list(range(1, len(told) + 1))
    assert suite.inspect("counter")["State"]["Pid"] == machine


def test_a_restarted_gateway_refuses_no_connection(suite: Suite) -> None:
    pid = suite.pid("gateway")
    os.kill(pid, signal.SIGKILL)
    # Right into the gap: the connection waits in the watcher's socket until the next one is there.
    assert suite.ok("version", "--format", "{{.Server.Version}}")


def test_a_killed_watcher_leaves_containers_running_and_up_mends_it(
    suite: Suite, image: str
) -> None:
    container = suite.ok("run", "-d", image, "sh", "-c", COUNTING)
    machine, agent = suite.inspect(container)["State"]["Pid"], suite.pid("hostagent")
    kill(suite.status()["watcher"])
    assert suite.vic("status").returncode == 3
    suite.up()
    assert suite.pid("hostagent") == agent
    assert suite.inspect(container)["State"]["Pid"] == machine
    suite.ok("rm", "-f", container)


def test_down_leaves_nothing_and_up_brings_stopped_containers_back(
    other: Suite, suite: Suite, registry: Registry
) -> None:
    before = look()
    other.up()
    reference = registry.push(busybox_image(), "library/busybox")
    other.ok("pull", reference)
    script = (
        "trap 'exit 3' TERM; echo written >> /file; wc -l < /file; while :; do sleep 1 & wait; done"
    )
    other.ok("run", "-d", "--name", "keeper", reference, "sh", "-c", script)
    other.await_output("keeper", "1")
    # Side by side with the session's suite, and neither sees the other's containers.
    assert suite.docker("inspect", "keeper").returncode == 1
    other.down()
    assert look().new_since(before) == {}
    assert other.vic("status").returncode == 3
    other.up()
    state = other.inspect("keeper")["State"]
    assert (state["Status"], state["ExitCode"]) == ("exited", 3)
    other.ok("start", "keeper")
    other.await_output("keeper", "2")
    assert other.ok("logs", "keeper").splitlines() == ["1", "2"]


def test_down_cleans_up_after_everything_was_killed(other: Suite, registry: Registry) -> None:
    before = look()
    other.up()
    reference = registry.push(busybox_image(), "library/busybox")
    other.ok("run", "-d", reference, "sleep", "1000")
    watcher, agent = other.status()["watcher"], other.pid("hostagent")
    kill(watcher)
    kill(agent)
    other.down()
    assert look().new_since(before) == {}


def test_an_instance_is_listed_and_deleted(other: Suite, suite: Suite, tmp_path: Path) -> None:
    before = look()
    store = tmp_path / "store"
    store.mkdir()
    other.up(f"--volume-store=fast={store}")
    other.ok("volume", "create", "--opt", "VolumeStore=fast", "kept")
    listed = other.listed()
    assert {str(suite.data_dir), str(other.data_dir)} <= listed.keys()
    assert listed[str(other.data_dir)][1:3] == ["running", other.endpoint]

    refused = other.vic("delete")
    assert refused.returncode == 1
    assert "holds 1 volume; --force" in refused.stderr
    assert other.ok("volume", "ls", "--quiet").split() == ["kept"]

    deleted = other.vic("delete", "--force")
    assert deleted.returncode == 0, deleted.stderr
    # What was put into the directory by others stays, and is named.
    assert [path.name for path in other.data_dir.iterdir()] == ["docker-cli"]
    assert "docker-cli" in deleted.stdout
    assert list(store.iterdir()) == []
    assert str(other.data_dir) not in other.listed()
    assert look().new_since(before) == {}
    assert other.vic("delete").returncode == 1


def test_up_again_is_quick_and_changes_nothing(suite: Suite) -> None:
    before = {role: suite.pid(role) for role in ROLES}
    suite.up()
    assert {role: suite.pid(role) for role in ROLES} == before


def test_an_endpoint_in_use_is_told_and_nothing_is_started(other: Suite, suite: Suite) -> None:
    refused = other.vic("up", f"--host={suite.endpoint}")
    assert refused.returncode == 1
    assert f"{suite.endpoint} is in use by another program" in refused.stderr
    assert suite.ok("version", "--format", "{{.Server.Version}}")


def test_without_qemu_up_says_what_to_install(other: Suite) -> None:
    hidden = 'mount --bind /dev/null /usr/bin/qemu-system-x86_64 && exec "$@"'
    refused = subprocess.run(
        ["unshare", "--mount", "sh", "-c", hidden, "sh", *other.vic_command("up")],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert refused.returncode == 1
    assert "apt-get install qemu-system-x86" in refused.stderr
    assert not (other.data_dir / "instance.json").exists()


def test_who_is_not_root_is_told_so(other: Suite) -> None:
    refused = subprocess.run(
        # The capability lets nobody reach the code, which may lie below /root.
        [
            "setpriv",
            "--reuid=65534",
            "--clear-groups",
            "--inh-caps=+dac_read_search",
            "--ambient-caps=+dac_read_search",
            *other.vic_command("up"),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert refused.returncode == 1
    assert "needs root" in refused.stderr


def test_a_loopback_port_as_endpoint(other: Suite, registry: Registry) -> None:
    other.endpoint = f"tcp://127.0.0.1:{free_port()}"
    other.up()
    assert other.ok("version", "--format", "{{.Server.APIVersion}}")


def test_services_run_without_roots_powers(suite: Suite) -> None:
    net_admin_and_bind = 1 << 12 | 1 << 10
    for role in ("network", "storage", "interaction", "exec", "gateway"):
        status = Path(f"/proc/{suite.pid(role)}/status").read_text()
        fields = dict(line.split(":", 1) for line in status.splitlines())
        assert int(fields["Uid"].split()[0]) >= 1_900_000_000
        allowed = net_admin_and_bind if role == "network" else 0
        for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb"):
            assert int(fields[name], 16) == allowed, (role, name)
        assert fields["NoNewPrivs"].strip() == "1"
        environment = Path(f"/proc/{suite.pid(role)}/environ").read_bytes()
        names = {entry.split(b"=")[0] for entry in environment.split(b"\0") if entry}
        assert names <= {b"PATH", b"LANG", b"VIC_DATA_DIR", b"VIC_GATEWAY_LISTEN_FD"} | {
            b"PYTHONDONTWRITEBYTECODE"
        }


def test_state_directories_are_closed_to_others(suite: Suite) -> None:
    for role in ("network", "storage", "interaction", "exec", "gateway"):
        assert (suite.data_dir / role).stat().st_mode & 0o777 == 0o700
        assert (suite.data_dir / "pki" / role / "tls.key").stat().st_mode & 0o077 == 0
    assert (suite.data_dir / "pki" / "ca.key").stat().st_mode & 0o777 == 0o600

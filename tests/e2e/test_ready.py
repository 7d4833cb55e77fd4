"""Clones that are kept ready: used once, replaced, and gone with the suite."""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from vic.exec.v1 import exec_pb2
from vic.hostagent.v1 import hostagent_pb2

from installer.instance import Instance, load_instance
from tests.e2e.facets import exec_info, machines
from tests.e2e.suite import Suite

pytestmark = pytest.mark.usefixtures("containers")

READY = 2
# Not in Python's socket module: <asm-generic/socket.h>.
SO_RCVBUFFORCE = 33
FILL_SECONDS = 240
SCRIPT = (
    "head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \\n'; echo; "
    "cat /proc/sys/kernel/random/uuid; cat /proc/sys/kernel/random/boot_id; "
    "cat /sys/class/net/eth0/address; hostname; "
    "cat /etc/machine-id 2>/dev/null || echo none-$(hostname); "
    "ip -4 -o addr show eth0 | awk '{print $4}'"
)


@pytest.fixture(scope="module")
def instance(suite: Suite) -> Iterator[Instance]:
    found = load_instance(suite.data_dir)
    assert found is not None
    configure(suite, f"--ready-clones={READY}")
    yield found
    configure(suite, "--ready-clones=auto")


def configure(suite: Suite, *options: str) -> None:
    """Change how containers start."""
    done = suite.vic("configure", *options)
    assert done.returncode == 0, done.stderr


def filled(
    instance: Instance,
    also: Callable[[exec_pb2.InfoResponse], bool] = lambda _: True,
    wanted: int = READY,
) -> exec_pb2.InfoResponse:
    """Wait until all clones that are wanted are ready. Nothing tells of it but exec's own count."""

    deadline = time.monotonic() + FILL_SECONDS
    while time.monotonic() < deadline:
        info = exec_info(instance)
        if info.ready_clones_waiting == wanted and also(info):
            return info
        time.sleep(0.5)
    raise AssertionError(f"{exec_info(instance)}")


def waiting(instance: Instance) -> dict[str, hostagent_pb2.RunningMachine]:
    """Return the machines that wait."""
    ready = hostagent_pb2.MACHINE_KIND_READY
    return {name: m for name, m in machines(instance).items() if m.kind == ready}


class ClientHellos:
    """Listens to the TLS handshakes on a bridge. Source: RFC 8446, sections 4.1.2 and 5.1."""

    def __init__(self, bridge: str) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
        # All of it has to find room until it is read.
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        self._socket.bind((bridge, 0))
        self._socket.settimeout(60)

    def __enter__(self) -> "ClientHellos":
        return self

    def __exit__(self, *_exception: object) -> None:
        self._socket.close()

    def seen(self, count: int) -> list[bytes]:
        """Return what so many clients drew for their first messages."""
        found: dict[bytes, bytes] = {}
        while len(found) < count:
            frame = self._socket.recv(4096)
            record = frame.find(b"\x16\x03\x01")
            if record > 0 and frame[record + 5 : record + 6] == b"\x01":
                # Addresses, ports and number: one that is sent again is the same client's.
                found[frame[26:42]] = frame[record + 11 : record + 43]
        return list(found.values())


def test_clones_that_were_ready_differ_in_all_that_must_and_serve_one_container_each(
    suite: Suite, image: str, instance: Instance
) -> None:
    told: list[tuple[str, ...]] = []
    used: set[int] = set()
    before = filled(instance)

    def run(_: int) -> str:
        return suite.ok("run", "-d", image, "sh", "-c", f"{SCRIPT}; echo done; sleep 1000")

    for _ in range(3):
        filled(instance)
        ready = {machine.pid for machine in waiting(instance).values()}
        with ThreadPoolExecutor(READY) as pool:
            containers = list(pool.map(run, range(READY)))
        running = machines(instance)
        pids = {running[container].pid for container in containers}
        assert pids <= ready
        assert not pids & used
        used |= pids
        for container in containers:
            suite.await_output(container, "done")
            told.append(tuple(suite.ok("logs", container).splitlines()[:-1]))
    after = exec_info(instance)
    assert after.ready_clones - before.ready_clones == 3 * READY
    assert after.ready_clones_failed == before.ready_clones_failed
    for column in zip(*told, strict=True):
        assert len(set(column)) == len(told), column


def templates(instance: Instance) -> dict[int, hostagent_pb2.RunningMachine]:
    """Return what others with one CPU are forks of, by the memory of their classes in MiB."""
    kind = hostagent_pb2.MACHINE_KIND_TEMPLATE
    found = [machine for machine in machines(instance).values() if machine.kind == kind]
    return {machine.shape.memory_mib: machine for machine in found if machine.shape.vcpus == 1}


def template(instance: Instance) -> hostagent_pb2.RunningMachine:
    """Return the one of the default class."""
    return templates(instance)[512]


def test_a_burst_of_starts_is_served_by_forks_that_share_no_random_number(
    suite: Suite, image: str, instance: Instance
) -> None:
    burst = 6
    before = filled(instance)
    run = ("run", "--rm", image, "cat", "/proc/sys/kernel/random/uuid")
    with ClientHellos(f"vic{instance.slot}m") as hellos, ThreadPoolExecutor(burst) as pool:
        told = list(pool.map(lambda _: suite.ok(*run), range(burst)))
        randoms = hellos.seen(burst)
    assert len(set(told)) == burst
    # What a TLS client draws first: all forks would draw the same, had theirs not begun anew.
    assert len(set(randoms)) == len(randoms)
    after = exec_info(instance)
    assert after.ready_clones - before.ready_clones == burst
    assert (after.instant_clones, after.cold_boots) == (before.instant_clones, before.cold_boots)
    # The first of another class is none, but has a template made for those that follow.
    limit = ("cat", "/sys/fs/cgroup/memory.max")
    assert suite.ok("run", "--rm", "-m", "64m", image, *limit) == str(64 << 20)
    warm = hostagent_pb2.TETHER_STATE_WARM
    filled(
        instance,
        lambda _: any(
            size == 256 and machine.tether.state == warm
            for size, machine in templates(instance).items()
        ),
    )
    deadline = time.monotonic() + FILL_SECONDS
    # It is warm, and may be about to be held still.
    while exec_info(instance).ready_clones == after.ready_clones:
        assert suite.ok("run", "--rm", "-m", "96m", image, *limit) == str(96 << 20)
        assert time.monotonic() < deadline
    assert exec_info(instance).ready_clones_failed == after.ready_clones_failed


def test_containers_outlive_the_template_which_is_replaced(
    suite: Suite, image: str, instance: Instance
) -> None:
    filled(instance)
    container = suite.ok("run", "-d", image, "sleep", "1000")
    killed = template(instance)
    os.kill(killed.pid, signal.SIGKILL)
    filled(instance, lambda _: killed.machine_id not in machines(instance))
    assert suite.ok("exec", container, "echo", "hello") == "hello"
    # The next clone needs another template.
    suite.ok("run", "--rm", image, "true")
    filled(instance)
    assert template(instance).machine_id != killed.machine_id
    suite.ok("rm", "-f", container)


def test_a_ready_clone_that_was_killed_is_replaced(
    suite: Suite, image: str, instance: Instance
) -> None:
    filled(instance)
    name, victim = next(iter(waiting(instance).items()))
    os.kill(victim.pid, signal.SIGKILL)
    assert suite.ok("run", "--rm", image, "echo", "hello") == "hello"
    filled(instance, lambda _: name not in waiting(instance))


@pytest.mark.parametrize("role", ["exec", "hostagent"])
def test_none_is_left_over_by_a_service_that_was_killed(
    suite: Suite, image: str, instance: Instance, role: str
) -> None:
    filled(instance)
    before = set(waiting(instance))
    suite.kill(role)
    filled(instance, lambda _: not before & set(waiting(instance)))
    assert len(waiting(instance)) == READY
    assert suite.ok("run", "--rm", image, "echo", "hello") == "hello"


def test_none_are_kept_where_none_are_wanted(suite: Suite, image: str, instance: Instance) -> None:
    filled(instance)
    before, pid = exec_info(instance), suite.pid("exec")
    configure(suite, "--ready-clones=0")
    try:
        filled(instance, lambda _: not waiting(instance), wanted=0)
        assert "0 of 0 ready" in suite.vic("status").stdout
        suite.ok("run", "--rm", image, "true")
        after = exec_info(instance)
        assert waiting(instance) == {}
        assert after.ready_clones == before.ready_clones
        assert after.instant_clones > before.instant_clones
        # Nobody's memory holds so many, and what was set stays.
        refused = suite.vic("configure", "--ready-clones=9999", "--container-limit=1")
        assert refused.returncode == 1
        assert "9999 ready clones" in refused.stderr
        assert exec_info(instance).limits == before.limits
    finally:
        configure(suite, f"--ready-clones={READY}")
    filled(instance)
    assert "Ready clones: 2 of 2 wait" in suite.ok("info")
    assert suite.pid("exec") == pid


def test_one_that_is_to_share_no_memory_boots_by_itself(
    suite: Suite, image: str, instance: Instance
) -> None:
    before = exec_info(instance)
    container = suite.ok("run", "-d", "--label", "vic.start=cold", image, "sleep", "1000")
    machine = machines(instance)[container]
    assert (machine.kind, machine.parent_id) == (hostagent_pb2.MACHINE_KIND_COLD, "")
    after = exec_info(instance)
    assert after.cold_boots == before.cold_boots + 1
    assert after.ready_clones == before.ready_clones
    suite.refused(
        *("create", "--label", "vic.start=warm", image),
        code=1,
        message="invalid label vic.start=warm",
    )

"""A container is a virtual machine: what the hypervisor itself says."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from vic.exec.v1 import exec_pb2

from installer.instance import Instance, load_instance
from tests.e2e.facets import exec_info, machines
from tests.e2e.host import FIRST_UID, processes_of
from tests.e2e.qmp import Monitor
from tests.e2e.suite import Suite
from tests.images import Registry, multi_layer_image

pytestmark = pytest.mark.usefixtures("containers")


@pytest.fixture(scope="module")
def instance(suite: Suite) -> Instance:
    found = load_instance(suite.data_dir)
    assert found is not None
    return found


def test_qemu_names_one_vmdk_for_each_layer(
    suite: Suite, registry: Registry, instance: Instance
) -> None:
    image = multi_layer_image(4)
    reference = registry.push(image, "chain")
    suite.ok("pull", reference)
    container = suite.ok("run", "-d", "--name", "chain", reference, "sleep", "1000")
    machine = machines(instance)[container]
    before = suite.pid("exec")
    with suite.without("exec"), Monitor(Path(machine.qmp_path)) as monitor:
        nodes = monitor.ask("query-named-block-nodes")
    disks = [node for node in nodes if node["drv"] == "vmdk"]
    # The empty file system at the bottom, one for each layer, and the container's own on top.
    assert len(disks) == 1 + len(image.layers) + 1
    assert [node["ro"] for node in disks].count(False) == 1
    # And exec comes back to a container that never noticed.
    assert suite.ok("ps", "--format", "{{.Names}}") == "chain"
    assert suite.pid("exec") != before
    suite.ok("stop", "-t", "1", "chain")


def test_each_container_has_a_qemu_and_a_user_of_its_own(
    suite: Suite, image: str, instance: Instance
) -> None:
    containers = [suite.ok("run", "-d", image, "sleep", "1000") for _ in range(3)]
    running = machines(instance)
    uids = [running[container].uid for container in containers]
    assert len(set(uids)) == 3
    first = FIRST_UID + instance.slot * 65_536
    assert all(first + 1000 <= uid < first + 65_536 for uid in uids)
    for container in containers:
        machine = running[container]
        processes = processes_of(range(machine.uid, machine.uid + 1))
        assert list(processes) == [machine.pid]
        assert processes[machine.pid][0].endswith("qemu-system-x86_64")
        status = Path(f"/proc/{machine.pid}/status").read_text()
        assert "CapEff:\t0000000000000000" in status
        assert "NoNewPrivs:\t1" in status
        assert "Seccomp:\t2" in status
        assert "memory-backend" in " ".join(processes[machine.pid])
        assert "PRIVATE KEY" not in " ".join(processes[machine.pid])


def test_clones_differ_in_all_that_must_and_none_was_a_cold_boot(
    suite: Suite, image: str, instance: Instance
) -> None:
    suite.ok("run", "--rm", image, "true")  # the parent of this shape is there now
    before = exec_info(instance)
    script = (
        "head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \\n'; echo; "
        "cat /proc/sys/kernel/random/uuid; cat /proc/sys/kernel/random/boot_id; "
        "cat /sys/class/net/eth0/address; hostname; "
        "cat /etc/machine-id 2>/dev/null || echo none-$(hostname); "
        "ip -4 -o addr show eth0 | awk '{print $4}'"
    )

    def run(_: int) -> tuple[str, ...]:
        return tuple(suite.ok("run", "--rm", image, "sh", "-c", script).splitlines())

    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(run, range(20)))
    for number, kind in enumerate(("random", "uuid", "boot ID", "MAC", "host name", "machine ID")):
        assert len({answer[number] for answer in told}) == 20, kind
    after = exec_info(instance)
    assert after.cold_boots == before.cold_boots
    assert cloned(after) >= cloned(before) + 20


def test_status_says_which_accelerator_and_why(suite: Suite, image: str) -> None:
    suite.ok("run", "--rm", image, "true")
    hypervisor = suite.status()["hypervisor"]
    assert hypervisor["accelerator"] in ("kvm", "tcg")
    assert len(hypervisor["reason"].split()) > 2
    assert f"accelerator {hypervisor['accelerator']}: " in suite.vic("status").stdout


def cloned(info: exec_pb2.InfoResponse) -> int:
    """Return the starts that were no cold boots: of clones made for them, or kept ready."""
    return info.instant_clones + info.ready_clones

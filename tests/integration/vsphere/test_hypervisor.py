"""The vsphere driver of exec on a vCenter: what it makes, and leaves alone."""

import base64
import secrets

import pytest
from pyVmomi import vim
from vic.exec.v1 import container_pb2

from portlayer.errors import AlreadyExists, FailedPrecondition, NotFound
from portlayer.vsphere.identity import PREFIX, options
from portlayer.vsphere.properties import read, read_below
from portlayer.vsphere.session import VCenter
from services.exec.drivers.vsphere.driver import VsphereHypervisor
from services.exec.drivers.vsphere.hardware import machine_name
from services.exec.drivers.vsphere.settings import PlaceSettings
from tests.integration.vsphere.hypervisor import (
    PLACE,
    end_of,
    machine,
    new_driver,
    running,
    start,
    vm_of,
)
from tests.integration.vsphere.others import (
    BOOTSTRAP,
    files,
    find_vm,
    make_disk,
)
from tests.vcenter import Simulator


async def test_a_vm_is_made_runs_ends_and_leaves_its_disk(
    hypervisor: VsphereHypervisor, vcenter: VCenter
) -> None:
    disk = f"[LocalDS_0] {secrets.token_hex(4)}.vmdk"
    await make_disk(vcenter, disk)
    made = machine(chain=(disk,))
    await start(hypervisor, made)
    vm = await vm_of(vcenter, made)
    paths = ["config.hardware.device", "config.extraConfig", "runtime.powerState"]
    ((_, told),) = await vcenter.call(
        lambda content: read(content, [vm], vim.VirtualMachine, paths)
    )
    assert told["runtime.powerState"] == "poweredOn"
    devices = told["config.hardware.device"]
    cards = [d for d in devices if isinstance(d, vim.vm.device.VirtualEthernetCard)]
    assert [card.macAddress for card in cards] == ["02:56:49:43:00:01"]
    disks = [d for d in devices if isinstance(d, vim.vm.device.VirtualDisk)]
    assert [getattr(d.backing, "fileName", "") for d in disks] == [disk]
    spec = base64.b64decode(options(told["config.extraConfig"])[f"{PREFIX}spec"])
    assert container_pb2.ContainerSpec.FromString(spec) == made.spec

    # Somebody else powers it off; the tether has written its record before.
    record = vim.option.OptionValue(key="guestinfo.vic.exit", value='{"exit_code": 3}')
    written = vim.vm.ConfigSpec(extraConfig=[record])
    await vcenter.finish(lambda _: vm.ReconfigVM_Task(written))
    await vcenter.finish(lambda _: vm.PowerOffVM_Task())
    position, exited = await end_of(hypervisor, made)
    assert exited.container_id == made.container_id
    assert (exited.exit_record, exited.detail) == (b'{"exit_code": 3}', "powered off")
    assert await running(hypervisor) == set()

    await hypervisor.forget_exits(position)
    assert await find_vm(vcenter, machine_name(made)) is None
    assert disk.rpartition(" ")[2] in await files(vcenter, "[LocalDS_0]")


async def test_making_a_vm_again_makes_none(
    hypervisor: VsphereHypervisor, vcenter: VCenter
) -> None:
    made = machine()
    await hypervisor.create(made)
    await hypervisor.create(made)
    found = await vcenter.call(
        lambda content: read_below(content, content.rootFolder, vim.VirtualMachine, ["name"])
    )
    assert [told["name"] for _, told in found].count(machine_name(made)) == 1
    # It is off because it has not run yet; that is no end, and no VM that runs.
    assert await running(hypervisor) == set()
    await hypervisor.destroy(made.container_id, made.boot_id)
    assert await find_vm(vcenter, machine_name(made)) is None
    await hypervisor.destroy(made.container_id, made.boot_id)


async def test_somebodys_clone_of_a_containers_vm_is_not_ours(
    hypervisor: VsphereHypervisor, vcenter: VCenter
) -> None:
    made = machine()
    await start(hypervisor, made)
    vm = await vm_of(vcenter, made)
    paths = ["config.extraConfig", "parent", "resourcePool"]
    ((_, told),) = await vcenter.call(
        lambda content: read(content, [vm], vim.VirtualMachine, paths)
    )
    copy = vim.vm.CloneSpec(
        location=vim.vm.RelocateSpec(pool=told["resourcePool"]),
        config=vim.vm.ConfigSpec(extraConfig=told["config.extraConfig"]),
        powerOn=False,
        template=False,
    )
    clone = await vcenter.finish(lambda _: vm.CloneVM_Task(told["parent"], "a copy", copy))
    await vcenter.finish(lambda _: clone.PowerOnVM_Task())
    assert await running(hypervisor) == {(made.container_id, made.boot_id)}
    await hypervisor.destroy(made.container_id)
    ((_, left),) = await vcenter.call(
        lambda content: read(content, [clone], vim.VirtualMachine, ["name"])
    )
    assert left["name"] == "a copy"
    await vcenter.finish(lambda _: clone.PowerOffVM_Task())
    await vcenter.finish(lambda _: clone.Destroy_Task())


async def test_another_instances_vms_are_left_alone(
    simulated: Simulator, hypervisor: VsphereHypervisor, vcenter: VCenter
) -> None:
    other = new_driver(simulated, PLACE, secrets.token_hex(4))
    await other.open()
    made = machine()
    await start(other, made)
    await hypervisor.destroy(made.container_id)
    await hypervisor.destroy(made.container_id, made.boot_id)
    assert await running(hypervisor) == set()
    assert await running(other) == {(made.container_id, made.boot_id)}
    # The same container made by us would have the name of a VM that isn't ours.
    with pytest.raises(AlreadyExists, match="not ours"):
        await hypervisor.create(made)
    await other.destroy(made.container_id)
    await other.close()


async def test_a_port_group_that_is_not_there_is_named(
    hypervisor: VsphereHypervisor, vcenter: VCenter
) -> None:
    made = machine(port_group="nowhere")
    with pytest.raises(FailedPrecondition, match="nowhere"):
        await hypervisor.create(made)
    assert await find_vm(vcenter, machine_name(made)) is None


async def test_a_disk_whose_file_or_parent_is_gone_makes_no_vm(
    hypervisor: VsphereHypervisor, vcenter: VCenter
) -> None:
    # vCenter looks for parents when a VM is powered on, the simulator never.
    disk, layer, base = (f"[LocalDS_0] {secrets.token_hex(4)}.vmdk" for _ in range(3))
    await make_disk(vcenter, disk)
    await make_disk(vcenter, base)
    made = machine(chain=(disk, layer, base))
    with pytest.raises(FailedPrecondition) as refused:
        await hypervisor.create(made)
    assert refused.value.message.startswith(f"the container's disk lacks {layer}, which")
    assert await find_vm(vcenter, machine_name(made)) is None
    await make_disk(vcenter, layer)
    await hypervisor.create(made)
    await hypervisor.destroy(made.container_id)

    lost = machine(chain=("[LocalDS_0] lost.vmdk",))
    with pytest.raises(NotFound, match=r"FileNotFound: .*/lost"):
        await hypervisor.create(lost)
    assert await find_vm(vcenter, machine_name(lost)) is None
    for own in (("/var/lib/vic/disk.vmdk",), (disk, "/var/lib/vic/layer.vmdk")):
        here = machine(chain=own)
        with pytest.raises(FailedPrecondition, match="where no ESXi host reads it"):
            await hypervisor.create(here)
        assert await find_vm(vcenter, machine_name(here)) is None


async def test_running_what_was_not_made_is_refused(hypervisor: VsphereHypervisor) -> None:
    with pytest.raises(NotFound):
        await hypervisor.run(secrets.token_hex(32), secrets.token_hex(16))


async def test_all_that_is_wrong_with_a_place_is_said_at_once(simulated: Simulator) -> None:
    wrong = PlaceSettings(
        folder="/DC0/vm/none",
        resource_pool=PLACE.resource_pool,
        datastore="tape",
        bootstrap=BOOTSTRAP,
    )
    driver = new_driver(simulated, wrong, "0a1b2c3d")
    with pytest.raises(FailedPrecondition) as error:
        await driver.open()
    await driver.close()
    assert "/DC0/vm/none" in error.value.message
    assert "tape" in error.value.message
    assert "LocalDS_0, LocalDS_1" in error.value.message

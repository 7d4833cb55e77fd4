"""The vsphere driver of exec on a vCenter: what it makes, hears of, and leaves alone."""

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, cast

import pytest
from pyVmomi import SoapAdapter, vim
from vic.exec.v1 import container_pb2
from vic.network.v1 import network_pb2
from vic.storage.v1 import disk_pb2

from portlayer.errors import AlreadyExists, FailedPrecondition, NotFound, Reason
from portlayer.vsphere import methods
from portlayer.vsphere.identity import PREFIX, options
from portlayer.vsphere.properties import read, read_below
from portlayer.vsphere.session import VCenter
from services.exec.drivers import MachineExited, MachineSpec
from services.exec.drivers.vsphere.driver import VsphereHypervisor
from services.exec.drivers.vsphere.hardware import machine_name
from services.exec.drivers.vsphere.settings import PlaceSettings
from tests.integration.vsphere.others import (
    BOOTSTRAP,
    Issuer,
    end_session,
    files,
    find_vm,
    make_disk,
    put_bootstrap,
    until,
)
from tests.vcenter import Simulator, simulator

PLACE = PlaceSettings(
    folder="/DC0/vm",
    resource_pool="/DC0/host/DC0_C0/Resources",
    datastore="LocalDS_0",
    bootstrap=BOOTSTRAP,
    instant_clone=False,
)
SECONDS = 60.0
Look = Callable[[vim.ServiceInstanceContent], list[tuple[Any, dict[str, Any]]]]


def new_driver(simulated: Simulator, place: PlaceSettings, instance_id: str) -> VsphereHypervisor:
    """A driver of an instance."""
    issuer = cast(Any, Issuer(instance_id))
    return VsphereHypervisor(VCenter(simulated.target()), place, instance_id, issuer)


@pytest.fixture
async def hypervisor(simulated: Simulator) -> AsyncIterator[VsphereHypervisor]:
    """The driver, of an instance of its own."""
    driver = new_driver(simulated, PLACE, secrets.token_hex(4))
    await driver.open()
    yield driver
    for machine in await driver.inventory():
        await driver.destroy(machine.container_id)
    await driver.close()


def machine(
    *, chain: tuple[str, ...] = (), port_group: str = "DC0_DVPG0", name: str = "web"
) -> MachineSpec:
    """A container VM on one network."""
    container_id = secrets.token_hex(32)
    return MachineSpec(
        container_id=container_id,
        boot_id=secrets.token_hex(16),
        spec=container_pb2.ContainerSpec(version=1, name=name, image="busybox"),
        disk=disk_pb2.Disk(container_id=container_id, chain=chain),
        endpoints=[
            network_pb2.Endpoint(
                management=True,
                mac_address="02:56:49:43:00:01",
                ipv4_address="100.112.0.5",
                ipv4_prefix_length=20,
                port_group=port_group,
            )
        ],
        tether_endpoint="100.112.0.1:7443",
        tether_server_name="interaction.test.vic",
        cold=True,
    )


async def start(hypervisor: VsphereHypervisor, made: MachineSpec) -> None:
    """Create and run."""
    await hypervisor.create(made)
    await hypervisor.load(made.container_id, made.boot_id)
    await hypervisor.run(made.container_id, made.boot_id)


async def end_of(hypervisor: VsphereHypervisor, made: MachineSpec) -> tuple[int, MachineExited]:
    """Wait for a VM's end."""
    async with asyncio.timeout(SECONDS):
        async for position, exited in hypervisor.exits(0):
            if exited is not None and exited.boot_id == made.boot_id:
                return position, exited
    raise AssertionError("the ends have ended")


async def caught_up(hypervisor: VsphereHypervisor, vcenter: VCenter) -> None:
    """Wait until the driver has heard of all that was so far: of the end of a VM after it."""
    last = machine()
    await start(hypervisor, last)
    vm = await vm_of(vcenter, last)
    await vcenter.finish(lambda _: vm.PowerOffVM_Task())
    await end_of(hypervisor, last)
    await hypervisor.destroy(last.container_id)


async def ended(hypervisor: VsphereHypervisor) -> set[str]:
    """Containers whose ends are told and not forgotten."""
    told = set()
    async for _, exited in hypervisor.exits(0):
        if exited is None:
            break
        told.add(exited.container_id)
    return told


async def running(hypervisor: VsphereHypervisor) -> set[tuple[str, str]]:
    """Containers and boots in the inventory."""
    return {(m.container_id, m.boot_id) for m in await hypervisor.inventory()}


async def vm_of(vcenter: VCenter, made: MachineSpec) -> vim.VirtualMachine:
    """The VM in vCenter."""
    vm = await find_vm(vcenter, machine_name(made))
    assert vm is not None
    return vm


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


async def test_a_container_starts_again_before_its_former_vm_is_forgotten(
    hypervisor: VsphereHypervisor, vcenter: VCenter
) -> None:
    former = machine()
    await start(hypervisor, former)
    again = replace(former, boot_id=secrets.token_hex(16))
    with pytest.raises(FailedPrecondition, match="still runs"):
        await hypervisor.create(again)
    vm = await vm_of(vcenter, former)
    await vcenter.finish(lambda _: vm.PowerOffVM_Task())
    position, _ = await end_of(hypervisor, former)
    await start(hypervisor, again)
    await hypervisor.forget_exits(position)
    assert await running(hypervisor) == {(again.container_id, again.boot_id)}


async def test_a_vm_that_is_deleted_behind_our_back_has_ended(
    hypervisor: VsphereHypervisor, vcenter: VCenter
) -> None:
    made = machine()
    await start(hypervisor, made)
    await caught_up(hypervisor, vcenter)
    vm = await vm_of(vcenter, made)
    await vcenter.call(lambda content: methods.enable(content, vm))
    await vcenter.finish(lambda _: vm.PowerOffVM_Task())
    await vcenter.finish(lambda _: vm.Destroy_Task())
    position, exited = await end_of(hypervisor, made)
    assert exited.container_id == made.container_id
    await hypervisor.forget_exits(position)


async def test_a_vm_that_moves_to_another_host_runs_on(
    hypervisor: VsphereHypervisor, vcenter: VCenter
) -> None:
    moved = machine()
    await start(hypervisor, moved)
    vm = await vm_of(vcenter, moved)
    ((_, told),) = await vcenter.call(
        lambda content: read(content, [vm], vim.VirtualMachine, ["runtime.host"])
    )
    hosts = await vcenter.call(
        lambda content: read_below(content, content.rootFolder, vim.HostSystem, ["name"])
    )
    former = told["runtime.host"]._GetMoId()
    other = next(host for host, _ in hosts if host._GetMoId() != former)
    await vcenter.finish(lambda _: vm.RelocateVM_Task(vim.vm.RelocateSpec(host=other)))
    await caught_up(hypervisor, vcenter)
    assert moved.container_id not in await ended(hypervisor)
    assert (moved.container_id, moved.boot_id) in await running(hypervisor)


async def test_what_ends_while_nobody_listens_is_known_afterwards(
    simulated: Simulator, vcenter: VCenter
) -> None:
    instance_id = secrets.token_hex(4)
    driver = new_driver(simulated, PLACE, instance_id)
    await driver.open()
    made, survivor = machine(), machine()
    await start(driver, made)
    await start(driver, survivor)
    await driver.close()
    vm = await vm_of(vcenter, made)
    await vcenter.finish(lambda _: vm.PowerOffVM_Task())

    again = new_driver(simulated, PLACE, instance_id)
    await again.open()
    _, exited = await end_of(again, made)
    assert exited.container_id == made.container_id
    assert await running(again) == {(survivor.container_id, survivor.boot_id)}
    for left in (made, survivor):
        await again.destroy(left.container_id)
        assert await find_vm(vcenter, machine_name(left)) is None
    await again.close()


async def test_ends_are_heard_of_after_the_session_was_ended(
    simulated: Simulator, vcenter: VCenter
) -> None:
    session = VCenter(simulated.target())
    instance_id = secrets.token_hex(4)
    driver = VsphereHypervisor(session, PLACE, instance_id, cast(Any, Issuer(instance_id)))
    await driver.open()
    made = machine()
    await start(driver, made)
    await end_session(simulated, session)
    vm = await vm_of(vcenter, made)
    await vcenter.finish(lambda _: vm.PowerOffVM_Task())
    await end_of(driver, made)
    await driver.destroy(made.container_id)
    await driver.close()


async def booted_after(vcenter: VCenter, look: Look, former: datetime | None) -> None:
    """Wait until a VM has another boot time than it had."""

    async def booted() -> bool:
        ((_, told),) = await vcenter.call(look)
        return told.get("runtime.bootTime") not in (None, former)

    await until(vcenter, booted)


async def test_a_vm_is_suspended_and_goes_on(
    hypervisor: VsphereHypervisor, vcenter: VCenter
) -> None:
    made = machine()
    await start(hypervisor, made)
    power = ["runtime.powerState", "runtime.bootTime"]
    vm = await vm_of(vcenter, made)
    look = partial(read, objects=[vm], kind=vim.VirtualMachine, paths=power)
    await booted_after(vcenter, look, None)
    await hypervisor.pause(made.container_id)
    ((_, told),) = await vcenter.call(look)
    assert told["runtime.powerState"] == "suspended"
    former = told["runtime.bootTime"]
    assert (made.container_id, made.boot_id) in await running(hypervisor)
    await hypervisor.unpause(made.container_id)
    ((_, told),) = await vcenter.call(look)
    assert told["runtime.powerState"] == "poweredOn"
    # It has a boot time of its own then, and was not reset.
    await booted_after(vcenter, look, former)
    await hypervisor.pause(made.container_id)
    await hypervisor.unpause(made.container_id)
    assert (made.container_id, made.boot_id) in await running(hypervisor)
    with pytest.raises(FailedPrecondition):
        await hypervisor.pause(secrets.token_hex(32))


async def test_what_was_decided_on_an_older_state_is_not_done(
    hypervisor: VsphereHypervisor, vcenter: VCenter
) -> None:
    made = machine()
    await start(hypervisor, made)
    vm = await vm_of(vcenter, made)
    path = "config.changeVersion"
    await hypervisor.reweigh(
        made.container_id, made.boot_id, container_pb2.Resources(cpu_shares=512)
    )
    look = partial(read, objects=[vm], kind=vim.VirtualMachine, paths=[path])
    ((_, told),) = await vcenter.call(look)
    stale = vim.vm.ConfigSpec(changeVersion=told[path], annotation="stale")
    await vcenter.finish(lambda _: vm.ReconfigVM_Task(vim.vm.ConfigSpec(annotation="theirs")))
    with pytest.raises(FailedPrecondition) as error:
        await vcenter.finish(lambda _: vm.ReconfigVM_Task(stale))
    assert error.value.reason is Reason.PLATFORM_OBJECT_CHANGED

    # Ours are decided anew until nobody came between.
    async with asyncio.TaskGroup() as group:
        for shares in (256, 512, 1024):
            resources = container_pb2.Resources(cpu_shares=shares)
            group.create_task(hypervisor.reweigh(made.container_id, made.boot_id, resources))


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


@pytest.mark.parametrize("carried_out", [False, True])
async def test_no_call_whose_connection_breaks_makes_a_vm_twice_or_keeps_one(
    hypervisor: VsphereHypervisor,
    vcenter: VCenter,
    monkeypatch: pytest.MonkeyPatch,
    carried_out: bool,
) -> None:
    invoke: Callable[..., Any] = SoapAdapter.SoapStubAdapter.InvokeMethod
    to_break = ["CreateVM_Task", "PowerOnVM_Task", "SuspendVM_Task", "PowerOffVM_Task"]
    to_break += ["ReconfigVM_Task", "Destroy_Task"]

    def break_once(self: Any, mo: object, info: Any, *rest: object) -> Any:
        name = getattr(info, "wsdlName", "")
        if name not in to_break:
            return invoke(self, mo, info, *rest)
        to_break.remove(name)
        if carried_out:
            invoke(self, mo, info, *rest)
        raise ConnectionResetError(104, "Connection reset by peer")

    monkeypatch.setattr(SoapAdapter.SoapStubAdapter, "InvokeMethod", break_once)
    disk = f"[LocalDS_0] {secrets.token_hex(4)}.vmdk"
    await make_disk(vcenter, disk)
    made = machine(chain=(disk,))
    await start(hypervisor, made)
    found = await vcenter.call(
        lambda content: read_below(content, content.rootFolder, vim.VirtualMachine, ["name"])
    )
    assert [told["name"] for _, told in found].count(machine_name(made)) == 1
    await hypervisor.pause(made.container_id)
    assert await hypervisor.is_paused(made.container_id)
    await hypervisor.destroy(made.container_id)
    assert to_break == []
    assert await find_vm(vcenter, machine_name(made)) is None
    assert disk.rpartition(" ")[2] in await files(vcenter, "[LocalDS_0]")


async def test_usage_is_asked_for_in_batches_and_of_vms_that_are_there(
    simulated: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    hypervisor = new_driver(simulated, PLACE, secrets.token_hex(4))
    await hypervisor.open()
    made = [machine(name=f"web{number}") for number in range(17)]
    async with asyncio.TaskGroup() as group:
        for one in made[:16]:
            group.create_task(start(hypervisor, one))
    # It is off: nobody measures it.
    await hypervisor.create(made[16])
    calls = count_calls(monkeypatch)
    told = await hypervisor.usage(60)
    assert {usage.container_id for usage in told} == {one.container_id for one in made[:16]}
    assert {usage.seconds for usage in told} == {60.0}
    # Eight counters of eight VMs are the 64 metrics that vCenter allows in a query.
    # QueryStats is what pyvmomi calls QueryPerf.
    assert calls.count("QueryStats") == 2
    assert calls.count("QueryView") == 1
    looked_up = len(calls)
    calls.clear()
    await hypervisor.usage(1)
    assert len(calls) < looked_up

    # One that goes while it is measured keeps no other from it.
    machines = await hypervisor._inventory.read()
    await hypervisor.destroy(made[0].container_id)
    left = await hypervisor._meter.measure(machines, 1)
    assert {usage.container_id for usage in left} == {one.container_id for one in made[1:16]}
    for one in made:
        await hypervisor.destroy(one.container_id)
    assert await hypervisor.usage(1) == []
    await hypervisor.close()


async def test_info_tells_what_the_cluster_has(hypervisor: VsphereHypervisor) -> None:
    info = await hypervisor.info()
    assert info.driver == "vsphere"
    assert "vCenter" in info.hypervisor
    assert info.cpus > 0
    assert info.memory_bytes > 0


async def prepare(simulated: Simulator) -> None:
    """Put the boot medium on a vCenter of one's own."""
    session = VCenter(simulated.target())
    await session.open()
    await put_bootstrap(session)
    await session.close()


def count_calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list of the calls to vCenter that are made from now on."""
    calls: list[str] = []
    invoke: Callable[..., object] = SoapAdapter.SoapStubAdapter.InvokeMethod

    def count(self: Any, mo: object, info: Any, *rest: object) -> object:
        calls.append(info.name)
        return invoke(self, mo, info, *rest)

    monkeypatch.setattr(SoapAdapter.SoapStubAdapter, "InvokeMethod", count)
    return calls


async def test_the_number_of_calls_does_not_grow_with_the_inventory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = count_calls(monkeypatch)
    counts = []
    for size in (0, 100):
        with simulator("-machines", str(size)) as vcenter:
            await prepare(vcenter)
            calls.clear()
            driver = new_driver(vcenter, PLACE, "0a1b2c3d")
            await driver.open()
            await driver.info()
            counts.append(sorted(c for c in calls if c != "WaitForUpdatesEx"))
            await driver.close()
    assert counts[0] == counts[1]

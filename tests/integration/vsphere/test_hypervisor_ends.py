"""What the vsphere driver of exec hears of its VMs: ends, moves, and what goes on."""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, cast

import pytest
from pyVmomi import vim
from vic.exec.v1 import container_pb2

from portlayer.errors import FailedPrecondition, Reason
from portlayer.vsphere import methods
from portlayer.vsphere.properties import read, read_below
from portlayer.vsphere.session import VCenter
from services.exec.drivers.vsphere.driver import VsphereHypervisor
from services.exec.drivers.vsphere.hardware import machine_name
from tests.integration.vsphere.hypervisor import (
    PLACE,
    caught_up,
    end_of,
    ended,
    machine,
    new_driver,
    running,
    start,
    vm_of,
)
from tests.integration.vsphere.others import (
    Issuer,
    end_session,
    find_vm,
    until,
)
from tests.vcenter import Simulator

Look = Callable[[vim.ServiceInstanceContent], list[tuple[Any, dict[str, Any]]]]


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

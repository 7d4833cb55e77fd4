"""The vsphere driver of exec as its tests have it, and VMs to make with it."""

import asyncio
import secrets
from collections.abc import Callable
from typing import Any, cast

import pytest
from pyVmomi import SoapAdapter, vim
from vic.exec.v1 import container_pb2
from vic.network.v1 import network_pb2
from vic.storage.v1 import disk_pb2

from portlayer.vsphere.session import VCenter
from services.exec.drivers import MachineExited, MachineSpec
from services.exec.drivers.vsphere.driver import VsphereHypervisor
from services.exec.drivers.vsphere.hardware import machine_name
from services.exec.drivers.vsphere.settings import PlaceSettings
from tests.integration.vsphere.others import (
    BOOTSTRAP,
    Issuer,
    find_vm,
)
from tests.vcenter import Simulator

PLACE = PlaceSettings(
    folder="/DC0/vm",
    resource_pool="/DC0/host/DC0_C0/Resources",
    datastore="LocalDS_0",
    bootstrap=BOOTSTRAP,
    instant_clone=False,
)
SECONDS = 60.0


def new_driver(simulated: Simulator, place: PlaceSettings, instance_id: str) -> VsphereHypervisor:
    """A driver of an instance."""
    issuer = cast(Any, Issuer(instance_id))
    return VsphereHypervisor(VCenter(simulated.target()), place, instance_id, issuer)


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


def count_calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list of the calls to vCenter that are made from now on."""
    calls: list[str] = []
    invoke: Callable[..., object] = SoapAdapter.SoapStubAdapter.InvokeMethod

    def count(self: Any, mo: object, info: Any, *rest: object) -> object:
        calls.append(info.name)
        return invoke(self, mo, info, *rest)

    monkeypatch.setattr(SoapAdapter.SoapStubAdapter, "InvokeMethod", count)
    return calls

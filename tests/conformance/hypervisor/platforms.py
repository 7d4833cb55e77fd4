"""The platforms that the drivers of exec run on, as a test meets them."""

import os
import secrets
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import grpc
from pyVmomi import vim
from vic.exec.v1 import container_pb2
from vic.hostagent.v1 import hostagent_pb2, hostagent_pb2_grpc
from vic.network.v1 import network_pb2
from vic.storage.v1 import disk_pb2

from portlayer.identity import Role
from portlayer.vsphere.session import VCenter
from services.exec.drivers import CanMeasure, CanPause, Hypervisor, MachineSpec
from services.exec.drivers.qemu.driver import QemuHypervisor
from services.exec.drivers.vsphere.driver import VsphereHypervisor
from services.exec.drivers.vsphere.hardware import machine_name
from services.exec.drivers.vsphere.settings import PlaceSettings
from tests.integration.hostagent import guest
from tests.integration.hostagent.suite import DISK_BYTES, new_suite
from tests.integration.vsphere.others import (
    BOOTSTRAP,
    Issuer,
    files,
    find_vm,
    make_disk,
    put_bootstrap,
)
from tests.vcenter import simulator

# What a platform of the tests can't show, and why. Counted by a test.
EXCEPTIONS = {
    ("vsphere", "a guest's own record"): "the simulator runs no guest",
    ("qemu", "memory_active_bytes"): "no kernel tells it of a process",
}
_MAC = "02:42:0a:00:00:05"


class Driver(Hypervisor, CanMeasure, CanPause):
    """A driver that can do all."""


@dataclass
class Platform:
    """A platform with one driver on it."""

    name: str
    driver: Driver
    machine: Callable[[str], Awaitable[MachineSpec]]
    """Describe a VM, whose guest does a task: see guest.py."""
    reopen: Callable[[], Awaitable[Driver]]
    """Close the driver and open another one, of the same instance."""
    end: Callable[[MachineSpec], Awaitable[None]]
    """End a VM behind the driver's back."""
    count: Callable[[MachineSpec], Awaitable[int]]
    """Count the VMs of a container that the platform itself has."""
    has_disk: Callable[[MachineSpec], Awaitable[bool]]
    """Tell whether a VM's own disk is there."""


def _spec(task: str) -> container_pb2.ContainerSpec:
    return container_pb2.ContainerSpec(version=1, name="web", image="busybox", hostname=task)


@asynccontextmanager
async def qemu() -> AsyncIterator[Platform]:
    """The embedded platform: a real host agent and real VMs with the tiny guest."""
    async with new_suite(guest.build(), VIC_ACCELERATOR="tcg") as suite:
        channels: list[grpc.aio.Channel] = []

        async def fresh() -> QemuHypervisor:
            channels.append(suite.open_channel(Role.EXEC))
            return QemuHypervisor(
                hostagent_pb2_grpc.HostAgentServiceStub(channels[-1]),
                bootstrap_digest=suite.bootstrap,
                default_disk_bytes=DISK_BYTES,
            )

        async def machine(task: str) -> MachineSpec:
            container_id = secrets.token_hex(32)
            return MachineSpec(
                container_id=container_id,
                boot_id=secrets.token_hex(16),
                spec=_spec(task),
                disk=disk_pb2.Disk(
                    container_id=container_id,
                    chain=suite.chain(container_id),
                    virtual_size_bytes=DISK_BYTES,
                ),
                endpoints=[
                    network_pb2.Endpoint(
                        management=True,
                        mac_address=_MAC,
                        ipv4_address="100.112.0.5",
                        ipv4_prefix_length=20,
                        tap_name=suite.tap(),
                    )
                ],
                tether_endpoint="100.112.0.1:7443",
                tether_server_name=f"interaction.{suite.instance_id}.vic",
                cold=True,
            )

        async def reopen() -> Driver:
            await platform.driver.close()
            platform.driver = await fresh()  # type: ignore[assignment]
            return platform.driver

        async def end(made: MachineSpec) -> None:
            request = hostagent_pb2.GetRequest(machine_id=made.container_id)
            os.kill((await suite.stub.Get(request)).machine.pid, signal.SIGKILL)

        async def count(made: MachineSpec) -> int:
            machines = (await suite.stub.List(hostagent_pb2.ListRequest())).machines
            return sum(machine.machine_id == made.container_id for machine in machines)

        async def has_disk(made: MachineSpec) -> bool:
            return Path(made.disk.chain[0]).exists()

        platform = Platform("qemu", await fresh(), machine, reopen, end, count, has_disk)  # type: ignore[arg-type]
        try:
            yield platform
        finally:
            await platform.driver.close()
            for channel in channels:
                await channel.close()


@asynccontextmanager
async def vsphere() -> AsyncIterator[Platform]:
    """A vCenter, simulated."""
    place = PlaceSettings(
        folder="/DC0/vm",
        resource_pool="/DC0/host/DC0_C0/Resources",
        datastore="LocalDS_0",
        bootstrap=BOOTSTRAP,
        instant_clone=False,
    )
    instance_id = secrets.token_hex(4)
    with simulator() as running:
        admin = VCenter(running.target())

        async def fresh() -> VsphereHypervisor:
            issuer = cast(Any, Issuer(instance_id))
            made = VsphereHypervisor(VCenter(running.target()), place, instance_id, issuer)
            await made.open()
            return made

        async def machine(task: str) -> MachineSpec:
            container_id = secrets.token_hex(32)
            disk = f"[LocalDS_0] {container_id[:12]}.vmdk"
            await make_disk(admin, disk)
            return MachineSpec(
                container_id=container_id,
                boot_id=secrets.token_hex(16),
                spec=_spec(task),
                disk=disk_pb2.Disk(container_id=container_id, chain=[disk]),
                endpoints=[
                    network_pb2.Endpoint(
                        management=True,
                        mac_address=_MAC,
                        ipv4_address="100.112.0.5",
                        ipv4_prefix_length=20,
                        port_group="DC0_DVPG0",
                    )
                ],
                tether_endpoint="100.112.0.1:7443",
                tether_server_name=f"interaction.{instance_id}.vic",
                cold=True,
            )

        async def reopen() -> Driver:
            await platform.driver.close()
            platform.driver = await fresh()  # type: ignore[assignment]
            return platform.driver

        async def end(made: MachineSpec) -> None:
            vm = await find_vm(admin, machine_name(made))
            assert vm is not None
            await admin.finish(lambda _: vm.PowerOffVM_Task())

        async def count(made: MachineSpec) -> int:
            vm: vim.VirtualMachine | None = await find_vm(admin, machine_name(made))
            return int(vm is not None)

        async def has_disk(made: MachineSpec) -> bool:
            return f"{made.container_id[:12]}.vmdk" in await files(admin, "[LocalDS_0]")

        await admin.open()
        await put_bootstrap(admin)
        platform = Platform("vsphere", await fresh(), machine, reopen, end, count, has_disk)  # type: ignore[arg-type]
        try:
            yield platform
        finally:
            await platform.driver.close()
            await admin.close()

"""The platforms of network's drivers, each made ready for the suite."""

import asyncio
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from portlayer.vsphere.lookup import DistributedPortgroup
from portlayer.vsphere.properties import read_below
from portlayer.vsphere.session import VCenter
from services.network.drivers import Driver, Port, Segment
from services.network.drivers.linux import Guards, LinuxDriver, Names
from tests.integration.network.namespaces import fresh_namespace, run
from tests.integration.vsphere.hypervisor import PLACE, machine, new_driver, start
from tests.integration.vsphere.others import put_bootstrap
from tests.integration.vsphere.test_network import network_driver, portgroups
from tests.vcenter import simulator

# What a platform can't do, and why: its driver refuses it by name. Counted by a test.
EXCEPTIONS = {
    (
        "vsphere",
        "level outbound",
    ): "a port group doesn't remember who began, and can't tell answers",
    ("vsphere", "level published"): "the same",
    ("vsphere", "published ports"): "nothing of ours forwards packets there yet",
}


@dataclass
class Platform:
    """A platform with one driver on it."""

    name: str
    driver: Driver
    parent: str
    """What it calls a network outside."""
    plug: Callable[[Segment, IPv4Address], Awaitable[Port]]
    """Have a VM with a card in a segment."""
    unplug: Callable[[Port], Awaitable[None]]
    """End that VM."""
    spoil: Callable[[Segment], Awaitable[None]]
    """Remove a segment behind our back."""
    state: Callable[[], Awaitable[set[str]]]
    """Return what there is on it, ours and others'."""
    fresh: Callable[[], Driver]
    """Make another driver of the same instance."""


@asynccontextmanager
async def linux() -> AsyncIterator[Platform]:
    """A host of its own, with a bridge that leads outside."""
    if os.geteuid() != 0 or not Path("/dev/net/tun").exists() or shutil.which("nft") is None:
        pytest.skip("needs root, /dev/net/tun and nft")
    with fresh_namespace():
        run("ip", "link", "add", "out0", "type", "bridge")
        run("ip", "link", "set", "out0", "up")
        names = Names("1a2b3c4d", 0)

        def fresh() -> LinuxDriver:
            return LinuxDriver(names, Guards(7443))

        async def plug(segment: Segment, address: IPv4Address) -> Port:
            container_id = secrets.token_hex(32)
            name = driver.port_name(container_id)
            run("ip", "tuntap", "add", name, "mode", "tap")
            level = None if segment.uplink is None else segment.uplink.level
            mac = f"02:42:ac:11:00:{address.packed[-1]:02x}"
            return Port(name, segment.ordinal, mac, address, level, container_id=container_id)

        async def unplug(port: Port) -> None:
            run("ip", "link", "del", port.name)

        async def spoil(segment: Segment) -> None:
            run("ip", "link", "del", driver.segment_name(segment))

        async def state() -> set[str]:
            links = {line.split(":")[1] for line in run("ip", "-o", "link").splitlines()}
            return links | set(run("nft", "list", "tables").splitlines())

        driver = fresh()
        yield Platform("linux", driver, "out0", plug, unplug, spoil, state, fresh)
        await driver.close()


@asynccontextmanager
async def vsphere() -> AsyncIterator[Platform]:
    """A simulated vCenter with a distributed switch, and exec's driver for the VMs."""
    with simulator() as simulated:
        instance_id = secrets.token_hex(4)
        vcenter = VCenter(simulated.target())
        await vcenter.open()
        await put_bootstrap(vcenter)
        hypervisor = new_driver(simulated, PLACE, instance_id)
        await hypervisor.open()

        def fresh() -> Driver:
            # All bridge networks get port groups of ours.
            given: dict[str, Any] = {"bridge_networks": [], "vlans": "100-109"}
            return network_driver(simulated, vcenter, instance_id, **given)

        async def plug(segment: Segment, address: IPv4Address) -> Port:
            made = machine(port_group=driver.port_group(segment), name=f"vm{address.packed[-1]}")
            await start(hypervisor, made)
            name = driver.port_name(made.container_id)
            mac = made.endpoints[0].mac_address
            return Port(name, segment.ordinal, mac, address, container_id=made.container_id)

        async def unplug(port: Port) -> None:
            await hypervisor.destroy(port.container_id)

        async def spoil(segment: Segment) -> None:
            name = driver.port_group(segment)
            found = await vcenter.call(
                lambda content: read_below(
                    content, content.rootFolder, DistributedPortgroup, ["name"]
                )
            )
            group = next(group for group, told in found if told["name"] == name)
            await vcenter.finish(lambda _: group.Destroy_Task())

        async def state() -> set[str]:
            return set(await portgroups(vcenter))

        driver = fresh()
        parent = "VM Network"
        yield Platform("vsphere", driver, parent, plug, unplug, spoil, state, fresh)
        await asyncio.gather(driver.close(), hypervisor.close(), vcenter.close())

"""DRS rules: container VMs apart from one another, and on a group of hosts."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from pyVmomi import vim

from portlayer.vsphere.properties import read_below
from portlayer.vsphere.session import VCenter
from services.exec.drivers.vsphere.driver import VsphereHypervisor
from tests.integration.vsphere import others
from tests.integration.vsphere.hypervisor import (
    PLACE,
    machine,
    new_driver,
    start,
    vm_of,
)
from tests.vcenter import Simulator

Config = vim.cluster.ConfigInfoEx
Operation = vim.option.ArrayUpdateSpec.Operation


async def look(vcenter: VCenter) -> tuple[vim.ClusterComputeResource, Config]:
    """Return the cluster, and what it is told."""
    ((cluster, told),) = await vcenter.call(
        lambda content: read_below(
            content, content.rootFolder, vim.ClusterComputeResource, ["configurationEx"]
        )
    )
    return cluster, told["configurationEx"]


async def until(vcenter: VCenter, holds: Callable[[Config], bool]) -> Config:
    """Wait until the cluster is told what it should be."""

    async def told() -> bool:
        return holds((await look(vcenter))[1])

    await others.until(vcenter, told)
    return (await look(vcenter))[1]


def of(entries: Any, name: str) -> Any:
    """Return the rule or group of a name."""
    return next((entry for entry in entries or [] if entry.name == name), None)


def vms(entry: Any) -> set[str]:
    """Return the IDs of a rule's or a group's VMs."""
    return {vm._GetMoId() for vm in getattr(entry, "vm", None) or []}


@pytest.fixture
async def host_group(vcenter: VCenter) -> AsyncIterator[str]:
    """An administrator's group of one host."""
    name = f"fast-{secrets.token_hex(4)}"
    cluster, _ = await look(vcenter)
    hosts = await vcenter.call(
        lambda content: read_below(content, cluster, vim.HostSystem, ["name"])
    )
    group = vim.cluster.HostGroup(name=name, host=[hosts[0][0]])

    async def change(spec: vim.cluster.GroupSpec) -> None:
        whole = vim.cluster.ConfigSpecEx(groupSpec=[spec])
        await vcenter.finish(lambda _: cluster.ReconfigureComputeResource_Task(whole, modify=True))

    await change(vim.cluster.GroupSpec(operation=Operation.add, info=group))
    yield name
    await change(vim.cluster.GroupSpec(operation=Operation.remove, removeKey=name))


async def hear(driver: VsphereHypervisor) -> None:
    """Follow the ends as exec does: a VM that is seen late is looked at again only for who does."""
    async for _ in driver.exits(0):
        pass


async def test_rules_follow_the_containers_one_by_one(
    simulated: Simulator, vcenter: VCenter, host_group: str
) -> None:
    instance_id = secrets.token_hex(4)
    place = PLACE.model_copy(update={"anti_affinity": True, "host_group": host_group})
    driver = new_driver(simulated, place, instance_id)
    await driver.open()
    hearing = asyncio.create_task(hear(driver))
    made = [machine(name=f"web{number}") for number in range(3)]
    ids = []
    for one in made:
        await start(driver, one)
        ids.append((await vm_of(vcenter, one))._GetMoId())
    apart, hosts, group = (f"vic-{instance_id}{end}" for end in ("-apart", "-hosts", ""))

    def names(*expected: str) -> Callable[[Config], bool]:
        # vCenter takes no rule about fewer than two.
        kept = set(expected) if len(expected) > 1 else set()
        return lambda config: (
            vms(of(config.group, group)) == set(expected)
            and vms(of(config.rule, apart)) == kept
            and (of(config.rule, apart) is not None) == bool(kept)
        )

    config = await until(vcenter, names(*ids))
    rule = of(config.rule, hosts)
    assert (rule.vmGroupName, rule.affineHostGroupName) == (group, host_group)
    # Wishes: a start is never refused for want of a host.
    assert not rule.mandatory
    assert not of(config.rule, apart).mandatory

    await driver.destroy(made[0].container_id)
    await until(vcenter, names(*ids[1:]))
    await driver.destroy(made[1].container_id)
    await until(vcenter, names(ids[2]))
    await driver.destroy(made[2].container_id)
    await until(vcenter, names())
    # What others have there stays.
    assert of((await look(vcenter))[1].group, host_group) is not None
    hearing.cancel()
    await asyncio.wait([hearing])
    await driver.close()

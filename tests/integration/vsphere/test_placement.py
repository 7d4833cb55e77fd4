"""Which host a container's VM is made on: DRS's choice, or the one with room."""

import secrets
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from pyVmomi import vim
from pyVmomi.SoapAdapter import SoapStubAdapter

from portlayer.errors import ResourceExhausted
from portlayer.vsphere.properties import read, read_below
from portlayer.vsphere.session import VCenter
from services.exec.drivers.vsphere.hardware import machine_name
from tests.integration.vsphere.hypervisor import PLACE, machine, new_driver, vm_of
from tests.integration.vsphere.others import find_vm, put_bootstrap
from tests.vcenter import simulator

Host = vim.HostSystem


async def hosts_of(vcenter: VCenter) -> dict[str, Host]:
    """Return the cluster's hosts by name."""

    def look(content: vim.ServiceInstanceContent) -> dict[str, Host]:
        ((_, told),) = read_below(content, content.rootFolder, vim.ClusterComputeResource, ["host"])
        return {name["name"]: host for host, name in read(content, told["host"], Host, ["name"])}

    return await vcenter.call(look)


async def maintain(vcenter: VCenter, host: Host) -> None:
    """Put a host into maintenance mode."""
    await vcenter.finish(lambda _: host.EnterMaintenanceMode_Task(timeout=0))


async def host_of(vcenter: VCenter, vm: vim.VirtualMachine) -> str:
    """Return the name of a VM's host."""
    look_at = partial(read, objects=[vm], kind=vim.VirtualMachine, paths=["runtime.host"])
    ((_, told),) = await vcenter.call(look_at)
    look_up = partial(read, objects=[told["runtime.host"]], kind=Host, paths=["name"])
    ((_, named),) = await vcenter.call(look_up)
    return str(named["name"])


@pytest.mark.parametrize("drs", ["fullyAutomated", "partiallyAutomated", "manual", "off"])
async def test_drs_chooses_where_it_may_and_else_the_host_with_room(
    drs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    invoke: Callable[..., Any] = SoapStubAdapter.InvokeMethod

    def note(self: Any, mo: object, info: Any, args: Any, *rest: object) -> Any:
        if info.wsdlName == "CreateVM_Task":
            asked.append(args[-1])
        return invoke(self, mo, info, args, *rest)

    monkeypatch.setattr(SoapStubAdapter, "InvokeMethod", note)
    with simulator("-drs", drs) as simulated:
        vcenter = VCenter(simulated.target())
        await vcenter.open()
        await put_bootstrap(vcenter)
        hosts = await hosts_of(vcenter)
        driver = new_driver(simulated, PLACE, secrets.token_hex(4))
        await driver.open()
        only, *others = sorted(hosts)
        for name in others:
            await maintain(vcenter, hosts[name])
        placed = machine()
        await driver.create(placed)
        if drs in ("fullyAutomated", "partiallyAutomated"):
            # No host is named, so that the pool's cluster chooses one.
            assert asked == [None]
        else:
            assert asked[0]._GetMoId() == hosts[only]._GetMoId()
            assert await host_of(vcenter, await vm_of(vcenter, placed)) == only
            await maintain(vcenter, hosts[only])
            nowhere = machine()
            with pytest.raises(ResourceExhausted, match="all are disconnected or in maintenance"):
                await driver.create(nowhere)
            assert await find_vm(vcenter, machine_name(nowhere)) is None
        await driver.destroy(placed.container_id)
        await driver.close()
        await vcenter.close()

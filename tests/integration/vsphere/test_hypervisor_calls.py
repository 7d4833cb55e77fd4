"""The vsphere driver's calls to vCenter: how many, of what, and one whose answer is lost."""

import asyncio
import secrets
from collections.abc import Callable
from typing import Any

import pytest
from pyVmomi import SoapAdapter, vim

from portlayer.vsphere.properties import read_below
from portlayer.vsphere.session import VCenter
from services.exec.drivers.vsphere.driver import VsphereHypervisor
from services.exec.drivers.vsphere.hardware import machine_name
from tests.integration.vsphere.hypervisor import (
    PLACE,
    count_calls,
    machine,
    new_driver,
    start,
)
from tests.integration.vsphere.others import (
    files,
    find_vm,
    make_disk,
    put_bootstrap,
)
from tests.vcenter import Simulator, simulator


def asked(calls: list[str]) -> list[str]:
    """Return those of some calls that aren't the stream's, which goes on meanwhile."""
    return [call for call in calls if call != "WaitForUpdatesEx"]


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
    looked_up = len(asked(calls))
    calls.clear()
    await hypervisor.usage(1)
    assert len(asked(calls)) < looked_up

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
            counts.append(sorted(asked(calls)))
            await driver.close()
    assert counts[0] == counts[1]


# Of each of these vCenter gathers all that it holds.
WHOLE = {"config", "config.hardware", "runtime", "summary", "guest", "layoutEx", "storage"}


async def test_all_is_read_by_sub_paths_and_one_stream_follows_all_vms(
    simulated: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    invoke: Callable[..., Any] = SoapAdapter.SoapStubAdapter.InvokeMethod
    access: Callable[..., Any] = SoapAdapter.SoapStubAdapter.InvokeAccessor
    read: list[Any] = []
    followed: list[Any] = []
    fetched: set[str] = set()

    def take(self: Any, mo: object, info: Any, args: Any, *rest: object) -> Any:
        if info.wsdlName == "RetrievePropertiesEx":
            read.extend(args[0])
        elif info.wsdlName == "CreateFilter":
            followed.append(args[0])
        return invoke(self, mo, info, args, *rest)

    def fetch(self: Any, mo: object, info: Any) -> Any:
        fetched.add(type(mo).__name__)
        return access(self, mo, info)

    monkeypatch.setattr(SoapAdapter.SoapStubAdapter, "InvokeMethod", take)
    monkeypatch.setattr(SoapAdapter.SoapStubAdapter, "InvokeAccessor", fetch)
    hypervisor = new_driver(simulated, PLACE, secrets.token_hex(4))
    await hypervisor.open()
    made = [machine(name=f"web{number}") for number in range(3)]
    for one in made:
        await start(hypervisor, one)
    await hypervisor.info()
    await hypervisor.usage(1)
    await hypervisor.pause(made[0].container_id)
    await hypervisor.inventory()
    for one in made:
        await hypervisor.destroy(one.container_id)
    await hypervisor.close()

    specs = [wanted for spec in (*read, *followed) for wanted in spec.propSet]
    assert {wanted.type for wanted in specs} > {vim.VirtualMachine, vim.Task}
    assert not any(wanted.all for wanted in specs)
    assert all(wanted.pathSet for wanted in specs)
    assert not WHOLE & {path for wanted in specs for path in wanted.pathSet}
    kinds = [wanted.type for spec in followed for wanted in spec.propSet]
    assert kinds.count(vim.VirtualMachine) == 1
    assert set(kinds) <= {vim.VirtualMachine, vim.Task}
    # Its content, at login; of no object of the inventory is a property fetched by itself.
    assert fetched <= {"vim.ServiceInstance"}

"""What others do to a vCenter and its VMs while we work there."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

from pyVmomi import vim, vmodl
from vic.hostagent.v1 import hostagent_pb2

from hostagent.certificates import TetherAuthority
from hostagent.issuer import IssuerServicer
from installer.pki import Authority
from portlayer.vsphere import datastore
from portlayer.vsphere.lookup import backings, find_datacenter
from portlayer.vsphere.properties import open_view, read, read_below, view_filter
from portlayer.vsphere.session import VCenter
from tests.vcenter import Simulator

BOOTSTRAP = "[LocalDS_0] vic/bootstrap.iso"


class Issuer:
    """The authority's service of an instance, without the wire."""

    def __init__(self, instance_id: str) -> None:
        with tempfile.TemporaryDirectory() as directory:
            Authority.create(instance_id).write(Path(directory))
            self._servicer = IssuerServicer(
                instance_id, TetherAuthority.load(instance_id, Path(directory))
            )

    async def Issue(self, request: hostagent_pb2.IssueRequest) -> hostagent_pb2.IssueResponse:
        """Answer as the service does."""
        return await self._servicer.Issue(request, cast(Any, None))


async def put_bootstrap(vcenter: VCenter) -> None:
    """Put what stands for a boot medium where drivers look for it."""
    await datastore.make_directory(vcenter, "/DC0/vm", "[LocalDS_0] vic")
    await datastore.put(vcenter, "/DC0/vm", BOOTSTRAP, 4, [b"boot"])


async def end_session(simulated: Simulator, ended: VCenter) -> None:
    """End a session from another one, as an administrator may."""

    def key(content: vim.ServiceInstanceContent) -> str:
        assert content.sessionManager is not None
        assert content.sessionManager.currentSession is not None
        return content.sessionManager.currentSession.key

    session = await ended.call(key)

    def terminate(content: vim.ServiceInstanceContent) -> None:
        assert content.sessionManager is not None
        content.sessionManager.TerminateSession([session])

    other = VCenter(simulated.target())
    await other.open()
    await other.call(terminate)
    await other.close()


async def find_vm(vcenter: VCenter, name: str) -> vim.VirtualMachine | None:
    """Return the VM of a name."""
    found = await vcenter.call(
        lambda content: read_below(content, content.rootFolder, vim.VirtualMachine, ["name"])
    )
    return next((vm for vm, told in found if told["name"] == name), None)


async def plug(vcenter: VCenter, vm: vim.VirtualMachine, port_group: str) -> None:
    """Give a VM a card in a port group of its datacenter."""

    def start(content: vim.ServiceInstanceContent) -> vim.Task:
        backing = backings(content, find_datacenter(content, "/DC0/vm"))[port_group]
        card = vim.vm.device.VirtualVmxnet3(key=-1, backing=backing)
        task: vim.Task = vm.ReconfigVM_Task(_card_change("add", card))
        return task

    await vcenter.finish(start)


async def unplug(vcenter: VCenter, vm: vim.VirtualMachine) -> None:
    """Take the card away that `plug` gave."""
    path = "config.hardware.device"
    ((_, told),) = await vcenter.call(
        lambda content: read(content, [vm], vim.VirtualMachine, [path])
    )
    kind = vim.vm.device.VirtualVmxnet3
    (card,) = [device for device in told[path] if isinstance(device, kind)]
    await vcenter.finish(lambda _: vm.ReconfigVM_Task(_card_change("remove", card)))


def _card_change(operation: str, card: vim.vm.device.VirtualDevice) -> vim.vm.ConfigSpec:
    change = vim.vm.device.VirtualDeviceSpec(operation=operation, device=card)
    return vim.vm.ConfigSpec(deviceChange=[change])


async def make_disk(vcenter: VCenter, path: str) -> None:
    """Make an empty disk on a datastore."""

    def start(content: vim.ServiceInstanceContent) -> vim.Task:
        assert content.virtualDiskManager is not None
        datacenter = content.rootFolder.childEntity[0]
        spec = vim.VirtualDiskManager.FileBackedVirtualDiskSpec(
            capacityKb=1024, diskType="thin", adapterType="lsiLogic"
        )
        task: vim.Task = content.virtualDiskManager.CreateVirtualDisk_Task(path, datacenter, spec)
        return task

    await vcenter.finish(start)


async def until(
    vcenter: VCenter, holds: Callable[[], Awaitable[bool]], seconds: float = 60.0
) -> None:
    """Wait until something holds; it is looked at again when vCenter tells of a change.

    What vCenter has no part in, and what the simulator tells nobody of, is seen within a second.
    """

    def begin(content: vim.ServiceInstanceContent) -> tuple[Any, Any]:
        collector = content.propertyCollector.CreatePropertyCollector()
        view = open_view(content, content.rootFolder, vim.VirtualMachine)
        paths = ["runtime.powerState", "runtime.bootTime"]
        collector.CreateFilter(view_filter(view, vim.VirtualMachine, paths), partialUpdates=True)
        return collector, view

    collector, view = await vcenter.call(begin)
    version = ""
    options = vmodl.query.PropertyCollector.WaitOptions(maxWaitSeconds=1)
    try:
        async with asyncio.timeout(seconds):
            while not await holds():
                since = version
                update = await vcenter.call(
                    lambda _, since=since: collector.WaitForUpdatesEx(since, options)  # type: ignore[misc]
                )
                version = update.version if update is not None else version
    finally:
        await vcenter.call(lambda _: (view.Destroy(), collector.Destroy()))


async def files(vcenter: VCenter, path: str) -> list[str]:
    """Return the names of the files in a directory of a datastore, "[NAME] DIRECTORY"."""
    name = path.partition("]")[0][1:]
    found = await vcenter.call(
        lambda content: read_below(content, content.rootFolder, vim.Datastore, ["name", "browser"])
    )
    browser = next(told["browser"] for _, told in found if told["name"] == name)
    spec = vim.host.DatastoreBrowser.SearchSpec(matchPattern=["*"])
    result = await vcenter.finish(lambda _: browser.SearchDatastore_Task(path, spec))
    return [file.path for file in result.file]

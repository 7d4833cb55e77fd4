"""What others do to a vCenter and its VMs while we work there."""

import tempfile
from pathlib import Path
from typing import Any, cast

from pyVmomi import vim
from vic.hostagent.v1 import hostagent_pb2

from hostagent.certificates import TetherAuthority
from hostagent.issuer import IssuerServicer
from installer.pki import Authority
from portlayer.vsphere import datastore
from portlayer.vsphere.properties import read_below
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

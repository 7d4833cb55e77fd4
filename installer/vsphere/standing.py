"""Whether all that a VCH on a vCenter stands on is there, before its services are started."""

from pyVmomi import vim

from installer.errors import PreconditionError
from installer.instance import Instance
from installer.vsphere.verbs import with_vch
from portlayer.vsphere.session import VCenter
from services.exec.drivers.vsphere.place import check_bootstrap, find_place
from services.exec.drivers.vsphere.settings import VsphereSettings


def check_standing(instance: Instance) -> None:
    """Raise InstallerError where the services would find no vCenter, or not what was made there."""
    section = instance.options.vsphere
    settings = VsphereSettings.model_validate(dict(section))
    port_groups = (section["management_network"], *section["bridge_networks"])

    def missing(content: vim.ServiceInstanceContent) -> list[str]:
        there = find_place(content, settings).networks
        return [name for name in port_groups if name not in there]

    async def look(vcenter: VCenter) -> None:
        gone = await vcenter.call(missing, repeatable=True)
        if gone:
            raise PreconditionError(f"there is no port group {', '.join(gone)} any more")
        await check_bootstrap(vcenter, settings)

    with_vch(instance, look)

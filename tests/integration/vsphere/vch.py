"""What tests of VCHs on a vCenter have in common: options, and all that a vCenter has."""

import asyncio
from collections.abc import Callable
from typing import Any

from pyVmomi import vim

from portlayer.vsphere import datastore
from portlayer.vsphere.properties import read_below
from portlayer.vsphere.session import VCenter
from tests.vcenter import Simulator

CLUSTER = "/DC0/host/DC0_C0"


def target(simulated: Simulator) -> list[str]:
    """Options that name a vCenter."""
    told = simulated.target()
    return [
        *("--target", f"{told.host}:{told.port}", "--user", told.user),
        *("--password-file", str(told.password_file), "--thumbprint", told.thumbprint),
    ]


def place(**changes: str) -> list[str]:
    """Options that say where a VCH is to be."""
    options = {
        "--compute-resource": "DC0_C0",
        "--image-store": "LocalDS_0",
        "--management-network": "DC0_DVPG0",
        "--switch": "/DC0/network/DVS0",
        "--vlans": "200-210",
        **changes,
    }
    return [part for name, value in options.items() if value for part in (name, value)]


def on(simulated: Simulator, work: Callable[[VCenter], Any]) -> Any:
    """Do work as the administrator."""

    async def run() -> Any:
        vcenter = VCenter(simulated.target())
        await vcenter.open()
        try:
            return await work(vcenter)
        finally:
            await vcenter.close()

    return asyncio.run(run())


def inventory(simulated: Simulator, datacenter: str = "/DC0") -> list[str]:
    """Everything that a vCenter has: objects, DRS rules and groups, files."""

    async def look(vcenter: VCenter) -> list[str]:
        def objects(content: vim.ServiceInstanceContent) -> list[str]:
            found = read_below(content, content.rootFolder, vim.ManagedEntity, ["name"])
            listed = [f"{o.__class__.__name__} {told['name']}" for o, told in found]
            kind = vim.ClusterComputeResource
            for _, told in read_below(content, content.rootFolder, kind, ["configurationEx"]):
                listed += [rule.name for rule in told["configurationEx"].rule or []]
                listed += [group.name for group in told["configurationEx"].group or []]
            return listed

        listed: list[str] = await vcenter.call(objects)
        for name in ("LocalDS_0", "LocalDS_1"):
            files = await datastore.list_files(vcenter, datacenter, f"[{name}]")
            listed += [f"[{name}] {file}" for file in files]
        return sorted(listed)

    return list(on(simulated, look))

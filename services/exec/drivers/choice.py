"""The driver that the settings choose: the one place that knows them all.

A driver is imported when it is chosen: what vCenter's takes is a tenth of the service's memory.
"""

from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from vic.hostagent.v1 import hostagent_pb2_grpc

from portlayer.client import FacetChannel, open_channel
from portlayer.identity import Credentials, Role
from portlayer.neighbours import Neighbours
from portlayer.vsphere.settings import required
from services.exec.drivers import Hypervisor
from services.exec.peers import Peers
from services.exec.settings import ExecSettings
from services.exec.tether_place import TetherPlace

# Another one after each boot of the host, random(4).
HOST_BOOT = Path("/proc/sys/kernel/random/boot_id")
# VMs of a cluster outlive the machine that this service runs on.
CLUSTER = "cluster"


@dataclass(frozen=True)
class Chosen:
    """A driver, not opened yet."""

    hypervisor: Hypervisor
    platform_boot: str
    """Another one after each event that ends all VMs of the platform at once."""


async def choose_driver(
    settings: ExecSettings,
    credentials: Credentials,
    stack: AsyncExitStack,
    peers: Peers,
    tethers: TetherPlace,
    neighbours: Neighbours,
) -> Chosen:
    """Return the driver; the stack closes what it is given. Raises ValueError."""
    agent = await stack.enter_async_context(
        open_channel(
            settings.target(Role.HOSTAGENT), Role.HOSTAGENT, settings.instance_id, credentials
        )
    )
    if settings.driver == "vsphere":
        return _vsphere(settings, agent, neighbours)
    return _qemu(settings, agent, peers, tethers, neighbours)


def _vsphere(settings: ExecSettings, agent: FacetChannel, neighbours: Neighbours) -> Chosen:
    from portlayer.vsphere.session import VCenter
    from services.exec.drivers.vsphere.driver import VsphereHypervisor

    section = required(settings.vsphere)
    issuer = hostagent_pb2_grpc.IssuerServiceStub(agent)
    vcenter = VCenter(section.target())
    hypervisor = VsphereHypervisor(vcenter, section, settings.instance_id, issuer, neighbours)
    return Chosen(hypervisor, CLUSTER)


def _qemu(
    settings: ExecSettings,
    agent: FacetChannel,
    peers: Peers,
    tethers: TetherPlace,
    neighbours: Neighbours,
) -> Chosen:
    from services.exec.drivers.qemu.dialling import Dialling
    from services.exec.drivers.qemu.driver import QemuHypervisor

    driver = QemuHypervisor(
        hostagent_pb2_grpc.HostAgentServiceStub(agent),
        bootstrap_digest=settings.bootstrap_digest,
        default_disk_bytes=settings.base_size_bytes,
        dialling=Dialling(peers.network, tethers),
        neighbours=neighbours,
    )
    return Chosen(driver, _host_boot())


def _host_boot() -> str:
    return HOST_BOOT.read_text().strip()

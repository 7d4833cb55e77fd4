"""The hardware of a container VM, as vCenter is told it."""

from collections.abc import Iterable, Mapping

from pyVmomi import vim
from vic.network.v1 import network_pb2

from portlayer.errors import FailedPrecondition, Reason
from services.exec.drivers import MachineSpec
from services.exec.drivers.shapes import ShapeClass
from services.exec.drivers.vsphere.identity import Identity, encode
from services.exec.drivers.vsphere.place import Backing, Place

Change = vim.vm.device.VirtualDeviceSpec
Operation = Change.Operation

# Ours is a stock Linux; the exact family changes nothing in what the VM is given.
GUEST = "other4xLinux64Guest"
# Keys of devices that don't exist yet are negative; vCenter chooses the real ones.
_CONTROLLER, _DISK, _FIRST_NIC = -1, -2, -10
# vCenter's bound on the names of inventory objects.
NAME_CHARACTERS = 80


def machine_name(machine: MachineSpec) -> str:
    """Return what administrators see: the container's name and short ID."""
    suffix = f"-{machine.container_id[:12]}"
    # What separates the parts of a path is written with percent signs in the inventory.
    name = machine.spec.name.replace("%", "-").replace("/", "-").replace("\\", "-")
    return name[: NAME_CHARACTERS - len(suffix)] + suffix


def config_spec(
    machine: MachineSpec, identity: Identity, shape: ShapeClass, place: Place
) -> vim.vm.ConfigSpec:
    """Return the VM to be made. Raises FailedPrecondition where a network isn't there."""
    return vim.vm.ConfigSpec(
        name=machine_name(machine),
        instanceUuid=identity.instance_uuid,
        guestId=GUEST,
        numCPUs=shape.vcpus,
        memoryMB=shape.memory_mib,
        files=vim.vm.FileInfo(vmPathName=f"[{place.datastore_name}]"),
        extraConfig=encode(identity, machine.spec),
        deviceChange=[*_disk(machine.disk.chain), *_nics(machine.endpoints, place.networks)],
    )


def _disk(chain: Iterable[str]) -> list[Change]:
    """Return the controller and the container's own disk, whose file exists already.

    The layers below it are in its descriptor: vCenter follows them by itself.
    """
    own = next(iter(chain), None)
    if own is None:
        return []
    controller = vim.vm.device.ParaVirtualSCSIController(
        key=_CONTROLLER,
        busNumber=0,
        sharedBus=vim.vm.device.VirtualSCSIController.Sharing.noSharing,
    )
    disk = vim.vm.device.VirtualDisk(
        key=_DISK,
        controllerKey=_CONTROLLER,
        unitNumber=0,
        backing=vim.vm.device.VirtualDisk.FlatVer2BackingInfo(
            fileName=own, diskMode=vim.vm.device.VirtualDiskOption.DiskMode.persistent
        ),
    )
    return [
        Change(operation=Operation.add, device=controller),
        Change(operation=Operation.add, device=disk),
    ]


def _nics(
    endpoints: Iterable[network_pb2.Endpoint], networks: Mapping[str, Backing]
) -> list[Change]:
    """Return a NIC for each endpoint that has a port group, management first."""
    connected = [endpoint for endpoint in endpoints if endpoint.port_group]
    ordered = sorted(connected, key=lambda endpoint: not endpoint.management)
    changes = []
    for index, endpoint in enumerate(ordered):
        backing = networks.get(endpoint.port_group)
        if backing is None:
            raise FailedPrecondition(
                f"the cluster has no port group {endpoint.port_group}",
                Reason.PLATFORM_OBJECT_NOT_FOUND,
            )
        card = vim.vm.device.VirtualVmxnet3(
            key=_FIRST_NIC - index,
            addressType=vim.vm.device.VirtualEthernetCardOption.MacTypes.manual,
            macAddress=endpoint.mac_address,
            backing=backing,
            connectable=vim.vm.device.VirtualDevice.ConnectInfo(
                startConnected=True, connected=True, allowGuestControl=False
            ),
        )
        changes.append(Change(operation=Operation.add, device=card))
    return changes


def detach_disks(devices: Iterable[vim.vm.device.VirtualDevice]) -> list[Change]:
    """Return how a VM lets go of its disks, whose files stay.

    Without it vCenter deletes them with the VM: the container's own, and what others share.
    """
    return [
        Change(operation=Operation.remove, device=device)
        for device in devices
        if isinstance(device, vim.vm.device.VirtualDisk)
    ]

"""The hardware of a container VM, as vCenter is told it."""

from collections.abc import Iterable, Mapping, Sequence

from pyVmomi import vim
from vic.network.v1 import network_pb2

from portlayer.errors import FailedPrecondition, Reason
from portlayer.vsphere.identity import Identity, encode, option_values
from portlayer.vsphere.lookup import Backing
from portlayer.vsphere.machines import card_of, network_card
from services.exec.drivers import MachineSpec
from services.exec.drivers.shapes import ShapeClass
from services.exec.drivers.vsphere.place import Place
from services.exec.resources import host_weight

Change = vim.vm.device.VirtualDeviceSpec
Device = vim.vm.device.VirtualDevice
Operation = Change.Operation

ROOT_DEVICE = "sda"
"""What the guest calls a container's disk, the first on its PVSCSI controller."""
# Ours is a stock Linux; the exact family changes nothing in what the VM is given.
GUEST = "other4xLinux64Guest"
# Keys of devices that don't exist yet are negative; vCenter chooses the real ones.
_CONTROLLER, _DISK, _CD_CONTROLLER, _CD, _FIRST_NIC = -1, -2, -3, -4, -10
# vCenter's bound on the names of inventory objects.
NAME_CHARACTERS = 80
# What vCenter calls normal, for each virtual CPU; our weights are relative to 100.
_SHARES_A_CPU, _USUAL_WEIGHT = 1000, 100


def machine_name(machine: MachineSpec) -> str:
    """Return what administrators see: the container's name and short ID."""
    suffix = f"-{machine.container_id[:12]}"
    # What separates the parts of a path is written with percent signs in the inventory.
    name = machine.spec.name.replace("%", "-").replace("/", "-").replace("\\", "-")
    return name[: NAME_CHARACTERS - len(suffix)] + suffix


def config_spec(
    machine: MachineSpec, identity: Identity, shape: ShapeClass, place: Place
) -> vim.vm.ConfigSpec:
    """Return a VM that boots. Raises FailedPrecondition where a network isn't there."""
    spec = bare_spec(machine_name(machine), shape, place)
    spec.uuid = identity.uuid
    spec.extraConfig = own_options(machine, identity)
    spec.deviceChange += plugged(machine, place)
    spec.cpuAllocation = cpu_shares(host_weight(machine.spec.resources), shape.vcpus)
    return spec


def bare_spec(name: str, shape: ShapeClass, place: Place) -> vim.vm.ConfigSpec:
    """Return a VM with the boot medium and a controller for its disk, and nothing else."""
    return vim.vm.ConfigSpec(
        name=name,
        guestId=GUEST,
        numCPUs=shape.vcpus,
        memoryMB=shape.memory_mib,
        files=vim.vm.FileInfo(vmPathName=f"[{place.datastore_name}]"),
        # What the medium is made for; newer versions of vSphere would choose EFI.
        firmware="bios",
        bootOptions=vim.vm.BootOptions(bootOrder=[vim.vm.BootOptions.BootableCdromDevice()]),
        deviceChange=[
            _controller(),
            _added(vim.vm.device.VirtualAHCIController(key=_CD_CONTROLLER, busNumber=0)),
            _added(
                vim.vm.device.VirtualCdrom(
                    key=_CD,
                    controllerKey=_CD_CONTROLLER,
                    unitNumber=0,
                    backing=vim.vm.device.VirtualCdrom.IsoBackingInfo(fileName=place.bootstrap),
                    connectable=vim.vm.device.VirtualDevice.ConnectInfo(
                        startConnected=True, connected=True, allowGuestControl=False
                    ),
                )
            ),
        ],
    )


def own_options(machine: MachineSpec, identity: Identity) -> list[vim.option.OptionValue]:
    """Return the extra configuration of a container's VM."""
    keys = encode(identity, machine.spec.SerializeToString(deterministic=True))
    # Our addresses are not of VMware's range.
    checks = {
        f"ethernet{index}.checkMACAddress": "FALSE"
        for index, _ in enumerate(connected(machine.endpoints))
    }
    return [*keys, *option_values(checks)]


def plugged(
    machine: MachineSpec, place: Place, devices: Sequence[Device] | None = None
) -> list[Change]:
    """Return what of the container's disk and NICs is to be added to a VM with ``devices``.

    Without them it is one that is to be made.

    Raises FailedPrecondition where a network isn't there.
    """
    kind = vim.vm.device.ParaVirtualSCSIController
    found = next((device.key for device in devices or () if isinstance(device, kind)), None)
    missing = found is None and devices is not None
    extra = [_controller()] if missing else []
    there = list(devices or ())
    nics = [
        change
        for change in _nics(machine.endpoints, place.networks)
        if card_of(there, getattr(change.device, "macAddress", "")) is None
    ]
    # A parent has no disk: one that is there is the container's, from a call that was cut off.
    has_disk = any(isinstance(device, vim.vm.device.VirtualDisk) for device in there)
    disk = [] if has_disk else _disk(machine.disk.chain, found or _CONTROLLER)
    return [*extra, *disk, *nics]


def _controller() -> Change:
    return _added(
        vim.vm.device.ParaVirtualSCSIController(
            key=_CONTROLLER,
            busNumber=0,
            sharedBus=vim.vm.device.VirtualSCSIController.Sharing.noSharing,
        )
    )


def _disk(chain: Iterable[str], controller: int) -> list[Change]:
    """Return the container's own disk, whose file exists already.

    The layers below it are in its descriptor: vCenter follows them by itself.
    """
    own = next(iter(chain), None)
    if own is None:
        return []
    disk = vim.vm.device.VirtualDisk(
        key=_DISK,
        controllerKey=controller,
        unitNumber=0,
        backing=vim.vm.device.VirtualDisk.FlatVer2BackingInfo(
            fileName=own, diskMode=vim.vm.device.VirtualDiskOption.DiskMode.persistent
        ),
    )
    return [_added(disk)]


def connected(endpoints: Iterable[network_pb2.Endpoint]) -> list[network_pb2.Endpoint]:
    """Return the endpoints that have a NIC, in the NICs' order: management first."""
    return sorted(filter(has_nic, endpoints), key=lambda endpoint: not endpoint.management)


def has_nic(endpoint: network_pb2.Endpoint) -> bool:
    """Tell whether an endpoint has a NIC."""
    return bool(endpoint.port_group)


def _nics(
    endpoints: Iterable[network_pb2.Endpoint], networks: Mapping[str, Backing]
) -> list[Change]:
    """Return a NIC for each endpoint that has a port group."""
    changes = []
    for index, endpoint in enumerate(connected(endpoints)):
        backing = networks.get(endpoint.port_group)
        if backing is None:
            raise FailedPrecondition(
                f"the cluster has no port group {endpoint.port_group}",
                Reason.PLATFORM_OBJECT_NOT_FOUND,
            )
        card = network_card(_FIRST_NIC - index, endpoint.mac_address, backing)
        changes.append(_added(card))
    return changes


def cpu_shares(weight: int, vcpus: int) -> vim.ResourceAllocationInfo:
    """Return a VM's share of the CPUs; weights are relative to 100, and 0 is the usual one."""
    if not weight:
        return vim.ResourceAllocationInfo(
            shares=vim.SharesInfo(level=vim.SharesInfo.Level.normal, shares=0)
        )
    shares = max(1, weight * _SHARES_A_CPU * vcpus // _USUAL_WEIGHT)
    return vim.ResourceAllocationInfo(
        shares=vim.SharesInfo(level=vim.SharesInfo.Level.custom, shares=shares)
    )


def detach_disks(devices: Iterable[Device]) -> list[Change]:
    """Return how a VM lets go of its disks, whose files stay.

    Without it vCenter deletes them with the VM: the container's own, and what others share.
    """
    return [
        Change(operation=Operation.remove, device=device)
        for device in devices
        if isinstance(device, vim.vm.device.VirtualDisk)
    ]


def _added(device: Device) -> Change:
    return Change(operation=Operation.add, device=device)

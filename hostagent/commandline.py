"""QEMU's command line, built from a machine's description and nothing else.

Everything a machine uses reaches QEMU as an inherited descriptor; the command line names numbers,
not paths. A parent and its clones have the same devices in the same order and places; only the
disk's backing, the direction of the memory's mapping, the kernel and ``-incoming`` differ.
"""

import hashlib
import json
from dataclasses import dataclass

from hostagent.confine import FIRST_DESCRIPTOR
from hostagent.machine import MOST_NICS, NICS, Accelerator, Machine, MachineKind, Shape

# QEMU's own limit on code it has translated. It is memory of the machine's cgroup, and the default
# (1 GiB) is more than a small machine itself has.
TRANSLATION_CACHE_MIB = 256

# The part of QEMU's memory that isn't the guest's: 60 MB measured, and reserve for page cache.
OVERHEAD_MIB = {Accelerator.KVM: 128, Accelerator.TCG: 128 + TRANSLATION_CACHE_MIB}

SANDBOX = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"
# A fork changes its user and starts its threads, and loses both powers then: hostagent.forking.
TEMPLATE_SANDBOX = "on,obsolete=deny,resourcecontrol=deny"

# What a container's VM never needs; less for the guest to probe, less to attack.
_MACHINE = (
    "q35,memory-backend=ram0,usb=off,sata=off,smbus=off,hpet=off,vmport=off,smm=off,i8042=off,"
    "graphics=off,dump-guest-core=off,mem-merge=off"
)
# la57: a fifth level of page tables makes every miss of the emulated TLB dearer and serves nobody.
# erms, fsrm: they tell a guest to copy memory by `rep movsb`, which is emulated byte by byte;
# without them a MB of a container's output costs 53-67 ms of CPU instead of 76-97 (6 runs each).
TCG_CPU = "max,la57=off,erms=off,fsrm=off"
# Retpolines and the like protect nothing where they are emulated: QEMU translates them to jumps of
# its own. They cost each indirect call of the guest's kernel a way through QEMU's tables. The other
# word is for the tether; see scheduling.py in tether/supervisor.
_TCG_KERNEL = "mitigations=off vic.emulated"
# Where QEMU can't set what the host itself claims to have (nested AMD: MSR 0x10a), it is left out.
KVM_CPUS = ("host", "host,arch-capabilities=off")

SPARE_PORTS = MOST_NICS - NICS
"""Empty PCIe root ports, for NICs that are plugged in while the machine runs."""

ROOT_DEVICE = "root"
DISK_NODE = "disk"
"""Block node of a machine's own disk."""
PLACEHOLDER_NODE = "placeholder"
"""Block node in its place while there is none."""
FIRST_DISK_FDSET = 10
"""QEMU's number for the base of the chain; the others follow."""
FIRST_VOLUME_FDSET = 1000
"""QEMU's number for the first volume; the others follow."""
VOLUME_BUS = "volumes.0"

_FIRST_NIC_SLOT = 8
# guest_announce: with no rounds of announcing, QEMU 7.2 loses a timer that it stops when the guest
# resets the device as it powers off, and crashes.
_NET_OPTIONS = "romfile=,rombar=0,guest_announce=off"


@dataclass(frozen=True)
class Places:
    """Numbers under which QEMU finds what it inherits, in the order of the launch."""

    console: int
    qmp: int
    config: int
    config_peer: int
    exit: int
    kernel: int | None
    initrd: int | None
    memory: int | None
    state: int | None
    disks: tuple[int, ...]
    volumes: tuple[int, ...]
    nics: tuple[int, ...]


def places_for(machine: Machine) -> Places:
    """Return the numbers for a machine's descriptors: one after the other, idle NICs last."""
    numbers = iter(range(FIRST_DESCRIPTOR, 1024))
    boots = not machine.kind.is_clone
    return Places(
        console=next(numbers),
        qmp=next(numbers),
        config=next(numbers),
        config_peer=next(numbers),
        exit=next(numbers),
        kernel=next(numbers) if boots else None,
        initrd=next(numbers) if boots else None,
        memory=None if machine.kind is MachineKind.COLD else next(numbers),
        state=None if boots else next(numbers),
        disks=tuple(next(numbers) for _ in machine.disk_chain),
        volumes=tuple(next(numbers) for _ in machine.volumes),
        nics=tuple(next(numbers) for _ in range(NICS)),
    )


def command_line(
    qemu: str,
    machine: Machine,
    accelerator: Accelerator,
    cpu: str,
    kernel_arguments: str,
    places: Places,
) -> list[str]:
    """Return the arguments with which QEMU is run, the program's path first."""
    shape = machine.shape
    drive = DISK_NODE if places.disks else PLACEHOLDER_NODE
    return [
        *frame(
            qemu,
            machine.machine_id,
            accelerator,
            TEMPLATE_SANDBOX if machine.kind is MachineKind.TEMPLATE else SANDBOX,
        ),
        *("-machine", _MACHINE),
        *("-cpu", cpu),
        *("-smp", f"cpus={shape.vcpus},sockets=1,cores={shape.vcpus},threads=1"),
        *("-m", f"{shape.memory_mib}M"),
        *("-object", _memory(machine, places)),
        *("-rtc", "base=utc"),
        # An incoming machine would announce its parent's MAC address to the new one's network.
        *("-global", "migration.announce-rounds=0"),
        *_kernel(kernel_arguments, accelerator, places),
        *("-chardev", f"socket,id=qmp,fd={places.qmp},server=on,wait=off"),
        *("-mon", "chardev=qmp,mode=control"),
        *_file_chardev("console", places.console, 1),
        *("-serial", "chardev:console"),
        *("-object", "rng-builtin,id=rng0"),
        *("-device", "virtio-rng-pci-non-transitional,rng=rng0,addr=0x2"),
        *("-device", "virtio-serial-pci-non-transitional,id=ports,max_ports=8,addr=0x3"),
        *("-chardev", f"socket,id=config,fd={places.config},server=off"),
        *("-device", "virtserialport,bus=ports.0,nr=1,chardev=config,name=vic.config"),
        *_file_chardev("exit", places.exit, 2),
        *("-device", "virtserialport,bus=ports.0,nr=2,chardev=exit,name=vic.exit"),
        *("-device", "vmgenid,guid=auto"),
        *_disk(machine, places),
        *("-device", f"virtio-blk-pci-non-transitional,id={ROOT_DEVICE},drive={drive},addr=0x4"),
        # Without events of its own: the tether looks for the disks that it is told of.
        *("-device", "virtio-scsi-pci-non-transitional,id=volumes,hotplug=off,addr=0x5"),
        *_volumes(machine, places),
        *_nics(machine, places),
        *_spare_ports(),
        *(("-incoming", "defer") if machine.kind.is_clone else ()),
    ]


def frame(qemu: str, name: str, accelerator: Accelerator, sandbox: str = SANDBOX) -> list[str]:
    """Return the arguments that every QEMU of ours begins with, also in an accelerator's trial."""
    options = {
        Accelerator.KVM: "kvm",
        Accelerator.TCG: f"tcg,thread=multi,tb-size={TRANSLATION_CACHE_MIB}",
    }
    return [
        qemu,
        *("-name", f"guest={name}"),
        "-nodefaults",
        "-no-user-config",
        "-no-reboot",
        *("-sandbox", sandbox),
        *("-display", "none"),
        *("-accel", options[accelerator]),
    ]


def shape_key(
    shape: Shape,
    accelerator: Accelerator,
    cpu: str,
    kernel_arguments: str,
    qemu_version: str,
    host: str,
) -> str:
    """Return the digest of all that must be the same in a parent and its clones.

    ``host`` identifies the host's CPU: with KVM the guest's is the host's.
    """
    nominal = Machine("shape", "shape", MachineKind.PARENT, shape)
    places = places_for(nominal)
    arguments = command_line("qemu", nominal, accelerator, cpu, kernel_arguments, places)
    seen = [
        qemu_version,
        shape.bootstrap_digest,
        host if accelerator is Accelerator.KVM else "",
        arguments,
    ]
    return hashlib.sha256(json.dumps(seen).encode()).hexdigest()


def _kernel(arguments: str, accelerator: Accelerator, places: Places) -> list[str]:
    """Return what boots; a clone doesn't, and so is spared 8 ms and 14 MB of a kernel in memory."""
    if places.kernel is None:
        return []
    if accelerator is Accelerator.TCG:
        arguments = f"{arguments} {_TCG_KERNEL}"
    return [
        *("-kernel", f"/proc/self/fd/{places.kernel}"),
        *("-initrd", f"/proc/self/fd/{places.initrd}"),
        *("-append", arguments),
    ]


def _memory(machine: Machine, places: Places) -> str:
    size = f"id=ram0,size={machine.shape.memory_mib}M"
    if machine.kind is MachineKind.COLD:
        return f"memory-backend-ram,{size}"
    share = "on" if machine.kind is MachineKind.PARENT else "off"
    return f"memory-backend-file,{size},mem-path=/proc/self/fd/{places.memory},share={share}"


def _file_chardev(name: str, number: int, fdset: int) -> tuple[str, ...]:
    path = f"/dev/fdset/{fdset}"
    return (
        *("-add-fd", f"fd={number},set={fdset}"),
        *("-chardev", f"file,id={name},path={path},append=on"),
    )


def disk_nodes(files: int) -> list[dict[str, object]]:
    """Return the block nodes of a chain of so many files, the base first, each in an fdset.

    Each names its backing explicitly, so that QEMU never looks a path up that a file contains.
    """
    nodes: list[dict[str, object]] = []
    backing: str | None = None
    for depth in range(files):
        top = depth == files - 1
        name = DISK_NODE if top else f"layer{depth}"
        nodes.append(
            {
                "driver": "vmdk",
                "node-name": name,
                "read-only": not top,
                "backing": backing,
                "file": {
                    "driver": "file",
                    "filename": f"/dev/fdset/{FIRST_DISK_FDSET + depth}",
                    "read-only": not top,
                    # Open file description locks: layers are shared, a machine's own disk is not.
                    "locking": "on",
                },
            }
        )
        backing = name
    return nodes


def _disk(machine: Machine, places: Places) -> list[str]:
    """Return the root disk, or what takes its place."""
    if not places.disks:
        size = machine.shape.disk_size_bytes
        node = {"driver": "null-co", "node-name": PLACEHOLDER_NODE, "size": size}
        return ["-blockdev", _json({**node, "read-zeroes": True})]
    arguments: list[str] = []
    nodes = disk_nodes(len(places.disks))
    for fdset, (number, node) in enumerate(
        zip(reversed(places.disks), nodes, strict=True), FIRST_DISK_FDSET
    ):
        arguments += ["-add-fd", f"fd={number},set={fdset}", "-blockdev", _json(node)]
    return arguments


def volume_node(number: int, *, read_only: bool) -> dict[str, object]:
    """Return the block node of a volume, whose file is in an fdset of its own."""
    return {
        "driver": "vmdk",
        "node-name": f"volume{number}",
        "read-only": read_only,
        "backing": None,
        "file": {
            "driver": "file",
            "filename": f"/dev/fdset/{FIRST_VOLUME_FDSET + number}",
            "read-only": read_only,
            # One writer or any number of readers, whatever storage says.
            "locking": "on",
        },
    }


def volume_device(number: int) -> dict[str, object]:
    """Return the SCSI disk of a volume."""
    return {
        "driver": "scsi-hd",
        "id": f"lun{number}",
        "bus": VOLUME_BUS,
        "channel": 0,
        "scsi-id": 0,
        "lun": number,
        "drive": f"volume{number}",
    }


def _volumes(machine: Machine, places: Places) -> list[str]:
    arguments: list[str] = []
    for number, (descriptor, volume) in enumerate(
        zip(places.volumes, machine.volumes, strict=True)
    ):
        node = volume_node(number, read_only=volume.read_only)
        arguments += [
            *("-add-fd", f"fd={descriptor},set={FIRST_VOLUME_FDSET + number}"),
            *("-blockdev", _json(node)),
            *("-device", _json(volume_device(number))),
        ]
    return arguments


def _nics(machine: Machine, places: Places) -> list[str]:
    arguments: list[str] = []
    for index, number in enumerate(places.nics):
        mac = f"52:54:00:00:00:{index:02x}"
        if index < len(machine.nics):
            mac = machine.nics[index].mac_address
        port = f"nicport{index}"
        address = f"addr={_FIRST_NIC_SLOT + index:#x}"
        device = f"virtio-net-pci-non-transitional,id=nic{index},bus={port},netdev=net{index}"
        arguments += [
            *("-device", f"pcie-root-port,id={port},chassis={index + 1},{address}"),
            *("-netdev", f"tap,id=net{index},fd={number},vhost=off"),
            *("-device", f"{device},mac={mac},{_NET_OPTIONS}"),
        ]
    return arguments


def plugged_backend(number: int, descriptor_name: str) -> dict[str, object]:
    """Return the backend of a NIC that is plugged in, by the name that its tap's descriptor has."""
    return {"type": "tap", "id": f"tap{number}", "fd": descriptor_name, "vhost": False}


def plugged_nic(number: int, mac_address: str) -> dict[str, object]:
    """Return the device of a NIC that is plugged into a spare port, in all like the placed ones."""
    return {
        "driver": "virtio-net-pci-non-transitional",
        "id": f"plug{number}",
        "bus": spare_port(number),
        "netdev": f"tap{number}",
        "mac": mac_address,
        "romfile": "",
        "rombar": 0,
        "guest_announce": False,
    }


def spare_port(number: int) -> str:
    """Return the name of a port for what is plugged in."""
    return f"spare{number}"


def _spare_ports() -> list[str]:
    arguments: list[str] = []
    for number in range(SPARE_PORTS):
        chassis = NICS + number + 1
        address = f"addr={_FIRST_NIC_SLOT + NICS + number:#x}"
        port = f"pcie-root-port,id={spare_port(number)},chassis={chassis},{address}"
        arguments += ["-device", port]
    return arguments


def _json(node: dict[str, object]) -> str:
    return json.dumps(node, separators=(",", ":"))

"""What a virtual machine is made of, and what of it a caller may ask for."""

import re
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address, ip_interface
from typing import NoReturn

from portlayer.errors import InvalidArgument, Reason

NICS = 2
"""How many every machine has from its beginning."""
MOST_NICS = 10
"""How many it can have with those that are plugged in: a port for each."""
SMALLEST_MEMORY_MIB = 128
LARGEST_MEMORY_MIB = 1 << 20
MOST_VCPUS = 32
LONGEST_CHAIN = 200
MOST_VOLUMES = 32
LONGEST_PATH = 4095  # PATH_MAX of the kernel
LARGEST_IDENTITY = 64 * 1024
HIGHEST_WEIGHT = 10_000  # of cgroup v2
DISK_GRANULARITY = 64 * 1024  # grain of a sparse VMDK
LARGEST_DISK = 2 << 40  # of a sparse VMDK

_NAME = re.compile(r"[a-z0-9-]{1,64}")
# Of a machine that dials while it waits, and of no other: it is in its tether's certificate.
_WAITING = re.compile(r"ready-[0-9a-f]{16}")
_DIGEST = re.compile(r"[0-9a-f]{12,64}")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_MACHINE_ID = re.compile(r"([0-9a-f]{32})?")
_ENDPOINT = re.compile(r"\d{1,3}(\.\d{1,3}){3}:\d{1,5}")
_DEVICE = re.compile(r"([a-z]{1,16})?")
_INTERFACE = re.compile(r"[a-z][a-z0-9_.-]{0,14}")


class Accelerator(StrEnum):
    """What runs the guest's instructions, by QEMU's own names."""

    KVM = "kvm"
    TCG = "tcg"


class MachineKind(StrEnum):
    """How a machine begins."""

    COLD = "cold"
    """Boots its kernel and keeps its memory to itself."""
    PARENT = "parent"
    """Boots its kernel in a parent's memory."""
    CLONE = "clone"
    """Waits for a parent's device state, on a private copy of its memory."""
    READY = "ready"
    """A clone that warms up, or is forked of one that has, and waits to become a container's."""
    TEMPLATE = "template"
    """A clone that warms up, and is forked as it stands."""

    @property
    def is_clone(self) -> bool:
        """Whether it goes on from a parent's state."""
        return self in (MachineKind.CLONE, MachineKind.READY, MachineKind.TEMPLATE)

    @property
    def warms_up(self) -> bool:
        """Whether it is told nothing but to warm up."""
        return self in (MachineKind.READY, MachineKind.TEMPLATE)

    @property
    def is_nameless(self) -> bool:
        """Whether it is no container's."""
        return self is MachineKind.PARENT or self.warms_up


@dataclass(frozen=True)
class Shape:
    """What must be the same in a parent and its clones."""

    memory_mib: int
    vcpus: int
    bootstrap_digest: str
    disk_size_bytes: int

    def check(self) -> None:
        """Raise InvalidArgument where the shape is none that we run."""
        size = self.memory_mib
        if not SMALLEST_MEMORY_MIB <= size <= LARGEST_MEMORY_MIB or size & (size - 1):
            _refuse("shape.memory_mib", f"{size} is no power of two from {SMALLEST_MEMORY_MIB} up")
        if not 1 <= self.vcpus <= MOST_VCPUS:
            _refuse("shape.vcpus", f"{self.vcpus} is not between 1 and {MOST_VCPUS}")
        if not _DIGEST.fullmatch(self.bootstrap_digest):
            _refuse("shape.bootstrap_digest", "not 12 to 64 hexadecimal digits")
        size = self.disk_size_bytes
        if not DISK_GRANULARITY <= size <= LARGEST_DISK or size % DISK_GRANULARITY:
            _refuse("shape.disk_size_bytes", f"{size} is no multiple of 64 KiB up to 2 TiB")


@dataclass(frozen=True)
class Nic:
    """A network interface: the tap to make for it, and its hardware address."""

    tap_name: str
    mac_address: str

    def check(self, slot: int) -> None:
        """Raise InvalidArgument where an instance's slot can't have this."""
        _match("nics.tap_name", re.compile(rf"vt{slot}-[0-9a-f]{{6}}"), self.tap_name)
        _match("nics.mac_address", _MAC, self.mac_address)
        if int(self.mac_address[:2], 16) & 1:
            _refuse("nics.mac_address", f"{self.mac_address} is a group's address")


@dataclass(frozen=True)
class GuestManagement:
    """The management interface, and where interaction serves tethers."""

    mac_address: str
    address: str
    endpoint: str
    server_name: str

    def check(self) -> None:
        """Raise InvalidArgument where the tether would refuse it, or worse, believe it."""
        _match("guest.management.mac_address", _MAC, self.mac_address)
        _match("guest.management.endpoint", _ENDPOINT, self.endpoint)
        _interface_address("guest.management.address", self.address)
        _one_line("guest.management.server_name", self.server_name)


@dataclass(frozen=True)
class GuestNic:
    """An interface of the workload; ``index`` is its place among the machine's NICs.

    One that is plugged in has an index above theirs, and is found by its MAC address.
    """

    index: int
    mac_address: str
    addresses: tuple[str, ...]
    gateway: str
    mtu: int
    name: str
    gateway6: str = ""

    def check(self) -> None:
        """Raise InvalidArgument where the tether would refuse it."""
        if not 1 <= self.index < MOST_NICS:
            _refuse("guest.nics.index", f"{self.index} is no NIC of the workload")
        _match("guest.nics.mac_address", _MAC, self.mac_address)
        _match("guest.nics.name", _INTERFACE, self.name)
        for address in self.addresses:
            _interface_address("guest.nics.addresses", address)
        for gateway in filter(None, (self.gateway, self.gateway6)):
            _address("guest.nics.gateway", gateway)
        if not 576 <= self.mtu <= 65535:
            _refuse("guest.nics.mtu", f"{self.mtu} is not between 576 and 65535")


@dataclass(frozen=True)
class Surroundings:
    """Interfaces and name service of a container."""

    nics: tuple[GuestNic, ...] = ()
    dns_servers: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    hosts: tuple[tuple[str, str], ...] = ()

    def check(self) -> None:
        """Raise InvalidArgument where the tether would refuse it, or worse, believe it."""
        for nic in self.nics:
            nic.check()
        for what in ("index", "mac_address", "name"):
            if len({getattr(nic, what) for nic in self.nics}) < len(self.nics):
                _refuse(f"guest.nics.{what}", "two NICs have one")
        for address, name in self.hosts:
            _address("guest.hosts.address", address)
            _one_line("guest.hosts.name", name)
        for field, values in (
            ("servers", self.dns_servers),
            ("search", self.dns_search),
            ("options", self.dns_options),
        ):
            for value in values:
                _one_line(f"guest.dns.{field}", value)


@dataclass(frozen=True)
class VolumeDisk:
    """A disk beside the root disk; its LUN is its place among them."""

    path: str
    read_only: bool
    size_bytes: int


@dataclass(frozen=True)
class GuestMount:
    """A volume, by its disk's place, or a tmpfs (``disk`` is None) in the container."""

    target: str
    read_only: bool
    disk: int | None = None
    copy_up: bool = False
    subpath: str = ""
    flags: tuple[str, ...] = ()
    data: str = ""


@dataclass(frozen=True)
class Guest:
    """What a tether is told, but for what the agent itself adds."""

    hostname: str
    domainname: str
    machine_id: str
    management: GuestManagement
    surroundings: Surroundings
    root_readonly: bool
    shm_bytes: int
    mounts: tuple[GuestMount, ...] = ()
    root_device: str = ""

    def check(self) -> None:
        """Raise InvalidArgument where the tether would refuse it, or worse, believe it."""
        if not _MACHINE_ID.fullmatch(self.machine_id):
            _refuse("guest.guest_machine_id", "not 32 hexadecimal digits")
        self.management.check()
        if not _DEVICE.fullmatch(self.root_device):
            _refuse("guest.root_device", f"{self.root_device[:80]!r} is no disk's name")
        self.surroundings.check()
        for field, value in (
            ("hostname", self.hostname),
            ("domainname", self.domainname),
        ):
            _one_line(f"guest.{field}", value)
        for mount in self.mounts:
            if not mount.target.startswith("/"):
                _refuse("guest.mounts.target", f"{mount.target[:80]!r} is no absolute path")
            for text in (mount.target, mount.subpath, mount.data, *mount.flags):
                if "\0" in text or len(text.encode()) > LONGEST_PATH:
                    _refuse("guest.mounts", "too long, or with a NUL byte")


@dataclass(frozen=True)
class Machine:
    """A virtual machine as a caller asks for it. See hostagent.proto for the fields."""

    machine_id: str
    launch_id: str
    kind: MachineKind
    shape: Shape
    parent_id: str = ""
    disk_chain: tuple[str, ...] = ()
    nics: tuple[Nic, ...] = ()
    guest: Guest | None = None
    identity: bytes = b""
    volumes: tuple[VolumeDisk, ...] = ()
    cpu_weight: int = 0
    management: GuestManagement | None = None

    def check(self, slot: int) -> None:
        """Raise InvalidArgument, naming the field, where an instance's slot can't have this."""
        check_name("machine_id", self.machine_id)
        check_name("launch_id", self.launch_id)
        self.shape.check()
        if len(self.identity) > LARGEST_IDENTITY:
            _refuse("identity", f"longer than {LARGEST_IDENTITY} bytes")
        check_weight(self.cpu_weight)
        for nic in self.nics:
            nic.check(slot)
        if len(self.nics) > NICS or len({nic.tap_name for nic in self.nics}) < len(self.nics):
            _refuse("nics", f"more than {NICS}, or one twice")
        if self.kind.is_nameless:
            self._check_nameless()
        else:
            self._check_container()
        if (self.kind is MachineKind.COLD) != (self.parent_id == ""):
            _refuse("parent_id", f"wrong for a {self.kind} machine")
        if self.parent_id:
            check_name("parent_id", self.parent_id)

    def _check_nameless(self) -> None:
        if self.disk_chain or self.guest is not None or self.volumes:
            _refuse("kind", f"a {self.kind} machine has no disk or guest configuration")
        if self.management is not None:
            self._check_waiting(self.management)
        elif self.nics:
            _refuse("kind", f"a {self.kind} machine that doesn't dial has no NICs")

    def _check_waiting(self, management: GuestManagement) -> None:
        if self.kind is not MachineKind.READY or len(self.nics) != 1:
            _refuse("management", "for a machine that waits, with one NIC")
        _match("machine_id", _WAITING, self.machine_id)
        management.check()

    def _check_container(self) -> None:
        if not 1 <= len(self.disk_chain) <= LONGEST_CHAIN:
            _refuse("disk_chain", f"not 1 to {LONGEST_CHAIN} files")
        if len(set(self.disk_chain)) < len(self.disk_chain):
            _refuse("disk_chain", "names a file twice")
        if self.guest is None:
            _refuse("guest", "missing")
        if self.management is not None:
            _refuse("management", f"a {self.kind} machine has it in its guest configuration")
        if _WAITING.fullmatch(self.machine_id):
            _refuse("machine_id", "the name of a machine that waits")
        self.guest.check()
        check_volumes(self.guest, self.volumes)

    @property
    def largest_disk_bytes(self) -> int:
        """Size of the largest disk that it writes."""
        sizes = [volume.size_bytes for volume in self.volumes if not volume.read_only]
        return max([self.shape.disk_size_bytes, *sizes])


def check_volumes(guest: Guest, volumes: tuple[VolumeDisk, ...]) -> None:
    """Raise InvalidArgument for disks that a machine can't have, or a mount of none of them."""
    paths = {volume.path for volume in volumes}
    if len(volumes) > MOST_VOLUMES or len(paths) < len(volumes):
        _refuse("volumes", f"more than {MOST_VOLUMES}, or one twice")
    for mount in guest.mounts:
        if mount.disk is not None and mount.disk >= len(volumes):
            _refuse("guest.mounts.volume.disk", f"there is no disk {mount.disk}")


def check_name(field: str, value: str) -> None:
    """Raise InvalidArgument where a name is not 1 to 64 of [a-z0-9-]: it becomes a file's name."""
    _match(field, _NAME, value)


def check_weight(weight: int) -> None:
    """Raise InvalidArgument for a share that no cgroup can have."""
    if weight > HIGHEST_WEIGHT:
        _refuse("cpu_weight", f"{weight} is above {HIGHEST_WEIGHT}")


def _refuse(field: str, why: str) -> NoReturn:
    raise InvalidArgument(f"{field}: {why}", Reason.INVALID_MACHINE, field=field)


def _match(field: str, pattern: re.Pattern[str], value: str) -> None:
    if not pattern.fullmatch(value):
        _refuse(field, f"{value[:80]!r} is malformed")


def _one_line(field: str, value: str) -> None:
    if len(value) > 255 or any(ord(char) < 32 or ord(char) == 127 for char in value):
        _refuse(field, "too long, or with control characters")


def _address(field: str, value: str) -> None:
    try:
        ip_address(value)
    except ValueError:
        _refuse(field, f"{value[:80]!r} is no address")


def _interface_address(field: str, value: str) -> None:
    try:
        if "/" not in value:
            raise ValueError(value)
        ip_interface(value)
    except ValueError:
        _refuse(field, f"{value[:80]!r} is no address with a prefix length")

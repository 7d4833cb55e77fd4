"""What a hypervisor must do for the exec facet. IDs of the platform never leave a driver."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol, runtime_checkable

from vic.exec.v1 import container_pb2
from vic.network.v1 import network_pb2
from vic.storage.v1 import disk_pb2, volume_pb2

from services.exec.interfaces import Names
from services.exec.limits import Allocation, Size


class StartKind(Enum):
    """How a VM came to life; the values are those of the contract."""

    COLD_BOOT = container_pb2.START_KIND_COLD_BOOT
    INSTANT_CLONE = container_pb2.START_KIND_INSTANT_CLONE
    READY_CLONE = container_pb2.START_KIND_READY_CLONE


@dataclass(frozen=True)
class HypervisorInfo:
    """What the platform is. ``memory_bytes`` and ``cpus`` are what VMs can be given in all."""

    driver: str
    hypervisor: str
    accelerator: str
    accelerator_reason: str
    kernel_release: str
    cpus: int
    memory_bytes: int
    # Clones that wait for a start, how many are to, and those that were kept ready in vain.
    ready_waiting: int = 0
    ready_wanted: int = 0
    ready_failed: int = 0
    # Of the memory, what other VCHs on the platform have reserved.
    reserved_by_others_bytes: int = 0
    allocation: Allocation = field(default_factory=Allocation)
    # What there is to be known of it, one sentence each.
    warnings: Sequence[str] = ()


@dataclass(frozen=True)
class MachineSpec:
    """A container VM to be made."""

    container_id: str
    # Names this run; the guest's tether repeats it.
    boot_id: str
    spec: container_pb2.ContainerSpec
    disk: disk_pb2.Disk
    # Management first.
    endpoints: Sequence[network_pb2.Endpoint]
    tether_endpoint: str
    tether_server_name: str
    # Boot it, rather than clone it.
    cold: bool = False
    # Name of the kernel to boot; empty for the default one.
    kernel: str = ""
    # The disks of its volumes.
    volumes: Sequence[volume_pb2.AttachedDisk] = ()
    # The container has never run: what its image has to give to empty volumes is copied.
    first_start: bool = True


@dataclass(frozen=True)
class MachineState:
    """A VM that exists."""

    container_id: str
    boot_id: str
    pid: int


@dataclass(frozen=True)
class MachineExited:
    """A VM that ended. ``exit_record`` is what its tether wrote at the end, where it could."""

    container_id: str
    boot_id: str
    exit_record: bytes
    # What the platform says of it, for the log.
    detail: str
    # The host that it ran on went down, and came up again.
    host_restarted: bool = False


@dataclass(frozen=True)
class CreatedMachine:
    """A VM that was made and doesn't run yet."""

    pid: int
    kind: StartKind
    # Name of its tether, where that has waited, and dials, under one of its own. The management
    # endpoint of that reservation is the VM's then.
    tether_id: str = ""


class Hypervisor(Protocol):
    """Makes, runs and ends container VMs.

    A VM is *created* (its devices exist, its CPUs stand still), then *loaded* (its memory and
    devices are where they'll run from), then *run*. In between, its NICs are connected: two are
    there when it is created, the others when it is loaded.
    """

    async def open(self) -> None:
        """Connect to the platform and prepare what starts will need, in the background."""

    async def close(self) -> None:
        """Let go of the platform; VMs run on."""

    async def info(self) -> HypervisorInfo:
        """Describe the platform."""

    def size(self, resources: container_pb2.Resources) -> Size:
        """Return what the VM of a container with such limits is given."""

    async def create(self, machine: MachineSpec) -> CreatedMachine:
        """Make a VM. Idempotent on container and boot. Raises VicError; leaves nothing then."""

    async def load(self, container_id: str, boot_id: str) -> None:
        """Bring a created VM to where it'll run from.

        Raises Unavailable: CLONE_FAILED when another way to make it may still work, or
        HYPERVISOR_FAILED.
        """

    async def run(self, container_id: str, boot_id: str) -> None:
        """Let its CPUs run. Raises Unavailable, as ``load`` does."""

    async def check_awake(self, container_id: str, boot_id: str) -> None:
        """Look whether a VM that was kept ready has taken up its work. Raises as ``load`` does.

        One that has ended, or of which nothing can be known now, is no error.
        """

    async def destroy(self, container_id: str, boot_id: str = "", *, wait: bool = True) -> None:
        """End a VM at once and return when it is gone. Idempotent.

        Without ``wait`` it may return as soon as the VM can run no more: for containers of which
        nothing is wanted any more.
        """

    async def inventory(self) -> Sequence[MachineState]:
        """Return all VMs of this VCH."""

    def exits(self, after: int) -> AsyncIterator[tuple[int, MachineExited | None]]:
        """Yield the ends of VMs after a position, with their positions, then new ones.

        None comes once, after the ends of all VMs that were gone before the call.
        """

    async def forget_exits(self, through: int) -> None:
        """Let the platform forget the ends up to a position."""


@runtime_checkable
class CanReweigh(Protocol):
    """A hypervisor that can change what share of the host's CPUs a VM has."""

    async def reweigh(
        self, container_id: str, boot_id: str, resources: container_pb2.Resources
    ) -> None:
        """Give a running VM the weight that limits ask for. Raises VicError."""


@dataclass(frozen=True)
class Surroundings:
    """What a container's guest is to have of networks."""

    spec: container_pb2.ContainerSpec
    # All that the container has, management first.
    endpoints: Sequence[network_pb2.Endpoint]
    # What its interfaces are called, by endpoint ID.
    names: Names


@runtime_checkable
class CanPlugNics(Protocol):
    """A hypervisor whose VMs can get and lose NICs while they run."""

    async def plug(self, container_id: str, boot_id: str, endpoint: network_pb2.Endpoint) -> None:
        """Give a VM an endpoint's NIC. Idempotent. Raises VicError; nothing is changed then."""

    async def unplug(self, container_id: str, boot_id: str, endpoint: network_pb2.Endpoint) -> None:
        """Take an endpoint's NIC from a VM. Idempotent. Raises VicError."""

    async def surround(
        self, container_id: str, boot_id: str, around: Surroundings, *, wait: bool
    ) -> None:
        """Let a VM's guest have the interfaces and the name service of endpoints.

        Returns when it has them, or with ``wait`` unset when it has been told. Raises Unavailable
        (PLUG_FAILED) where it doesn't take them.
        """


@runtime_checkable
class CanAllocate(Protocol):
    """A hypervisor that can give a VCH more of the platform than others, or keep some for it."""

    async def allocate(self, allocation: Allocation) -> None:
        """Keep and weigh so much for this VCH from now on, also after the platform's restart.

        Raises InvalidArgument with the figures, NotImplementedYet; nothing is changed then.
        """


@dataclass(frozen=True)
class Usage:
    """What a VM takes of its host, as the host measures it. None is what the platform can't tell.

    Rates are averages over ``seconds``.
    """

    container_id: str
    boot_id: str
    seconds: float
    cpus_used: float | None = None
    """1 is one CPU of the host, fully used; the emulator's own work is included."""
    cpus_waited_for: float | None = None
    """What it could have used besides, and waited for."""
    memory_bytes: int | None = None
    """At the end of the time."""
    memory_active_bytes: int | None = None
    """Of that, what was used lately, by the host's estimate."""
    disk_read_rate: float | None = None
    """Bytes per second, as the other rates are."""
    disk_written_rate: float | None = None
    received_rate: float | None = None
    sent_rate: float | None = None


@runtime_checkable
class CanMeasure(Protocol):
    """A hypervisor whose hosts measure what VMs take of them."""

    async def usage(self, seconds: float) -> Sequence[Usage]:
        """Measure all VMs of this VCH that run, over so long or a little longer.

        The number of calls to the platform is no more than its bounds on one call ask for. VMs that
        end or begin meanwhile are left out. Raises VicError.
        """


@runtime_checkable
class CanChooseKernel(Protocol):
    """A hypervisor whose VMs can boot one of several kernels."""

    async def kernels(self) -> Mapping[str, str]:
        """Return the releases of the kernels that have names, by name."""

    async def try_kernel(self, digest: str) -> str:
        """Boot a VM with a bootstrap image, and return its kernel's release. Raises VicError."""


@runtime_checkable
class CanShowImage(Protocol):
    """A hypervisor that can give a VM the disk of its container's image beside its own."""

    async def show_image(self, container_id: str, boot_id: str, chain_length: int) -> int:
        """Plug it in, read-only, and return its logical unit. Idempotent. Raises Unavailable.

        ``chain_length`` counts the disks of the container's chain, its own included. The guest is
        told nothing: who is to use it asks the controller of volumes for it.
        """


@runtime_checkable
class CanPause(Protocol):
    """A hypervisor that can hold a VM's CPUs."""

    async def pause(self, container_id: str) -> None:
        """Hold the CPUs."""

    async def unpause(self, container_id: str) -> None:
        """Let them go on."""

    async def is_paused(self, container_id: str) -> bool:
        """Tell whether a VM that was run stands still."""


@runtime_checkable
class CanKeepReady(Protocol):
    """A hypervisor that can keep clones ready ahead of demand."""

    def check_ready(self, count: int) -> None:
        """Return when the host can hold so many. Raises InvalidArgument with the figures."""

    def keep_ready(self, count: int | None) -> None:
        """Keep so many from now on; None is as many as suit the host."""

    def clones(self, names: Collection[str]) -> Collection[str]:
        """Return which of some names are those of clones that wait, or waited."""

    async def forsaken(self, clones: Collection[str]) -> Collection[str]:
        """Return which of such clones are not there any more, or are a container's by now."""

    def settled(self, boot_id: str) -> None:
        """Take in that a start has come to its end, and needs the host no more. Idempotent."""

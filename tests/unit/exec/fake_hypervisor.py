"""A fake of the platform that VMs run on."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from vic.exec.v1 import container_pb2
from vic.network.v1 import network_pb2

from portlayer.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    Reason,
    VicError,
)
from portlayer.fencing import Fences, held_turn
from services.exec.drivers import (
    CreatedMachine,
    HypervisorInfo,
    MachineExited,
    MachineSpec,
    MachineState,
    StartKind,
    Surroundings,
    Usage,
)
from services.exec.exits import Exits
from services.exec.limits import MIB, Allocation, Size


@dataclass
class Standstill:
    """A call of a process that stands still for a while."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class FakeHypervisor:
    """VMs in memory."""

    machines: dict[str, str] = field(default_factory=dict)
    paused: set[str] = field(default_factory=set)
    failing: dict[str, VicError] = field(default_factory=dict)
    kinds: list[bool] = field(default_factory=list)
    # Kernels that there are, and those that VMs were made with.
    named: dict[str, str] = field(default_factory=dict)
    booted: list[str] = field(default_factory=list)
    # CPU shares of VMs that were weighed anew.
    shares: dict[str, int] = field(default_factory=dict)
    # Of VMs that were ended: whether that was waited for until they were gone.
    waited_for_ends: list[bool] = field(default_factory=list)
    # Networks whose NICs were plugged in, and what guests were told of their interfaces since.
    plugged: list[str] = field(default_factory=list)
    interfaces: dict[str, dict[str, str]] = field(default_factory=dict)
    # How many of the next starts take a clone that was kept ready.
    ready: int = 0
    # How many are to be kept.
    wanted: int = 0
    settlements: list[str] = field(default_factory=list)
    # Clones that wait, by name.
    clones_there: set[str] = field(default_factory=set)
    # The tether's name of the clones that starts take next.
    tethers: list[str] = field(default_factory=list)
    # Boots that there ever were: none is launched twice.
    launched: set[str] = field(default_factory=set)
    # What VMs were made of, by boot.
    specs: dict[str, MachineSpec] = field(default_factory=dict)
    exits_to: "Exits | None" = None
    telling: set[asyncio.Task[None]] = field(default_factory=set)
    allocation: Allocation = field(default_factory=Allocation)
    reserved_by_others: int = 0
    warnings: tuple[str, ...] = ()
    # As the host agent has them, and what the next creation waits for before it gets there.
    fences: Fences = field(default_factory=Fences)
    standstills: list[Standstill] = field(default_factory=list)
    # What is measured of VMs, and over how many seconds it was asked for.
    usages: list[Usage] = field(default_factory=list)
    measured_over: list[float] = field(default_factory=list)

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def info(self) -> HypervisorInfo:
        return HypervisorInfo(
            "fake",
            "fake",
            "none",
            "a test",
            "6.1",
            2,
            2**34,
            ready_wanted=self.wanted,
            reserved_by_others_bytes=self.reserved_by_others,
            allocation=self.allocation,
            warnings=self.warnings,
        )

    async def allocate(self, allocation: Allocation) -> None:
        self._fail("allocate")
        self.allocation = allocation

    def size(self, resources: container_pb2.Resources) -> Size:
        return Size(max(512 * MIB, resources.memory_bytes), max(1, resources.nano_cpus // 10**9))

    async def create(self, machine: MachineSpec) -> CreatedMachine:
        if self.standstills:
            standstill = self.standstills.pop()
            standstill.reached.set()
            await standstill.over.wait()
        self._fence()
        self._fail("create")
        if machine.boot_id in self.launched:
            raise FailedPrecondition("this launch has ended")
        if machine.container_id in self.machines:
            raise AlreadyExists("it runs", Reason.MACHINE_EXISTS)
        self.launched.add(machine.boot_id)
        self.specs[machine.boot_id] = machine
        self.machines[machine.container_id] = machine.boot_id
        self.kinds.append(machine.cold)
        self.booted.append(machine.kernel)
        kind = StartKind.COLD_BOOT if machine.cold else StartKind.INSTANT_CLONE
        if self.ready:
            self.ready -= 1
            kind = StartKind.READY_CLONE
        return CreatedMachine(4242, kind, self.tethers.pop() if self.tethers else "")

    async def load(self, container_id: str, boot_id: str) -> None:
        self._fail("load")

    async def check_awake(self, container_id: str, boot_id: str) -> None:
        self._fail("check_awake")

    async def run(self, container_id: str, boot_id: str) -> None:
        self._fail("run")

    async def destroy(self, container_id: str, boot_id: str = "", *, wait: bool = True) -> None:
        self._fence()
        self._fail("destroy")
        self.waited_for_ends.append(wait)
        if container_id in self.machines and boot_id in (self.machines[container_id], ""):
            exited = MachineExited(container_id, self.machines.pop(container_id), b"", "killed")
            if self.exits_to is not None:
                # As its end is told by a stream of its own.
                telling = asyncio.create_task(self.exits_to.machine_exited(exited))
                self.telling.add(telling)
                telling.add_done_callback(self.telling.discard)

    async def usage(self, seconds: float) -> Sequence[Usage]:
        self.measured_over.append(seconds)
        return self.usages

    async def inventory(self) -> Sequence[MachineState]:
        return [MachineState(c, b, 4242) for c, b in self.machines.items()]

    async def exits(self, after: int) -> AsyncIterator[tuple[int, MachineExited | None]]:
        yield after, None
        await asyncio.Event().wait()

    async def forget_exits(self, through: int) -> None: ...

    async def kernels(self) -> Mapping[str, str]:
        return self.named

    async def try_kernel(self, digest: str) -> str:
        self._fail("try_kernel")
        return "6.9"

    async def reweigh(
        self, container_id: str, boot_id: str, resources: container_pb2.Resources
    ) -> None:
        self._fail("reweigh")
        assert self.machines[container_id] == boot_id
        self.shares[container_id] = resources.cpu_shares

    async def plug(self, container_id: str, boot_id: str, endpoint: network_pb2.Endpoint) -> None:
        self._fail("plug")
        assert self.machines[container_id] == boot_id
        self.plugged.append(endpoint.network_name)

    async def unplug(self, container_id: str, boot_id: str, endpoint: network_pb2.Endpoint) -> None:
        self._fail("unplug")
        if endpoint.network_name in self.plugged:
            self.plugged.remove(endpoint.network_name)

    async def surround(
        self, container_id: str, boot_id: str, around: Surroundings, *, wait: bool
    ) -> None:
        self._fail("surround")
        assert wait is (container_id not in self.paused)
        self.interfaces[container_id] = {
            around.names[e.id]: e.network_name for e in around.endpoints if not e.management
        }

    async def show_image(self, container_id: str, boot_id: str, chain_length: int) -> int:
        self._fail("show_image")
        assert self.machines[container_id] == boot_id
        assert chain_length == 2
        return 255

    async def pause(self, container_id: str) -> None:
        self._fail("pause")
        self.paused.add(container_id)

    async def unpause(self, container_id: str) -> None:
        self.paused.discard(container_id)

    async def is_paused(self, container_id: str) -> bool:
        return container_id in self.paused

    def check_ready(self, count: int) -> None:
        if count > 8:
            raise InvalidArgument(f"{count} ready clones take too much", Reason.INVALID_REQUEST)

    def keep_ready(self, count: int | None) -> None:
        self.wanted = 2 if count is None else count

    def clones(self, names: Collection[str]) -> Collection[str]:
        return {name for name in names if name.startswith("ready-")}

    async def forsaken(self, clones: Collection[str]) -> Collection[str]:
        return set(clones) - self.clones_there

    def settled(self, boot_id: str) -> None:
        self.settlements.append(boot_id)

    def _fence(self) -> None:
        if (turn := held_turn()) is not None:
            self.fences.raise_to(turn)

    def _fail(self, call: str) -> None:
        if call in self.failing:
            raise self.failing.pop(call)

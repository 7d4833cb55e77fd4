"""The virtual container host as a whole: what it says of itself, and what it is told."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import fields, replace
from typing import TypeVar

from vic.exec.v1 import exec_pb2

from portlayer.errors import NotImplementedYet
from services.exec.admission import Admission
from services.exec.drivers import CanAllocate, Hypervisor, HypervisorInfo, StartKind
from services.exec.kernels import Kernels
from services.exec.lifecycle import Lifecycle
from services.exec.limits import Allocation, Limits, Size
from services.exec.logdrivers import LogDrivers, parse_address
from services.exec.startmode import StartModes
from services.exec.states import State
from services.exec.store import Containers
from services.exec.usage import measure_usage

Settings = TypeVar("Settings", Limits, Allocation)


class Vch:
    """Describes and configures a VCH."""

    def __init__(
        self,
        instance_id: str,
        version: str,
        containers: Containers,
        admission: Admission,
        lifecycle: Lifecycle,
        hypervisor: Hypervisor,
        modes: StartModes,
        kernels: Kernels,
        log_drivers: LogDrivers,
    ) -> None:
        self._log_drivers = log_drivers
        self._instance_id = instance_id
        self._version = version
        self._containers = containers
        self._admission = admission
        self._lifecycle = lifecycle
        self._hypervisor = hypervisor
        self._modes = modes
        self._kernels = kernels

    async def info(self) -> exec_pb2.InfoResponse:
        """Return what ExecService.Info says."""
        # The platform, which may take some time, is asked first.
        platform, counts, given, limits, log_syslog = await asyncio.gather(
            self._hypervisor.info(),
            self._containers.counts(),
            self._given(),
            self._admission.limits(),
            self._log_drivers.chosen(),
        )
        paused = counts.get(State.PAUSED, 0)
        running = sum(counts.get(state, 0) for state in State if state.has_vm) - paused
        starts = self._lifecycle.starts
        return exec_pb2.InfoResponse(
            instance_id=self._instance_id,
            driver=platform.driver,
            hypervisor=platform.hypervisor,
            accelerator=platform.accelerator,
            accelerator_reason=platform.accelerator_reason,
            kernel_release=platform.kernel_release,
            cpus=platform.cpus,
            memory_bytes=platform.memory_bytes,
            containers=sum(counts.values()),
            containers_running=running,
            containers_paused=paused,
            containers_stopped=sum(counts.values()) - running - paused,
            cold_boots=starts[StartKind.COLD_BOOT],
            instant_clones=starts[StartKind.INSTANT_CLONE],
            version=self._version,
            limits=limits.message(),
            vm_memory_bytes=sum(size.memory_bytes for size in given),
            vm_cpus=sum(size.cpus for size in given),
            disk_bytes=sum(counts.values()) * self._admission.disk_bytes,
            ready_clones=starts[StartKind.READY_CLONE],
            ready_clones_failed=platform.ready_failed,
            ready_clones_waiting=platform.ready_waiting,
            start_mode=self._start_mode(platform),
            allocation=platform.allocation.message(),
            memory_reserved_by_others_bytes=platform.reserved_by_others_bytes,
            log_syslog=log_syslog,
            warnings=platform.warnings,
        )

    async def _given(self) -> list[Size]:
        """Return what each VM has that runs."""
        return [
            record.vm or self._hypervisor.size(record.spec.resources)
            for record in await self._containers.select([s for s in State if s.has_vm])
        ]

    async def configure(self, request: exec_pb2.ConfigureRequest) -> exec_pb2.ConfigureResponse:
        """Change what is asked for, all or nothing. Errors as ExecService.Configure says."""
        limits = changed(await self._admission.limits(), request)
        former = (await self._hypervisor.info()).allocation
        allocation = changed(former, request)
        limits.check_allocation(allocation)
        mode = self._modes.mode.changed(request)
        if request.HasField("ready_clones"):
            self._modes.check(mode)
        if request.HasField("kernel"):
            await self._kernels.check(request.kernel)
        if request.log_syslog:
            parse_address(request.log_syslog)
        async with AsyncExitStack() as undo:
            if allocation != former:
                allocating = self._allocating()
                await allocating.allocate(allocation)
                undo.push_async_callback(allocating.allocate, former)
            await self._admission.set_limits(limits)
            undo.pop_all()
        await self._modes.change(mode)
        if request.HasField("kernel"):
            await self._kernels.choose(request.kernel)
        if request.HasField("log_syslog"):
            await self._log_drivers.choose(request.log_syslog)
        platform = await self._hypervisor.info()
        return exec_pb2.ConfigureResponse(
            limits=limits.message(),
            start_mode=self._start_mode(platform),
            allocation=platform.allocation.message(),
            kernel=await self._kernels.chosen(),
            log_syslog=await self._log_drivers.chosen(),
        )

    async def measure_usage(
        self, request: exec_pb2.MeasureUsageRequest
    ) -> exec_pb2.MeasureUsageResponse:
        """Tell what VMs take of their hosts. Errors as ExecService.MeasureUsage says."""
        return await measure_usage(self._containers, self._hypervisor, request)

    async def try_kernel(self, request: exec_pb2.TryKernelRequest) -> exec_pb2.TryKernelResponse:
        """Boot a bootstrap image once. Errors as ExecService.TryKernel says."""
        release = await self._kernels.try_boot(request.digest)
        return exec_pb2.TryKernelResponse(kernel_release=release)

    def _allocating(self) -> CanAllocate:
        if not isinstance(self._hypervisor, CanAllocate):
            raise NotImplementedYet(
                "this hypervisor can't reserve CPUs or memory for a virtual container host",
                option="reservations",
            )
        return self._hypervisor

    def _start_mode(self, platform: HypervisorInfo) -> exec_pb2.StartMode:
        mode = self._modes.mode
        return exec_pb2.StartMode(
            ready_clones=platform.ready_wanted,
            ready_clones_automatic=mode.ready_clones is None,
            cold=mode.cold,
        )


def changed(former: Settings, request: exec_pb2.ConfigureRequest) -> Settings:
    """Return limits or an allocation with what a request has of it."""
    given = {field.name: value for field, value in request.ListFields()}
    names = {field.name for field in fields(former)}
    return replace(former, **{name: given[name] for name in names & given.keys()})

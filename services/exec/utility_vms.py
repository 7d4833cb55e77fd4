"""Utility VMs: a tether on the disk of a container that doesn't run, and nothing of the container.

To hypervisor and interaction one is a boot of its container's VM like any other: by the container's
ID there is one VM at most, and so one writer of the disk. What sets it apart is the name of the
boot, which no record has.
"""

import asyncio
import logging
import uuid
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TypeVar

from vic.exec.v1 import container_pb2, exec_pb2
from vic.interaction.v1 import process_pb2
from vic.network.v1 import network_pb2
from vic.storage.v1 import disk_pb2, volume_pb2

from portlayer.errors import AlreadyExists, Reason, Unavailable, VicError
from services.exec.attempts import Attempt, come_up
from services.exec.clones import place_lost, release_place
from services.exec.drivers import CanKeepReady, CreatedMachine, MachineSpec, StartKind
from services.exec.mounts import uses_volumes
from services.exec.parts import Parts
from services.exec.peers import Peers
from services.exec.record import Record
from services.exec.starting import READY_SECONDS, TETHER_SECONDS
from services.exec.startmode import StartModes
from services.exec.tether_place import TetherPlace

log = logging.getLogger("vic.exec.utility")

T = TypeVar("T")

_PREFIX = "utility-"


def is_utility(boot_id: str) -> bool:
    """Tell whether a boot is a utility VM's."""
    return boot_id.startswith(_PREFIX)


def reach_of(record: Record, wanted: "exec_pb2.VolumeReach") -> "exec_pb2.VolumeReach":
    """Return what of a container's volumes a utility VM needs; nothing where it has none."""
    return wanted if uses_volumes(record.spec) else exec_pb2.VOLUME_REACH_UNSPECIFIED


class UtilityVms:
    """Forks and ends them. Its caller has the container's turn."""

    def __init__(self, parts: Parts, modes: StartModes, tethers: TetherPlace) -> None:
        self._parts = parts
        self._modes = modes
        self._tethers = tethers

    async def fork(self, record: Record, reach: "exec_pb2.VolumeReach") -> str:
        """Fork one onto a container's disk; return the name of its boot when its tether is there.

        Raises as ExecService.HoldFiles says; nothing is left then.
        """
        return await come_up(record.id, lambda attempt: self._boot(record, reach, attempt))

    async def _boot(self, record: Record, reach: "exec_pb2.VolumeReach", attempt: Attempt) -> str:
        boot_id = _PREFIX + uuid.uuid4().hex
        try:
            async with AsyncExitStack() as undo:
                undo.push_async_callback(self.end, record, boot_id, reach, flush=False)
                await self._launch(record, boot_id, reach, attempt, undo)
                undo.pop_all()
        finally:
            if isinstance(self._parts.hypervisor, CanKeepReady):
                self._parts.hypervisor.settled(boot_id)
        return boot_id

    async def _launch(
        self,
        record: Record,
        boot_id: str,
        reach: "exec_pb2.VolumeReach",
        attempt: Attempt,
        undo: AsyncExitStack,
    ) -> None:
        peers, hypervisor = self._parts.peers, self._parts.hypervisor
        disk_request = disk_pb2.DiskServiceGetRequest(container_id=record.id)
        reservation_request = network_pb2.GetReservationRequest(container_id=record.id)
        async with asyncio.TaskGroup() as group:
            disk = group.create_task(_response(peers.disks.Get(disk_request)))
            reservation = group.create_task(
                _response(peers.network.GetReservation(reservation_request))
            )
            endpoint = group.create_task(self._tethers.endpoint())
            attached = group.create_task(self._attach(record, boot_id, reach))
            asked_cold = group.create_task(self._modes.cold(record.spec.labels))
        machine = MachineSpec(
            container_id=record.id,
            boot_id=boot_id,
            spec=_bare(record.spec, reach),
            disk=disk.result().disk,
            endpoints=[e for e in reservation.result().endpoints if e.management],
            tether_endpoint=endpoint.result(),
            tether_server_name=self._tethers.server_name,
            cold=attempt is Attempt.BOOT or asked_cold.result(),
            volumes=attached.result(),
            first_start=not record.started_ns,
        )
        created = await self._create(machine)
        bind = network_pb2.BindRequest(
            container_id=record.id, management_only=True, management_of=created.tether_id
        )
        if created.tether_id:
            undo.push_async_callback(release_place, peers, created.tether_id)
        async with asyncio.TaskGroup() as group:
            admitted = group.create_task(self._admit(record.id, boot_id, created.tether_id))
            async with asyncio.TaskGroup() as connecting:
                connecting.create_task(hypervisor.load(record.id, boot_id))
                connecting.create_task(_bind(peers, bind))
            await hypervisor.run(record.id, boot_id)
            if created.kind is StartKind.READY_CLONE and attempt is Attempt.FIRST:
                await asyncio.wait({admitted}, timeout=READY_SECONDS)
                if not admitted.done():
                    await hypervisor.check_awake(record.id, boot_id)

    async def _attach(
        self, record: Record, boot_id: str, reach: "exec_pb2.VolumeReach"
    ) -> list[volume_pb2.AttachedDisk]:
        if not reach:
            return []
        request = volume_pb2.AttachRequest(
            container_id=record.id,
            boot_id=boot_id,
            read_only=reach == exec_pb2.VOLUME_REACH_READ,
        )
        return list((await self._parts.peers.volumes.Attach(request)).disks)

    async def _create(self, machine: MachineSpec) -> CreatedMachine:
        try:
            return await self._parts.hypervisor.create(machine)
        except AlreadyExists:
            # The VM of a boot that could not be ended at its time. Nobody wants it: it's our turn.
            await self._parts.hypervisor.destroy(machine.container_id)
            return await self._parts.hypervisor.create(machine)

    async def _admit(self, container_id: str, boot_id: str, tether_id: str) -> None:
        """Have interaction take its tether in; a VM that ends meanwhile ends the wait."""
        request = process_pb2.AdmitRequest(
            container_id=container_id, boot_id=boot_id, tether_id=tether_id
        )
        admitting = asyncio.ensure_future(
            self._parts.peers.processes.Admit(request, timeout=TETHER_SECONDS)
        )
        gone = asyncio.ensure_future(self._parts.exits.gone(boot_id).wait())
        try:
            await asyncio.wait({admitting, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not admitting.done():
                message = "the utility VM ended while it started"
                raise Unavailable(message, Reason.HYPERVISOR_FAILED)
            admitting.result()
        finally:
            for future in (admitting, gone):
                future.cancel()

    async def end(
        self, record: Record, boot_id: str, reach: "exec_pb2.VolumeReach", *, flush: bool
    ) -> None:
        """End one, after its guest has flushed all disks where that is asked for. Idempotent.

        What can't be done now the reconciler does.
        """
        if flush:
            await self._parts.exits.power_off(replace(record, boot_id=boot_id))
        retire = process_pb2.RetireRequest(container_id=record.id, boot_id=boot_id)
        detach = volume_pb2.DetachRequest(container_id=record.id, boot_id=boot_id)
        try:
            await self._parts.hypervisor.destroy(record.id, boot_id)
            if reach:
                await self._parts.peers.volumes.Detach(detach)
            await self._parts.peers.processes.Retire(retire)
        except VicError as error:
            log.warning("a utility VM of %s may be left: %s", record.id, error.message)
        finally:
            self._parts.exits.forget(boot_id)


def _bare(
    spec: container_pb2.ContainerSpec, reach: "exec_pb2.VolumeReach"
) -> container_pb2.ContainerSpec:
    """Return what is left of a specification where nothing runs: the default size among others."""
    mounts = [m for m in spec.mounts if reach and m.kind == container_pb2.MOUNT_KIND_VOLUME]
    return container_pb2.ContainerSpec(
        hostname=spec.hostname, domainname=spec.domainname, mounts=mounts
    )


async def _bind(peers: Peers, request: network_pb2.BindRequest) -> None:
    with place_lost(request.management_of):
        await peers.network.Bind(request)


async def _response(call: Awaitable[T]) -> T:
    """Await a call as a coroutine, which is what a task is made of."""
    return await call

"""Makes the records of containers again that a lost database had: from beside their disks."""

import logging
import time
from dataclasses import replace

from google.protobuf.message import DecodeError
from vic.exec.v1 import container_pb2
from vic.network.v1 import network_pb2
from vic.storage.v1 import disk_pb2

from portlayer.errors import AlreadyExists, InvalidArgument, NotFound, Reason
from services.exec.creation import Creator, container_endpoints
from services.exec.drivers import CanPause, Hypervisor, MachineState
from services.exec.exitrecord import KILLED
from services.exec.exits import Exits
from services.exec.peers import Peers
from services.exec.policy import to_restart, wants_restart
from services.exec.ports import publish
from services.exec.record import Record, record_from_specification
from services.exec.states import State
from services.exec.store import Containers
from services.exec.utility_vms import is_utility

log = logging.getLogger("vic.exec.restoring")


class Restorer:
    """Restores one container's record, with what its VM and the other facets know of it."""

    def __init__(
        self,
        containers: Containers,
        peers: Peers,
        hypervisor: Hypervisor,
        creator: Creator,
        exits: Exits,
    ) -> None:
        self._containers = containers
        self._peers = peers
        self._hypervisor = hypervisor
        self._creator = creator
        self._exits = exits

    async def restore(self, container_id: str) -> None:
        """Make the record again that a lost database had."""
        if await self._containers.known(container_id):
            return
        try:
            request = disk_pb2.DiskServiceGetRequest(container_id=container_id)
            disk = (await self._peers.disks.Get(request)).disk
        except NotFound:
            return  # removed since it was listed
        try:
            record = record_from_specification(disk.specification)
        except DecodeError:
            log.error("the specification of %s can't be read", container_id)
            return
        if record.id != container_id:
            log.error("the specification of %s names %s", container_id, record.id)
            return
        record = replace(
            record,
            endpoints=await self._endpoints(record),
            disk_chain_length=len(disk.chain),
        )
        await self._creator.register(record)
        await self._creator.reserve_volumes(record)
        machine = await machine_of(self._hypervisor, container_id)
        if machine is not None and not is_utility(machine.boot_id):
            # The VM that runs for it is its own.
            record = replace(
                record,
                state=await self._state_of(container_id),
                boot_id=machine.boot_id,
                pid=machine.pid,
                started_ns=record.started_ns or time.time_ns(),
                published_ports=await self._published(record),
            )
        elif record.state is State.RUNNING:
            record = _ended_unseen(record)
        await self._containers.restore(record)
        self._exits.on_restart()
        log.warning("restored a container from beside its disk", extra={"id": container_id})

    async def _endpoints(self, record: Record) -> tuple[container_pb2.ContainerEndpoint, ...]:
        """Return the endpoints of a container whose record is made again."""
        try:
            return await self._creator.reserve_endpoints(record)
        except AlreadyExists as error:
            if error.reason is not Reason.RESERVATION_EXISTS:
                raise
        # A network was removed, or changed, since what lies beside the disk was written.
        request = network_pb2.GetReservationRequest(container_id=record.id)
        response = await self._peers.network.GetReservation(request)
        return tuple(container_endpoints(response.endpoints))

    async def _state_of(self, container_id: str) -> State:
        """Return the state of a container whose VM is there: nobody but the VM knows it."""
        hypervisor = self._hypervisor
        if isinstance(hypervisor, CanPause) and await hypervisor.is_paused(container_id):
            return State.PAUSED
        return State.RUNNING

    async def _published(self, record: Record) -> tuple[container_pb2.PortBinding, ...]:
        """Return the ports that lead to a container that runs; asking again finds them."""
        try:
            return await publish(self._peers, record)
        except (AlreadyExists, InvalidArgument) as error:
            log.warning("%s is without its ports: %s", record.id, error.message)
            return ()


async def machine_of(hypervisor: Hypervisor, container_id: str) -> MachineState | None:
    """Return the VM that there is of a container, of whatever boot."""
    machines = await hypervisor.inventory()
    return next((m for m in machines if m.container_id == container_id), None)


def _ended_unseen(record: Record) -> Record:
    """Return the record of a container that ran when its record was lost, and doesn't now."""
    ended = replace(record, state=State.EXITED, exit_code=KILLED, finished_ns=time.time_ns())
    if not wants_restart(ended, KILLED):
        return ended
    again = replace(ended, restart_count=ended.restart_count + 1)
    return to_restart(again, time.time_ns(), 0)

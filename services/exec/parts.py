"""What the verbs share: the facet's parts, and what is done at the beginning of each of them."""

import logging
import signal as signals
from dataclasses import dataclass

from vic.exec.v1 import exec_pb2
from vic.interaction.v1 import process_pb2
from vic.storage.v1 import disk_pb2

from portlayer.errors import Reason, VicError
from services.exec.creation import Creator
from services.exec.drivers import Hypervisor
from services.exec.eventlog import EventLog
from services.exec.events import event
from services.exec.exits import INIT, Exits
from services.exec.kernels import Kernels
from services.exec.limits import Size
from services.exec.operations import Turns
from services.exec.peers import Peers
from services.exec.record import Record
from services.exec.states import Verb, check
from services.exec.store import Containers

log = logging.getLogger("vic.exec.parts")

SIGKILL = signals.SIGKILL.value


@dataclass(frozen=True)
class Parts:
    """The parts that verbs work with."""

    containers: Containers
    events: EventLog
    turns: Turns
    peers: Peers
    hypervisor: Hypervisor
    creator: Creator
    exits: Exits
    kernels: Kernels

    async def current(self, reference: str) -> Record:
        """Return the record as it is now. Raises as Containers.resolve does."""
        return await self.containers.resolve(reference)

    def vm_size(self, record: Record) -> Size:
        """Return what the VM of a container that runs was given."""
        return record.vm or self.hypervisor.size(record.spec.resources)

    async def put_specification(self, record: Record) -> None:
        """Write what lies beside a container's disk."""
        await self.peers.disks.PutSpecification(
            disk_pb2.PutSpecificationRequest(
                container_id=record.id, specification=record.specification()
            )
        )

    async def announce_kill(self, record: Record, number: int) -> None:
        """Tell that a signal is sent: before it is, lest the end that it brings is told first."""
        await self.events.append(event(record, exec_pb2.EVENT_KIND_KILL, signal=str(number)))

    async def send_signal(self, record: Record, number: int) -> None:
        """Send a signal to the init process; one that has just ended is no error."""
        request = process_pb2.SignalRequest(container_id=record.id, process_id=INIT, signal=number)
        try:
            await self.peers.processes.Signal(request)
        except VicError as error:
            if error.reason not in (Reason.NOT_RUNNING, Reason.TETHER_AWAY):
                raise
            log.info("signal %d did not reach %s: %s", number, record.id, error.message)


def check_record(verb: Verb, record: Record) -> None:
    """Return when the state of a container allows a verb. Raises as states.check does."""
    check(verb, record.state, container_id=record.id, name=record.name)

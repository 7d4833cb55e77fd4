"""One start of a container: its VM is made, connected and run, and the init process in it."""

import asyncio
import logging
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from typing import TypeVar

from vic.exec.v1 import exec_pb2
from vic.interaction.v1 import process_pb2
from vic.network.v1 import network_pb2
from vic.storage.v1 import disk_pb2, volume_pb2

from portlayer.errors import AlreadyExists, NotFound, Reason, Unavailable, VicError
from services.exec.attempts import Attempt, come_up
from services.exec.clones import ended_early, place_lost, release_place
from services.exec.creation import container_endpoints
from services.exec.drivers import CanKeepReady, CreatedMachine, Hypervisor, MachineSpec, StartKind
from services.exec.events import event
from services.exec.exits import INIT, Exits
from services.exec.health import probe
from services.exec.kernels import Kernels
from services.exec.mounts import uses_volumes
from services.exec.peers import Peers
from services.exec.ports import publish
from services.exec.record import Record
from services.exec.resources import workload_limits
from services.exec.room import Room
from services.exec.spec import init_process
from services.exec.startmode import StartModes
from services.exec.states import State
from services.exec.store import Containers
from services.exec.taken import Taken
from services.exec.tether_place import TetherPlace

log = logging.getLogger("vic.exec.starting")

T = TypeVar("T")

# A tether that was forked answers in 100 ms, one that cold-boots under emulation in 10 s. Eight at
# once on two cores that have forty other things to do were seen to take more than two minutes, and
# to give up then helps nobody: a VM that has ended is told at once.
TETHER_SECONDS = 300.0
# A clone that was kept ready has gone through all of it once: what takes it so long is a fault,
# or a machine so busy that starting once more makes little difference.
READY_SECONDS = 15.0
# Interaction writes its database before it has taken a boot in.
RETIRE_AGAIN_SECONDS = 1.0
# NICs that are there when a VM is created: management, and the first network.
EARLY_NICS = 2
# uname(2)'s own bound.
KERNEL_RELEASE_CHARACTERS = 64


class Starter:
    """Brings containers to life. Its caller has the container's turn."""

    def __init__(
        self,
        containers: Containers,
        peers: Peers,
        hypervisor: Hypervisor,
        exits: Exits,
        kernels: Kernels,
        modes: StartModes,
        tethers: TetherPlace,
    ) -> None:
        self._containers = containers
        self._peers = peers
        self._hypervisor = hypervisor
        self._exits = exits
        self._kernels = kernels
        self._modes = modes
        self._tethers = tethers
        self._room = Room(hypervisor)
        self._taken = Taken(containers, exits)
        self.give_volumes: Callable[[str], Awaitable[bool]] = _has_none
        """Has a container's utility VM give its volumes up; set by who has these."""
        # Starts since the service came up; a cold boot is never silent.
        self.starts: Counter[StartKind] = Counter()

    async def start(self, former: Record) -> Record:
        """Start a container and return its new record, which says that it runs.

        Where it fails no VM is left, and the record says that it is starting.
        """
        fresh = replace(former, state=State.STARTING, error="", exit_code=0, oom_killed=False)
        return await come_up(fresh.id, lambda attempt: self._boot(fresh, attempt))

    async def _boot(self, fresh: Record, attempt: Attempt) -> Record:
        """Try once, under a boot ID of its own: no hypervisor launches again what has ended."""
        record = replace(fresh, boot_id=uuid.uuid4().hex)
        self._exits.expect(record.boot_id)
        try:
            async with AsyncExitStack() as undo:
                with self._blaming_nobody(record.boot_id):
                    running = await self._launch(record, undo, attempt)
                await self._containers.update(
                    running, [event(running, exec_pb2.EVENT_KIND_START)], expect=record
                )
                undo.pop_all()
        except BaseException:
            self._exits.forget(record.boot_id)
            raise
        finally:
            if isinstance(self._hypervisor, CanKeepReady):
                self._hypervisor.settled(record.boot_id)
        self._exits.settle(record.boot_id)
        return running

    @contextmanager
    def _blaming_nobody(self, boot_id: str) -> Iterator[None]:
        """Let what fails since somebody wants the VM ended be that, and no clone's fault."""
        try:
            yield
        except Exception:
            self._exits.check_wanted(boot_id)
            raise

    async def _launch(self, record: Record, undo: AsyncExitStack, attempt: Attempt) -> Record:
        """Take what the VM needs, bring it up, and return the record of what runs in it."""
        if uses_volumes(record.spec):
            undo.push_async_callback(self._undo_attach, record)
        disk_request = disk_pb2.DiskServiceGetRequest(container_id=record.id)
        reservation_request = network_pb2.GetReservationRequest(container_id=record.id)
        async with asyncio.TaskGroup() as group:
            # On record before there is a VM, so that after a crash the reconciler knows of it.
            group.create_task(self._containers.update(record))
            disk = group.create_task(_response(self._peers.disks.Get(disk_request)))
            reservation = group.create_task(
                _response(self._peers.network.GetReservation(reservation_request))
            )
            tether_endpoint = group.create_task(self._tethers.endpoint())
            attached = group.create_task(self._attach(record))
            kernel = group.create_task(self._kernels.of(record.spec))
            asked_cold = group.create_task(self._modes.cold(record.spec.labels))
        endpoints = list(reservation.result().endpoints)
        _check_networks(record, endpoints)
        machine = MachineSpec(
            container_id=record.id,
            boot_id=record.boot_id,
            spec=record.spec,
            disk=disk.result().disk,
            endpoints=endpoints,
            tether_endpoint=tether_endpoint.result(),
            tether_server_name=self._tethers.server_name,
            cold=attempt is Attempt.BOOT or asked_cold.result(),
            kernel=kernel.result(),
            volumes=attached.result(),
            first_start=not record.started_ns,
        )
        undo.push_async_callback(self._undo_bind, record)
        # A port that somebody else has is told before there is a VM.
        published = await self._taken.once_free(
            lambda: publish(self._peers, record), Reason.PORT_IN_USE
        )
        # Who waits for what another has still keeps no place from those who could start.
        async with self._room.place():
            created, response = await self._bring_up(record, machine, undo, attempt)
        self.starts[created.kind] += 1
        return replace(
            record,
            state=State.RUNNING,
            pid=created.pid,
            # The end of the run before stays known, as dockerd has it.
            started_ns=response.started_at.ToNanoseconds(),
            vm=self._hypervisor.size(record.spec.resources),
            start_kind=created.kind.value,
            # The guest's own word.
            kernel_release=response.kernel_release[:KERNEL_RELEASE_CHARACTERS],
            endpoints=tuple(container_endpoints(endpoints)),
            published_ports=published,
        )

    async def _bring_up(
        self, record: Record, machine: MachineSpec, undo: AsyncExitStack, attempt: Attempt
    ) -> tuple[CreatedMachine, process_pb2.LaunchResponse]:
        """Make the VM, let it run, and run the init process in it."""
        undo.push_async_callback(self._undo_create, record)
        self._exits.check_wanted(record.boot_id)
        created = await self._create(machine)
        if created.tether_id:
            undo.push_async_callback(release_place, self._peers, created.tether_id)
        self._exits.check_wanted(record.boot_id)
        early = len(machine.endpoints) <= EARLY_NICS
        async with asyncio.TaskGroup() as group:
            if created.tether_id and early:
                # It is connected already, and its guest has a disk to mount meanwhile: what waits
                # for its networks is the process alone.
                launched = group.create_task(self._bind_and_launch(record, created.tether_id))
                await self._hypervisor.load(record.id, record.boot_id)
            else:
                # Interaction takes the boot in while nothing of it runs, and waits for its tether.
                launched = group.create_task(self._launch_init(record, created.tether_id))
                await self._load_and_bind(record, created.tether_id, at_once=early)
            await self._hypervisor.run(record.id, record.boot_id)
            if created.kind is StartKind.READY_CLONE and attempt is Attempt.FIRST:
                await asyncio.wait({launched}, timeout=READY_SECONDS)
                if not launched.done():
                    await self._hypervisor.check_awake(record.id, record.boot_id)
        return created, launched.result()

    async def _attach(self, record: Record) -> list[volume_pb2.AttachedDisk]:
        """Take the container's volumes for this boot's VM.

        Waits for those of a container that has ended and whose VM is about to be gone.
        """
        if not uses_volumes(record.spec):
            return []
        request = volume_pb2.AttachRequest(container_id=record.id, boot_id=record.boot_id)
        response = await self._taken.once_free(
            lambda: self._peers.volumes.Attach(request), Reason.VOLUME_ATTACHED, self.give_volumes
        )
        return list(response.disks)

    async def _undo_attach(self, record: Record) -> None:
        """Give the volumes back where no VM can have them."""
        try:
            await self._hypervisor.destroy(record.id, record.boot_id)
            await self._peers.volumes.Detach(
                volume_pb2.DetachRequest(container_id=record.id, boot_id=record.boot_id)
            )
        except VicError as error:
            # The reconciler does it when it is sure.
            self._exits.doubt.set()
            log.warning("the volumes of %s may be attached still: %s", record.id, error.message)

    async def _create(self, machine: MachineSpec) -> CreatedMachine:
        try:
            return await self._hypervisor.create(machine)
        except AlreadyExists:
            # Of a start that failed and could not end its VM. Nobody wants it: it's our turn.
            await self._hypervisor.destroy(machine.container_id)
            return await self._hypervisor.create(machine)

    async def _undo_create(self, record: Record) -> None:
        try:
            await self._hypervisor.destroy(record.id, record.boot_id)
        except VicError as error:
            # Why the start failed says more. The reconciler ends a VM that nobody owns.
            self._exits.doubt.set()
            log.warning("the VM of %s may be left: %s", record.id, error.message)

    async def _bind_and_launch(self, record: Record, tether_id: str) -> process_pb2.LaunchResponse:
        """Have the init process run in a VM that runs already, once its NICs are connected."""
        await self._bind(record, tether_id)
        return await self._launch_init(record, tether_id)

    async def _load_and_bind(self, record: Record, tether_id: str, *, at_once: bool) -> None:
        """Complete a VM whose CPUs stand still; with ``at_once`` all its NICs are there before."""
        if not at_once:
            await self._hypervisor.load(record.id, record.boot_id)
            await self._bind(record, tether_id)
            return
        async with asyncio.TaskGroup() as connecting:
            connecting.create_task(self._hypervisor.load(record.id, record.boot_id))
            connecting.create_task(self._bind(record, tether_id))

    async def _bind(self, record: Record, tether_id: str) -> None:
        """Put the VM's NICs on their networks."""
        request = network_pb2.BindRequest(container_id=record.id, management_of=tether_id)
        with place_lost(tether_id):
            bound = (await self._peers.network.Bind(request)).endpoints
        _check_networks(record, bound)

    async def _undo_bind(self, record: Record) -> None:
        try:
            await self._peers.network.Unbind(network_pb2.UnbindRequest(container_id=record.id))
        except VicError as error:
            # Its taps go with the VM, and network sees that by itself; its ports are kept for it.
            log.warning("%s may be bound still: %s", record.id, error.message)

    async def _launch_init(self, record: Record, tether_id: str) -> process_pb2.LaunchResponse:
        """Ask interaction to run the init process; a VM that ends meanwhile ends the wait."""
        process = init_process(record.spec)
        request = process_pb2.LaunchRequest(
            container_id=record.id,
            boot_id=record.boot_id,
            process_id=INIT,
            process=process,
            limits=workload_limits(record.spec.resources),
            sandbox=record.spec.sandbox,
            health=probe(record.spec, process),
            tether_id=tether_id,
        )
        if self._exits.gone(record.boot_id).is_set():
            # No process can have run in it.
            raise ended_early(tether_id)
        launch = asyncio.ensure_future(self._ask_to_launch(request))
        gone = asyncio.ensure_future(self._exits.gone(record.boot_id).wait())
        try:
            await asyncio.wait({launch, gone}, return_when=asyncio.FIRST_COMPLETED)
            # A short process may have run and ended, with its VM, before we were told that it runs:
            # interaction knows. It answers as soon as it hears of the end of a boot that it has
            # taken in, which it may be about to.
            retire = process_pb2.RetireRequest(container_id=record.id, boot_id=record.boot_id)
            while not launch.done():
                await self._peers.processes.Retire(retire)
                await asyncio.wait({launch}, timeout=RETIRE_AGAIN_SECONDS)
            try:
                return await launch
            except VicError as error:
                if not gone.done() or error.reason is Reason.LAUNCH_FAILED:
                    raise
                raise ended_early() from error
        finally:
            for future in (launch, gone):
                future.cancel()

    async def _ask_to_launch(
        self, request: process_pb2.LaunchRequest
    ) -> process_pb2.LaunchResponse:
        try:
            return await self._peers.processes.Launch(request, timeout=TETHER_SECONDS)
        except Unavailable as error:
            if error.reason is not Reason.SERVICE_UNAVAILABLE:
                raise
            # Interaction is being restarted; the same request again is the same launch.
            log.info("asking again to launch %s: %s", request.container_id, error.message)
        return await self._peers.processes.Launch(
            request, timeout=TETHER_SECONDS, wait_for_ready=True
        )


async def _has_none(container_id: str) -> bool:
    """No container has a utility VM."""
    return False


def _check_networks(record: Record, endpoints: Iterable[network_pb2.Endpoint]) -> None:
    """Raise NotFound (NETWORK_NOT_FOUND) where a network was removed while the container stood."""
    there = {endpoint.network_id for endpoint in endpoints}
    for endpoint in record.endpoints:
        if endpoint.network_id not in there:
            raise NotFound(
                f"failed to set up container networking: network {endpoint.network_id} not found",
                Reason.NETWORK_NOT_FOUND,
                network_id=endpoint.network_id,
            )


async def _response(call: Awaitable[T]) -> T:
    """Await a call as a coroutine, which is what a task is made of."""
    return await call

"""Create: a saga over storage, network and interaction, undone in reverse when a step fails."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

from vic.exec.v1 import container_pb2, exec_pb2
from vic.interaction.v1 import process_pb2
from vic.network.v1 import network_pb2
from vic.storage.v1 import disk_pb2, image_pb2, volume_pb2

from portlayer.errors import AlreadyExists, InvalidArgument, Reason, VicError
from services.exec.admission import Admission
from services.exec.drivers import Hypervisor
from services.exec.eventlog import EventLog
from services.exec.events import event
from services.exec.interfaces import Names, interface_names
from services.exec.kernels import Kernels
from services.exec.logdrivers import KEPT_BYTES, KEPT_FILES, LogDrivers, syslog_target
from services.exec.mounts import lend, parse_lender, volume_uses
from services.exec.names import is_container_id, new_container_id, random_name
from services.exec.operations import Turns, all_ended
from services.exec.peers import Peers
from services.exec.record import Record
from services.exec.sandbox import with_filter
from services.exec.spec import complete, validate
from services.exec.store import Containers

log = logging.getLogger("vic.exec.creation")

# Names are random; so many collisions in a row mean that something else is wrong.
NAME_ATTEMPTS = 20
# Made in some 20 ms each and deleted in as many, on disks that may be busy with others.
VOLUMES_SECONDS = 60.0


@dataclass(frozen=True)
class _Wish:
    """What is asked for, and what it is completed from."""

    spec: container_pb2.ContainerSpec
    image: image_pb2.Image
    borrowed: Sequence[container_pb2.Mount]
    """Volumes of other containers."""

    def named(self, container_id: str, name: str) -> container_pb2.ContainerSpec:
        """Return the whole specification of a container of this ID and name."""
        return complete(self.spec, self.image, container_id, name, self.borrowed)


class Creator:
    """Makes containers: record, disk, addresses, and interaction's knowledge of them."""

    def __init__(
        self,
        containers: Containers,
        admission: Admission,
        events: EventLog,
        turns: Turns,
        peers: Peers,
        hypervisor: Hypervisor,
        kernels: Kernels,
        log_drivers: LogDrivers,
        doubt: asyncio.Event,
    ) -> None:
        """``doubt`` is set when something is left that the reconciler has to give back."""
        self._doubt = doubt
        self._log_drivers = log_drivers
        self._containers = containers
        self._admission = admission
        self._kernels = kernels
        self._events = events
        self._turns = turns
        self._peers = peers
        self._hypervisor = hypervisor
        self._cpus = 0

    async def create(self, container_id: str, spec: container_pb2.ContainerSpec) -> Record:
        """Make a container and return its record. Errors as ExecService.Create says."""
        if container_id and not is_container_id(container_id):
            raise InvalidArgument(
                f"not a container ID: {container_id}: 64 hexadecimal digits are needed",
                Reason.INVALID_SPEC,
            )
        validate(spec, cpus=await self._host_cpus())
        await self._kernels.check(spec.kernel)
        spec = await self._log_drivers.complete(spec)
        if spec.seccomp_profile:
            spec = with_filter(spec, await self._kernels.release(spec))
        # What could never start is not made.
        await self._admission.check_possible(self._hypervisor.size(spec.resources))
        request = image_pb2.ImageServiceGetRequest(reference=spec.image, platform=spec.platform)
        image = (await self._peers.images.Get(request)).image
        wish = _Wish(spec, image, await self._borrow(spec.volumes_from))
        container_id = container_id or new_container_id()
        async with self._turns.turn(container_id):
            try:
                record = await self._reserve(container_id, wish)
            except AlreadyExists as error:
                if error.reason is not Reason.CONTAINER_EXISTS:
                    raise
                if (known := await self._known(container_id, wish)) is not None:
                    return known
                # A crash interrupted the call that this one repeats.
                await self.dismantle(container_id, remove_anonymous=True)
                await self._containers.delete(container_id)
                record = await self._reserve(container_id, wish)
            async with AsyncExitStack() as undo:
                undo.push_async_callback(self._undo, container_id)
                record = await self._furnish(record)
                await self._containers.complete(record, [event(record, exec_pb2.EVENT_KIND_CREATE)])
                undo.pop_all()
        self._events.announce(record.id)
        return record

    async def _undo(self, container_id: str) -> None:
        """Give back what a create took, the ID and name last.

        Where that can't be, those are kept, so that the reconciler finds the rest and nobody takes
        its disk for a container's whose record was lost.
        """
        try:
            await self.dismantle(container_id, remove_anonymous=True)
        except VicError:
            # Said by dismantle; why the create failed says more to its caller.
            self._doubt.set()
            return
        await self._containers.delete(container_id)

    async def _host_cpus(self) -> int:
        if not self._cpus:
            self._cpus = (await self._hypervisor.info()).cpus
        return self._cpus

    async def _borrow(self, lenders: Iterable[str]) -> list[container_pb2.Mount]:
        """Return the volumes of other containers. Raises NotFound (CONTAINER_NOT_FOUND)."""
        borrowed: list[container_pb2.Mount] = []
        for text in lenders:
            reference, read_only = parse_lender(text)
            lender = await self._containers.resolve(reference)
            borrowed += lend(lender.spec.mounts, read_only=read_only)
        return borrowed

    async def _known(self, container_id: str, wish: _Wish) -> Record | None:
        """Return the container that an earlier call of the same ID made."""
        record = await self._containers.get(container_id)
        if record is None:
            return None
        if wish.named(container_id, wish.spec.name or record.name) == record.spec:
            return record
        raise AlreadyExists(
            f"container {container_id} exists and is not what was asked for",
            Reason.CONTAINER_EXISTS,
        )

    async def _reserve(self, container_id: str, wish: _Wish) -> Record:
        """Take the ID and a name, which decides races: exactly one caller gets a name."""
        for attempt in range(NAME_ATTEMPTS):
            name = wish.spec.name or random_name()
            record = Record(
                id=container_id,
                name=name,
                spec=wish.named(container_id, name),
                created_ns=time.time_ns(),
            )
            try:
                await self._containers.reserve(record, self._admission.disk_bytes)
            except AlreadyExists as error:
                last = attempt == NAME_ATTEMPTS - 1
                if wish.spec.name or error.reason is not Reason.NAME_IN_USE or last:
                    raise
            else:
                return record
        raise AssertionError("unreachable")

    async def _furnish(self, record: Record) -> Record:
        """Prepare disk, addresses, volumes and streams at once; none needs another's result.

        Where one fails, the others are waited for: what went on beside its own undoing would stay,
        and the reconciler take a disk for that of a container whose record was lost.
        """
        container_id = record.id

        async def disk() -> disk_pb2.Disk:
            request = disk_pb2.PrepareRequest(
                container_id=container_id,
                image=record.spec.image_id,
                specification=record.specification(),
            )
            return (await self._peers.disks.Prepare(request)).disk

        prepared = asyncio.create_task(disk())
        reserved = asyncio.create_task(self.reserve_endpoints(record))
        registered = asyncio.create_task(self.register(record))
        lent = asyncio.create_task(self.reserve_volumes(record))
        await all_ended(prepared, reserved, registered, lent)
        return replace(
            record,
            endpoints=reserved.result(),
            disk_chain_length=len(prepared.result().chain),
        )

    async def reserve_endpoints(
        self, record: Record
    ) -> tuple[container_pb2.ContainerEndpoint, ...]:
        """Give a container its addresses, or return those that it has."""
        request = network_pb2.ReserveRequest(
            container_id=record.id,
            container_name=record.name,
            hostname=record.spec.hostname,
            dns_servers=record.spec.dns.servers,
            endpoints=map(endpoint_request, record.spec.networks),
        )
        reserved = await self._peers.network.Reserve(request)
        return tuple(container_endpoints(reserved.endpoints))

    async def reserve_volumes(self, record: Record) -> None:
        """Let a container use its volumes, which are made where they aren't there."""
        if uses := volume_uses(record.spec):
            await self._peers.volumes.Reserve(
                volume_pb2.ReserveRequest(container_id=record.id, volumes=uses),
                timeout=VOLUMES_SECONDS,
            )

    async def register(self, record: Record) -> None:
        """Make a container known to interaction."""
        spec = record.spec
        syslog = syslog_target(record)
        await self._peers.processes.Register(
            process_pb2.RegisterRequest(
                container_id=record.id,
                discard_logs=spec.log.driver == container_pb2.LOG_DRIVER_NONE,
                log_max_size_bytes=spec.log.max_size_bytes or (KEPT_BYTES if syslog else 0),
                log_max_files=spec.log.max_files or (KEPT_FILES if syslog else 0),
                syslog=syslog,
                tty=spec.process.tty,
                open_stdin=spec.process.stdin,
                stdin_once=spec.stdio.stdin_once,
            )
        )

    async def dismantle(
        self, container_id: str, *, volumes: bool = True, remove_anonymous: bool = False
    ) -> None:
        """Give back what a container has in the other facets; without ``volumes`` it has none.

        ``remove_anonymous``: volumes that were made for it alone go as well. All is tried; the
        first failure is raised when all have ended. Idempotent, also for what was never made.
        """
        peers = self._peers
        steps: list[Callable[[], Awaitable[object]]] = [
            lambda: peers.disks.Remove(
                disk_pb2.DiskServiceRemoveRequest(container_id=container_id)
            ),
            lambda: peers.network.Release(network_pb2.ReleaseRequest(container_id=container_id)),
            lambda: peers.processes.Unregister(
                process_pb2.UnregisterRequest(container_id=container_id)
            ),
        ]
        if volumes:
            release = volume_pb2.ReleaseRequest(
                container_id=container_id, remove_anonymous=remove_anonymous
            )
            steps.append(lambda: peers.volumes.Release(release, timeout=VOLUMES_SECONDS))

        async def attempt(step: Callable[[], Awaitable[object]]) -> VicError | None:
            try:
                await step()
            except VicError as error:
                log.warning("cannot dismantle %s: %s", container_id, error.message)
                return error
            return None

        failures = [f for f in await asyncio.gather(*map(attempt, steps)) if f is not None]
        if failures:
            raise failures[0]


def endpoint_request(
    attachment: container_pb2.NetworkAttachment,
) -> network_pb2.EndpointRequest:
    """Return the wish for an endpoint that a specification's attachment is."""
    return network_pb2.EndpointRequest(
        network=attachment.network,
        ipv4_address=attachment.ipv4_address,
        ipv6_address=attachment.ipv6_address,
        mac_address=attachment.mac_address,
        aliases=attachment.aliases,
        gateway_priority=attachment.gateway_priority,
        links=attachment.links,
    )


def container_endpoints(
    endpoints: Sequence[network_pb2.Endpoint], known: Names | None = None
) -> list[container_pb2.ContainerEndpoint]:
    """Return what a container's inspection shows of its endpoints; the management one is hidden.

    ``known`` are names of interfaces that it has already.
    """
    names = interface_names(endpoints, known)
    return [
        container_pb2.ContainerEndpoint(
            network_id=endpoint.network_id,
            network_name=endpoint.network_name,
            endpoint_id=endpoint.id,
            mac_address=endpoint.mac_address,
            ipv4_address=endpoint.ipv4_address,
            ipv4_prefix_length=endpoint.ipv4_prefix_length,
            ipv4_gateway=endpoint.ipv4_gateway,
            external=endpoint.external,
            ipv6_address=endpoint.ipv6_address,
            ipv6_prefix_length=endpoint.ipv6_prefix_length,
            ipv6_gateway=endpoint.ipv6_gateway,
            aliases=endpoint.aliases,
            interface_name=names.get(endpoint.id, ""),
        )
        for endpoint in endpoints
        if not endpoint.management
    ]

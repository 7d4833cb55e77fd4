"""Connect and disconnect: the networks of a container, whether it runs or not."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

from vic.exec.v1 import container_pb2
from vic.network.v1 import network_pb2

from portlayer.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    NotImplementedYet,
    Reason,
    VicError,
)
from services.exec.creation import container_endpoints, endpoint_request
from services.exec.drivers import CanPlugNics, Surroundings
from services.exec.interfaces import interface_names, known_names
from services.exec.parts import Parts, check_record
from services.exec.ports import publish
from services.exec.record import Record
from services.exec.states import State, Verb

log = logging.getLogger("vic.exec.networking")

NO_NETWORK = "none"


@dataclass(frozen=True)
class _Vm:
    """The VM of a container that runs, as far as its networks are concerned."""

    record: Record
    hypervisor: CanPlugNics

    def around(self, endpoints: Sequence[network_pb2.Endpoint]) -> Surroundings:
        """Return what its guest is to have with these endpoints."""
        names = interface_names(endpoints, known_names(self.record.endpoints))
        return Surroundings(self.record.spec, endpoints, names)

    def shown(
        self, endpoints: Sequence[network_pb2.Endpoint]
    ) -> tuple[container_pb2.ContainerEndpoint, ...]:
        """Return what inspection shows of these endpoints."""
        return tuple(container_endpoints(endpoints, known_names(self.record.endpoints)))

    async def surround(self, endpoints: Sequence[network_pb2.Endpoint]) -> None:
        """Let its guest have the interfaces of these endpoints."""
        # One that is paused takes it in when it goes on.
        wait = self.record.state is not State.PAUSED
        record = self.record
        around = self.around(endpoints)
        await self.hypervisor.surround(record.id, record.boot_id, around, wait=wait)

    async def unplug(self, endpoint: network_pb2.Endpoint) -> None:
        """Take the NIC of an endpoint away."""
        await self.hypervisor.unplug(self.record.id, self.record.boot_id, endpoint)


class Networking:
    """Puts containers into networks, and takes them out."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._network = parts.peers.network

    async def connect(
        self, container_id: str, attachment: container_pb2.NetworkAttachment
    ) -> Record:
        """Put a container into one more network. Errors as ExecService.ConnectNetwork says."""
        validate_attachment(attachment)
        async with self._parts.turns.turn(container_id):
            record = await self._parts.current(container_id)
            check_record(Verb.CONNECT, record)
            vm = self._vm(record)
            known = find_endpoint(record, attachment.network)
            if known is not None and vm is not None:
                raise AlreadyExists(
                    f"endpoint with name {record.name} already exists in network "
                    f"{known.network_name}",
                    Reason.ENDPOINT_EXISTS,
                )
            if known is None:
                _check_none(record, attachment.network)
            elif _wishes_nothing(attachment) and await self._is_there(known.network_id):
                # As with dockerd it keeps the address and the aliases that it has there.
                return record
            async with AsyncExitStack() as undo:
                former = record
                if known is not None:
                    # One that doesn't run has other wishes from now on.
                    undo.push_async_callback(self._join_again, record, known)
                    await self._leave(record, known.network_id)
                    former = without(record, known)
                joined = await self._join(former, attachment, vm, undo)
                await self._write_beside(record, joined, undo)
                written = await self._write(record, joined)
                undo.pop_all()
            return written

    async def _is_there(self, network_id: str) -> bool:
        """Tell whether a network is still the one that it was."""
        try:
            await self._network.Get(network_pb2.GetRequest(reference=network_id))
        except NotFound:
            return False
        return True

    async def _is_none(self, reference: str) -> bool:
        """Tell whether a name or an ID is that of the network of what has none."""
        if reference == NO_NETWORK:
            return True
        try:
            request = network_pb2.GetRequest(reference=reference)
            return (await self._network.Get(request)).network.name == NO_NETWORK
        except NotFound:
            return False

    async def disconnect(self, container_id: str, reference: str) -> Record:
        """Take a container out of a network. Errors as ExecService.DisconnectNetwork says."""
        async with self._parts.turns.turn(container_id):
            record = await self._parts.current(container_id)
            check_record(Verb.DISCONNECT, record)
            known = find_endpoint(record, reference)
            if known is None and _isolated(record) and await self._is_none(reference):
                spec = container_pb2.ContainerSpec()
                spec.CopyFrom(record.spec)
                spec.none_left = True
                left = replace(record, spec=spec)
                async with AsyncExitStack() as undo:
                    await self._write_beside(record, left, undo)
                    written = await self._write(record, left)
                    undo.pop_all()
                return written
            if known is None:
                if self._vm(record) is not None:
                    # As dockerd: of one that runs the network is looked for first.
                    await self._network.Get(network_pb2.GetRequest(reference=reference))
                raise FailedPrecondition(
                    f"container {record.id} is not connected to the network {reference}",
                    Reason.NOT_CONNECTED,
                )
            vm = self._vm(record)
            left = without(record, known)
            async with AsyncExitStack() as undo:
                await self._write_beside(record, left, undo)
                if vm is None:
                    await self._leave(record, known.network_id)
                else:
                    left = await self._leave_running(vm, left, known)
                undo.pop_all()
            return await self._write(record, left)

    async def _join(
        self,
        record: Record,
        attachment: container_pb2.NetworkAttachment,
        vm: _Vm | None,
        undo: AsyncExitStack,
    ) -> Record:
        """Give a container an endpoint, and its VM, where it has one, an interface."""
        if vm is not None:
            undo.push_async_callback(self._lead_ports_back, record)
        request = network_pb2.ConnectRequest(
            container_id=record.id, endpoint=endpoint_request(attachment)
        )
        response = await self._network.Connect(request)
        undo.push_async_callback(self._leave_again, record, response.endpoint.network_id)
        spec = container_pb2.ContainerSpec()
        spec.CopyFrom(record.spec)
        spec.networks.append(attachment)
        if vm is None:
            return replace(
                record, spec=spec, endpoints=tuple(container_endpoints(response.endpoints))
            )
        if response.endpoint.mac_address:
            await self._plug(vm, response, undo)
        joined = replace(record, spec=spec, endpoints=vm.shown(response.endpoints))
        return replace(joined, published_ports=await self._lead_ports(joined))

    async def _plug(
        self, vm: _Vm, response: network_pb2.ConnectResponse, undo: AsyncExitStack
    ) -> None:
        """Give a VM the NIC of an endpoint, on its network, and its guest the addresses."""
        record, endpoint = vm.record, response.endpoint
        undo.push_async_callback(_attempt, "unplug a NIC", vm.unplug, endpoint)
        await vm.hypervisor.plug(record.id, record.boot_id, endpoint)
        await self._network.Bind(network_pb2.BindRequest(container_id=record.id))
        others = [e for e in response.endpoints if e.id != endpoint.id]
        undo.push_async_callback(_attempt, "take back an interface", vm.surround, others)
        await vm.surround(response.endpoints)

    async def _leave_running(
        self, vm: _Vm, left: Record, known: container_pb2.ContainerEndpoint
    ) -> Record:
        """Take a network from a VM, whatever its guest has to say of that."""
        request = network_pb2.GetReservationRequest(container_id=left.id)
        endpoints = (await self._network.GetReservation(request)).endpoints
        others = [e for e in endpoints if e.network_id != known.network_id]
        await _attempt("take an interface from the guest", vm.surround, others)
        await self._leave(left, known.network_id)
        for endpoint in endpoints:
            if endpoint.network_id == known.network_id and endpoint.mac_address:
                await _attempt("unplug a NIC", vm.unplug, endpoint)
        now = (await self._network.GetReservation(request)).endpoints
        shown = replace(left, endpoints=vm.shown(now))
        return replace(shown, published_ports=await self._lead_ports(shown))

    async def _leave(self, record: Record, network_id: str) -> None:
        request = network_pb2.DisconnectRequest(container_id=record.id, network=network_id)
        try:
            await self._network.Disconnect(request)
        except NotFound as error:
            # The network is gone, and whoever was in it with it.
            log.info("%s leaves what is not there: %s", record.id, error.message)

    async def _leave_again(self, record: Record, network_id: str) -> None:
        await _attempt("leave a network again", self._leave, record, network_id)

    async def _join_again(self, record: Record, known: container_pb2.ContainerEndpoint) -> None:
        attachment = attachment_of(record.spec, known)
        request = network_pb2.ConnectRequest(
            container_id=record.id, endpoint=endpoint_request(attachment)
        )
        await _attempt("join a network again", self._network.Connect, request)

    async def _lead_ports(self, record: Record) -> tuple[container_pb2.PortBinding, ...]:
        """Let published ports lead to where the container's default route is now."""
        try:
            return await publish(self._parts.peers, record)
        except VicError as error:
            # As with Docker: it has them again when it can be reached.
            log.info("%s is without its ports: %s", record.id, error.message)
        request = network_pb2.UnpublishRequest(container_id=record.id)
        await self._network.Unpublish(request)
        return ()

    async def _lead_ports_back(self, record: Record) -> None:
        await _attempt("lead ports back", self._lead_ports, record)

    async def _write_beside(self, record: Record, now: Record, undo: AsyncExitStack) -> None:
        undo.push_async_callback(
            _attempt, "describe it as it was", self._parts.put_specification, record
        )
        await self._parts.put_specification(now)

    async def _write(self, record: Record, now: Record) -> Record:
        """Write what a container is in now, also where it has ended meanwhile."""
        if await self._parts.containers.update(now, expect=record):
            return now
        ended = replace(
            await self._parts.current(record.id), spec=now.spec, endpoints=now.endpoints
        )
        await self._parts.containers.update(ended)
        return ended

    def _vm(self, record: Record) -> _Vm | None:
        """Return the VM of a container that runs. Raises NotImplementedYet."""
        if not record.state.has_vm:
            return None
        hypervisor = self._parts.hypervisor
        if not isinstance(hypervisor, CanPlugNics):
            what = "changing the networks of a container that runs, on this hypervisor"
            raise NotImplementedYet(f"{what}: not implemented", option=what)
        return _Vm(record, hypervisor)


def validate_attachment(attachment: container_pb2.NetworkAttachment) -> None:
    """Raise InvalidArgument (INVALID_SPEC) for what can't be had."""
    if not attachment.network:
        raise InvalidArgument("no network is named", Reason.INVALID_SPEC)


def find_endpoint(record: Record, reference: str) -> container_pb2.ContainerEndpoint | None:
    """Return a container's endpoint in the network of a name, an ID, or a prefix of an ID."""
    for endpoint in record.endpoints:
        if reference in (endpoint.network_name, endpoint.network_id):
            return endpoint
    matching = [e for e in record.endpoints if reference and e.network_id.startswith(reference)]
    return matching[0] if len(matching) == 1 else None


def attachment_of(
    spec: container_pb2.ContainerSpec, endpoint: container_pb2.ContainerEndpoint
) -> container_pb2.NetworkAttachment:
    """Return what was asked for when an endpoint was made."""
    for attachment in spec.networks:
        if attachment.network in (endpoint.network_name, endpoint.network_id):
            return attachment
    for attachment in spec.networks:
        if endpoint.network_id.startswith(attachment.network):
            return attachment
    return container_pb2.NetworkAttachment(network=endpoint.network_id)


def without(record: Record, endpoint: container_pb2.ContainerEndpoint) -> Record:
    """Return the record of a container that is no longer in the network of an endpoint."""
    spec = container_pb2.ContainerSpec()
    spec.CopyFrom(record.spec)
    attachment = attachment_of(spec, endpoint)
    if attachment in spec.networks:
        spec.networks.remove(attachment)
    others = tuple(e for e in record.endpoints if e.endpoint_id != endpoint.endpoint_id)
    if spec.network_mode == NO_NETWORK and not others:
        # It was not made to be in none: it may join another one.
        spec.none_left = True
    return replace(record, spec=spec, endpoints=others)


def _wishes_nothing(attachment: container_pb2.NetworkAttachment) -> bool:
    """Tell whether nothing is asked for but the network."""
    return attachment == container_pb2.NetworkAttachment(network=attachment.network)


def _isolated(record: Record) -> bool:
    """Tell whether a container is in no network because it was made so."""
    made_so = record.spec.network_mode == NO_NETWORK and not record.spec.none_left
    return made_so and not record.endpoints


def _check_none(record: Record, network: str) -> None:
    """Refuse what Docker refuses of a container in no network at all."""
    if _isolated(record) or (network == NO_NETWORK and record.endpoints):
        raise InvalidArgument(
            "container cannot be connected to multiple networks with one of the networks in "
            "private (none) mode",
            Reason.INVALID_NETWORK,
        )


async def _attempt(what: str, work: Callable[..., Awaitable[object]], *args: object) -> None:
    """Do what may fail without harm: what it leaves ends with the container's VM."""
    try:
        await work(*args)
    except VicError as error:
        log.warning("cannot %s: %s", what, error.message)

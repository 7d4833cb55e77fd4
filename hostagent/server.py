"""The RPC shell: decode, call, encode."""

import os
from collections.abc import AsyncIterator
from typing import Any

import grpc
from vic.hostagent.v1 import hostagent_pb2 as pb
from vic.hostagent.v1 import hostagent_pb2_grpc

from hostagent import convert
from hostagent.agent import HostAgent
from hostagent.launching import machine_not_found
from hostagent.machine import Nic, check_name
from hostagent.outputs import LARGEST_CONSOLE, Outputs
from portlayer.identity import Role
from portlayer.interceptors import Access
from portlayer.server import rpc_names

Context = grpc.aio.ServicerContext[Any, Any]

SERVICE = pb.DESCRIPTOR.services_by_name["HostAgentService"]

# exec drives machines; the installer asks what runs and ends what `vic down` must end. Nobody else
# has any business here.
_LOOKING = ("Info", "Get", "List", "GetConsole", "ListParents")
ACCESS: Access = {
    **dict.fromkeys(rpc_names(SERVICE), frozenset({Role.EXEC})),
    **{
        f"/{SERVICE.full_name}/{name}": frozenset({Role.EXEC, Role.INSTALLER})
        for name in (*_LOOKING, "Kill")
    },
}


class HostAgentServicer(hostagent_pb2_grpc.HostAgentServiceServicer):
    """See hostagent.proto for what each call does."""

    def __init__(self, agent: HostAgent, outputs: Outputs, memory_limit: int) -> None:
        """``memory_limit`` is what all machines together may use, in bytes; 0 is no bound."""
        self._agent = agent
        self._outputs = outputs
        self._memory_limit = memory_limit

    async def Info(self, request: pb.InfoRequest, context: Context) -> pb.InfoResponse:
        """Answer HostAgentService.Info."""
        host = self._agent.host
        response = pb.InfoResponse(
            instance_id=host.instance_id,
            qemu_version=await host.qemu.version(),
            host_cpus=os.cpu_count() or 1,
            host_memory_bytes=host_memory(),
            memory_limit_bytes=self._memory_limit,
            machines=len(self._agent.inventory.live()),
            parents=len(list(self._agent.parents)),
            warnings=await self._agent.warnings(),
            allocation=convert.allocation_to_proto(host.claims.own),
            memory_reserved_by_others_bytes=sum(
                other.memory_bytes for other in host.claims.others()
            ),
            memory_protected=host.groups.protects_memory,
        )
        images, names = host.bootstraps.list(), host.bootstraps.names()
        response.bootstraps.extend(
            pb.Bootstrap(
                digest=image.digest,
                kernel_release=image.kernel_release,
                names=names.of(image.digest),
                default=image.digest == names.default,
            )
            for image in images
        )
        verdict = host.accelerator.verdict
        if images:
            verdict = await self._agent.verdict(images[0])
        if verdict is None:
            response.accelerator_reason = "not tried yet: there is no bootstrap image"
        else:
            response.accelerator = convert.accelerator_to_proto(verdict.accelerator)
            response.accelerator_reason = verdict.reason
        return response

    async def GetShape(self, request: pb.GetShapeRequest, context: Context) -> pb.GetShapeResponse:
        """Answer HostAgentService.GetShape."""
        key = await self._agent.shape_key(convert.shape_from_proto(request.shape))
        return pb.GetShapeResponse(shape_key=key)

    async def Launch(self, request: pb.LaunchRequest, context: Context) -> pb.LaunchResponse:
        """Answer HostAgentService.Launch."""
        machine, fingerprint = convert.machine_from_proto(request.machine)
        record = await self._agent.launch(
            machine, fingerprint, request.ready_id, request.template_id
        )
        return pb.LaunchResponse(machine=convert.record_to_proto(record))

    async def Kill(self, request: pb.KillRequest, context: Context) -> pb.KillResponse:
        """Answer HostAgentService.Kill."""
        await self._agent.kill(
            request.machine_id, request.launch_id, wait=not request.without_waiting
        )
        return pb.KillResponse()

    async def Reweigh(self, request: pb.ReweighRequest, context: Context) -> pb.ReweighResponse:
        """Answer HostAgentService.Reweigh."""
        self._agent.reweigh(request.machine_id, request.launch_id, request.cpu_weight)
        return pb.ReweighResponse()

    async def SetClock(self, request: pb.SetClockRequest, context: Context) -> pb.SetClockResponse:
        """Answer HostAgentService.SetClock."""
        self._agent.set_clock(request.machine_id, request.launch_id)
        return pb.SetClockResponse()

    async def PlugNic(self, request: pb.PlugNicRequest, context: Context) -> pb.PlugNicResponse:
        """Answer HostAgentService.PlugNic."""
        nic = Nic(request.nic.tap_name, request.nic.mac_address)
        await self._agent.plug(request.machine_id, request.launch_id, nic)
        return pb.PlugNicResponse()

    async def UnplugNic(
        self, request: pb.UnplugNicRequest, context: Context
    ) -> pb.UnplugNicResponse:
        """Answer HostAgentService.UnplugNic."""
        await self._agent.unplug(request.machine_id, request.launch_id, request.tap_name)
        return pb.UnplugNicResponse()

    async def Surround(self, request: pb.SurroundRequest, context: Context) -> pb.SurroundResponse:
        """Answer HostAgentService.Surround."""
        done = await self._agent.surround(
            request.machine_id,
            request.launch_id,
            convert.surroundings_from_proto(request),
            request.wait_milliseconds / 1000,
        )
        return pb.SurroundResponse(done=done)

    async def Allocate(self, request: pb.AllocateRequest, context: Context) -> pb.AllocateResponse:
        """Answer HostAgentService.Allocate."""
        self._agent.host.claims.set(convert.allocation_from_proto(request.allocation))
        return pb.AllocateResponse()

    async def Get(self, request: pb.GetRequest, context: Context) -> pb.GetResponse:
        """Answer HostAgentService.Get."""
        record = self._agent.get(request.machine_id)
        return pb.GetResponse(machine=convert.record_to_proto(record))

    async def List(self, request: pb.ListRequest, context: Context) -> pb.ListResponse:
        """Answer HostAgentService.List."""
        live = self._agent.inventory.live()
        machines = [convert.record_to_proto(machine.record) for machine in live]
        return pb.ListResponse(machines=machines)

    async def ReadCounters(
        self, request: pb.ReadCountersRequest, context: Context
    ) -> pb.ReadCountersResponse:
        """Answer HostAgentService.ReadCounters."""
        counters = await self._agent.counters()
        return pb.ReadCountersResponse(machines=map(convert.counters_to_proto, counters))

    async def Watch(
        self, request: pb.WatchRequest, context: Context
    ) -> AsyncIterator[pb.WatchResponse]:
        """Answer HostAgentService.Watch."""
        journal = self._agent.inventory.journal
        journal.check(request.after_sequence)
        yield pb.WatchResponse(started=pb.WatchStarted(sequence=journal.last))
        async for event in journal.after(request.after_sequence):
            yield pb.WatchResponse(event=convert.event_to_proto(event))

    async def Acknowledge(
        self, request: pb.AcknowledgeRequest, context: Context
    ) -> pb.AcknowledgeResponse:
        """Answer HostAgentService.Acknowledge."""
        self._agent.inventory.journal.forget(request.through_sequence)
        return pb.AcknowledgeResponse()

    async def GetConsole(
        self, request: pb.GetConsoleRequest, context: Context
    ) -> pb.GetConsoleResponse:
        """Answer HostAgentService.GetConsole."""
        check_name("machine_id", request.machine_id)
        longest = min(request.max_bytes or LARGEST_CONSOLE, LARGEST_CONSOLE)
        try:
            return pb.GetConsoleResponse(data=self._outputs.console(request.machine_id, longest))
        except FileNotFoundError:
            raise machine_not_found(request.machine_id) from None

    async def CreateParent(
        self, request: pb.CreateParentRequest, context: Context
    ) -> pb.CreateParentResponse:
        """Answer HostAgentService.CreateParent."""
        shape = convert.shape_from_proto(request.shape)
        parent = await self._agent.create_parent(request.parent_id, shape)
        return pb.CreateParentResponse(parent=convert.parent_to_proto(parent, current=True))

    async def SealParent(
        self, request: pb.SealParentRequest, context: Context
    ) -> pb.SealParentResponse:
        """Answer HostAgentService.SealParent."""
        parent = await self._agent.seal_parent(request.parent_id, request.device_state)
        current = await self._agent.is_current(parent)
        return pb.SealParentResponse(parent=convert.parent_to_proto(parent, current=current))

    async def RemoveParent(
        self, request: pb.RemoveParentRequest, context: Context
    ) -> pb.RemoveParentResponse:
        """Answer HostAgentService.RemoveParent."""
        await self._agent.remove_parent(request.parent_id)
        return pb.RemoveParentResponse()

    async def ListParents(
        self, request: pb.ListParentsRequest, context: Context
    ) -> pb.ListParentsResponse:
        """Answer HostAgentService.ListParents."""
        parents = [
            convert.parent_to_proto(parent, current=await self._agent.is_current(parent))
            for parent in self._agent.parents
        ]
        return pb.ListParentsResponse(parents=parents)


def host_memory() -> int:
    """Return the host's memory in bytes."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

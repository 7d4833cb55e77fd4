"""What the facets of a suite say of themselves, asked by gRPC."""

import asyncio

from vic.exec.v1 import exec_pb2, exec_pb2_grpc
from vic.hostagent.v1 import hostagent_pb2, hostagent_pb2_grpc

from installer.facets import facet_channel
from installer.instance import Instance
from portlayer.identity import Role


def machines(instance: Instance) -> dict[str, hostagent_pb2.RunningMachine]:
    """Return the running machines by container ID."""

    async def ask() -> hostagent_pb2.ListResponse:
        async with facet_channel(instance, Role.HOSTAGENT) as channel:
            stub = hostagent_pb2_grpc.HostAgentServiceStub(channel)
            return await stub.List(hostagent_pb2.ListRequest(), timeout=60)

    return {machine.machine_id: machine for machine in asyncio.run(ask()).machines}


def exec_info(instance: Instance) -> exec_pb2.InfoResponse:
    """Return what exec says of itself."""

    async def ask() -> exec_pb2.InfoResponse:
        async with facet_channel(instance, Role.EXEC) as channel:
            stub = exec_pb2_grpc.ExecServiceStub(channel)
            return await stub.Info(exec_pb2.InfoRequest(), timeout=60)

    return asyncio.run(ask())

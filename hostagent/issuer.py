"""The agent's part where it launches nothing: it issues what tethers are told, certificates too."""

from typing import Any

import grpc
from vic.hostagent.v1 import hostagent_pb2 as pb
from vic.hostagent.v1 import hostagent_pb2_grpc

from hostagent import convert
from hostagent.certificates import TetherAuthority
from hostagent.guestconfig import Names, whole_frame
from hostagent.machine import check_name, check_volumes
from portlayer.identity import Role
from portlayer.interceptors import Access
from portlayer.server import rpc_names

Context = grpc.aio.ServicerContext[Any, Any]

ISSUER = pb.DESCRIPTOR.services_by_name["IssuerService"]
# Who may have a tether's key is who makes its VM.
ISSUER_ACCESS: Access = dict.fromkeys(rpc_names(ISSUER), frozenset({Role.EXEC}))


class IssuerServicer(hostagent_pb2_grpc.IssuerServiceServicer):
    """See hostagent.proto for what each call does."""

    def __init__(self, instance_id: str, authority: TetherAuthority) -> None:
        self._instance_id = instance_id
        self._authority = authority

    # Named as the contract names it.
    async def Issue(self, request: pb.IssueRequest, context: Context) -> pb.IssueResponse:  # noqa: N802
        """Answer IssuerService.Issue."""
        check_name("container_id", request.container_id)
        check_name("boot_id", request.boot_id)
        guest = convert.guest_from_proto(request.guest)
        volumes = convert.volumes_from_proto(request.volumes)
        guest.check()
        check_volumes(guest, volumes)
        names = Names(self._instance_id, request.container_id, request.boot_id)
        return pb.IssueResponse(frame=whole_frame(names, guest, volumes, self._authority))

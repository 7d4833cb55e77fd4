"""Who acts by a turn that is another's by now is refused."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from vic.hostagent.v1 import hostagent_pb2, hostagent_pb2_grpc

from portlayer import fencing
from portlayer.client import open_channel
from portlayer.errors import InvalidArgument, Reason, TurnLost
from portlayer.fencing import KEY, Fences, Turn, admitted_turn, holding
from portlayer.identity import Role
from portlayer.interceptors import Access
from portlayer.server import FacetServer, rpc_names
from tests.unit.portlayer.conftest import INSTANCE, TestAuthority

SERVICE = hostagent_pb2.DESCRIPTOR.services_by_name["HostAgentService"]
CALLERS = frozenset({Role.EXEC, Role.INSTALLER})
ACCESS: Access = dict.fromkeys(rpc_names(SERVICE), CALLERS)


class Servicer(hostagent_pb2_grpc.HostAgentServiceServicer):
    """Remembers by which turns it was called."""

    def __init__(self) -> None:
        self.turns: list[Turn | None] = []

    async def Kill(self, request: hostagent_pb2.KillRequest, context: Any) -> Any:
        self.turns.append(admitted_turn())
        return hostagent_pb2.KillResponse()


@pytest.fixture
def servicer() -> Servicer:
    return Servicer()


@pytest.fixture
async def address(
    authority: TestAuthority, tmp_path: Path, servicer: Servicer
) -> AsyncIterator[str]:
    fences = Fences()
    fences.raise_to(Turn("old", 7))
    server = FacetServer(
        authority.issue(Role.HOSTAGENT), INSTANCE, ACCESS, [SERVICE], fences=fences
    )
    hostagent_pb2_grpc.add_HostAgentServiceServicer_to_server(servicer, server.server)
    address = f"unix:{tmp_path}/hostagent.sock"
    await server.start([address])
    yield address
    await server.stop()


def channel(address: str, authority: TestAuthority, role: Role) -> grpc.aio.Channel:
    return open_channel(address, Role.HOSTAGENT, INSTANCE, authority.issue(role))


async def kill(channel: grpc.aio.Channel, **options: Any) -> None:
    stub = hostagent_pb2_grpc.HostAgentServiceStub(channel)
    await stub.Kill(hostagent_pb2.KillRequest(), **options)


async def test_a_turn_that_is_over_is_refused(
    address: str, authority: TestAuthority, servicer: Servicer
) -> None:
    async with channel(address, authority, Role.EXEC) as exec_channel:
        for number in (1, 3, 3):
            with holding("a", number):
                await kill(exec_channel)
        with holding("a", 2), pytest.raises(TurnLost, match="turn 3 has begun elsewhere") as lost:
            await kill(exec_channel)
        assert lost.value.reason is Reason.TURN_LOST
        with holding("b", 2):
            await kill(exec_channel)
        # And what the server knew from before.
        with holding("old", 6), pytest.raises(TurnLost):
            await kill(exec_channel)
        # Without others there are no turns.
        with holding("a", None):
            await kill(exec_channel)
    assert servicer.turns == [Turn("a", 1), Turn("a", 3), Turn("a", 3), Turn("b", 2), None]


async def test_a_turn_that_is_none_is_refused(address: str, authority: TestAuthority) -> None:
    async with channel(address, authority, Role.EXEC) as exec_channel:
        for text in ("a", "a=", "=1", "a=-1", "a=1.5"):
            with pytest.raises(InvalidArgument):
                await kill(exec_channel, metadata=((KEY, text),))


async def test_nobody_but_exec_ends_its_turns(
    address: str, authority: TestAuthority, servicer: Servicer
) -> None:
    async with channel(address, authority, Role.INSTALLER) as other:
        await kill(other, metadata=((KEY, "a=99"),))
    async with channel(address, authority, Role.EXEC) as exec_channel:
        with holding("a", 1):
            await kill(exec_channel)
    assert servicer.turns == [None, Turn("a", 1)]


def test_what_was_not_seen_for_long_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fencing, "REMEMBERED", 2)
    fences = Fences()
    for turn in (Turn("a", 5), Turn("b", 5), Turn("a", 6), Turn("c", 5)):
        fences.raise_to(turn)
    fences.raise_to(Turn("b", 1))
    with pytest.raises(TurnLost):
        fences.raise_to(Turn("c", 4))

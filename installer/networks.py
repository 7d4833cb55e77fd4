"""`vic network`: what an administrator says of networks, told to a running suite."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from vic.network.v1 import network_pb2, network_pb2_grpc

from installer.checks import require_root
from installer.errors import InstallerError, NotRunningError
from installer.facets import facet_channel
from installer.instance import Instance, check_data_dir, load_instance
from portlayer.errors import VicError
from portlayer.identity import Role

if TYPE_CHECKING:
    Stub = network_pb2_grpc.NetworkServiceAsyncStub

T = TypeVar("T")

CALL_SECONDS = 30.0


def set_alias(data_dir: Path, network: str, name: str, address: str) -> None:
    """Give an outside host a name in a network. Raises InstallerError."""
    request = network_pb2.SetOutsideAliasRequest(network=network, name=name, address=address)
    _call(data_dir, lambda stub: stub.SetOutsideAlias(request, timeout=CALL_SECONDS))


def remove_alias(data_dir: Path, network: str, name: str) -> None:
    """Take a name of an outside host away. Raises InstallerError."""
    request = network_pb2.RemoveOutsideAliasRequest(network=network, name=name)
    _call(data_dir, lambda stub: stub.RemoveOutsideAlias(request, timeout=CALL_SECONDS))


def list_networks(data_dir: Path) -> list[network_pb2.Network]:
    """Return all networks that containers can join. Raises InstallerError."""
    request = network_pb2.ListRequest()
    return list(_call(data_dir, lambda stub: stub.List(request, timeout=CALL_SECONDS)).networks)


def _call(data_dir: Path, work: Callable[["Stub"], Awaitable[T]]) -> T:
    require_root("network")
    instance = load_instance(check_data_dir(data_dir))
    if instance is None or not instance.socket(Role.NETWORK).exists():
        raise NotRunningError("the suite is not running; start it with `vic up`")
    try:
        return asyncio.run(_ask(instance, work))
    except VicError as error:
        raise InstallerError(error.message) from error


async def _ask(instance: Instance, work: Callable[["Stub"], Awaitable[T]]) -> T:
    async with facet_channel(instance, Role.NETWORK) as channel:
        return await work(network_pb2_grpc.NetworkServiceStub(channel))

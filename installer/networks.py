"""`vic network`: what an administrator says of networks, told to a running suite."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
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
MTU_OPTION = "com.docker.network.driver.mtu"


@dataclass(frozen=True)
class ExternalWish:
    """An external network as the command line asks for it."""

    name: str
    parent: str
    subnets: Sequence[str]
    """One of IPv4, and one of IPv6 where it has that."""
    gateways: Sequence[str]
    ip_ranges: Sequence[str] = ()
    dns: Sequence[str] = ()
    firewall: str = "published"
    publishes: bool = False
    mtu: int | None = None


def set_alias(data_dir: Path, network: str, name: str, address: str) -> None:
    """Give an outside host a name in a network. Raises InstallerError."""
    request = network_pb2.SetOutsideAliasRequest(network=network, name=name, address=address)
    _call(data_dir, lambda stub: stub.SetOutsideAlias(request, timeout=CALL_SECONDS))


def remove_alias(data_dir: Path, network: str, name: str) -> None:
    """Take a name of an outside host away. Raises InstallerError."""
    request = network_pb2.RemoveOutsideAliasRequest(network=network, name=name)
    _call(data_dir, lambda stub: stub.RemoveOutsideAlias(request, timeout=CALL_SECONDS))


def map_external(data_dir: Path, wish: ExternalWish) -> network_pb2.Network:
    """Map a network of the host's surroundings; return what it is now. Raises InstallerError."""
    request = external_request(wish)
    return _call(data_dir, lambda stub: stub.Create(request, timeout=CALL_SECONDS)).network


def external_request(wish: ExternalWish) -> network_pb2.CreateRequest:
    """Return what the network service is asked for. Raises InstallerError."""
    options = {} if wish.mtu is None else {MTU_OPTION: str(wish.mtu)}
    return network_pb2.CreateRequest(
        # Ours to choose, so that a request that gRPC repeats maps one network.
        network_id=secrets.token_hex(32),
        name=wish.name,
        kind=network_pb2.NETWORK_KIND_EXTERNAL,
        pools=_pools(wish),
        enable_ipv6=any(map(_is_ipv6, wish.subnets)),
        options=options,
        external=network_pb2.External(
            parent=wish.parent,
            firewall=f"FIREWALL_LEVEL_{wish.firewall.upper()}",
            dns_servers=wish.dns,
            publishes=wish.publishes,
        ),
    )


def _pools(wish: ExternalWish) -> list[network_pb2.AddressPool]:
    """Return the subnets with what belongs to each. Raises InstallerError."""
    pools = [network_pb2.AddressPool(subnet=subnet) for subnet in wish.subnets]
    for texts, what in ((wish.gateways, "gateway"), (wish.ip_ranges, "ip_range")):
        for text in texts:
            fitting = [pool for pool in pools if _is_ipv6(pool.subnet) == _is_ipv6(text)]
            option = f"--{what.replace('_', '-')} {text}"
            if not fitting:
                raise InstallerError(f"{option}: no --subnet of its version of IP is named")
            if getattr(fitting[0], what):
                raise InstallerError(f"{option}: one of its version of IP is named already")
            setattr(fitting[0], what, text)
    return pools


def _is_ipv6(text: str) -> bool:
    return ":" in text


def unmap_external(data_dir: Path, name: str) -> None:
    """Let go of an external network that no container uses. Raises InstallerError."""
    request = network_pb2.RemoveRequest(reference=name, external=True)
    _call(data_dir, lambda stub: stub.Remove(request, timeout=CALL_SECONDS))


def firewall_of(network: network_pb2.Network) -> str:
    """Return an external network's firewall level as the command line has it."""
    name = network_pb2.FirewallLevel.Name(network.external.firewall)
    return name.removeprefix("FIREWALL_LEVEL_").lower()


def list_networks(data_dir: Path) -> list[network_pb2.Network]:
    """Return all networks that containers can join. Raises InstallerError."""
    request = network_pb2.ListRequest()
    return list(_call(data_dir, lambda stub: stub.List(request, timeout=CALL_SECONDS)).networks)


def _call(data_dir: Path, work: Callable[["Stub"], Awaitable[T]]) -> T:
    require_root("network")
    instance = load_instance(check_data_dir(data_dir))
    if instance is None or not instance.may_answer(Role.NETWORK):
        raise NotRunningError("the suite is not running; start it with `vic up`")
    try:
        return asyncio.run(_ask(instance, work))
    except VicError as error:
        raise InstallerError(error.message) from error


async def _ask(instance: Instance, work: Callable[["Stub"], Awaitable[T]]) -> T:
    async with facet_channel(instance, Role.NETWORK) as channel:
        return await work(network_pb2_grpc.NetworkServiceStub(channel))

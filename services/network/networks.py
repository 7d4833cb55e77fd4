"""The networks of the instance: made, found, removed, and their addresses kept."""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Protocol

from portlayer.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Reason,
)
from portlayer.journal import Journal
from portlayer.management import management_subnet
from services.network import pools
from services.network.drivers import Driver, Segment
from services.network.finish import finish
from services.network.happenings import Happenings
from services.network.ipam import AddressPool
from services.network.model import Kind, LabelRule, Network, Pool, Reservation
from services.network.options import default_bridge_options, parse_options
from services.network.plans import Plan, check, same
from services.network.predefined import (
    DEFAULT_NETWORK,
    DEFAULT_ORDINAL,
    NO_NETWORK,
    default_network,
    management_network,
    no_network,
)
from services.network.publishing import Publishing
from services.network.segments import segment_of
from services.network.store import NetworkStore
from services.network.subnets import Subnets

log = logging.getLogger("vic.network.networks")


class Members(Protocol):
    """Those who are in networks."""

    def active(self, network: Network) -> bool:
        """Tell whether anybody runs in a network, or is about to."""
        ...

    def leave(self, network: Network) -> list[tuple[Reservation, Reservation]]:
        """Take a network from all who are in it; returns them as they were and are then."""
        ...

    def rejoin(self, changed: Sequence[tuple[Reservation, Reservation]]) -> None:
        """Undo `leave`."""
        ...


class Networks:
    """All networks. The database is the record; what is here is read from it at start."""

    def __init__(
        self,
        store: NetworkStore,
        driver: Driver,
        *,
        slot: int,
        mtu: int,
        machine_lock: Path,
        journal: Journal,
        prefix6: IPv6Network,
    ) -> None:
        """`prefix6` is where IPv6 subnets are from that nobody named."""
        self._store = store
        self._driver = driver
        self._slot = slot
        self._mtu = mtu
        self._machine_lock = machine_lock
        self._networks: dict[str, Network] = {}
        self._addresses: dict[str, AddressPool[IPv4Address]] = {}
        self._addresses6: dict[str, AddressPool[IPv6Address]] = {}
        self._subnets = Subnets(self._networks.values, driver, prefix6)
        self.publishing = Publishing(self._networks.values, driver, mtu)
        """Where ports are published that name no address of the host."""
        self.happenings = Happenings(journal, self.get)
        self.members: Members | None = None
        """Who is asked whether a network may go."""
        self.followers: list[Callable[[], Awaitable[None]]] = []
        """Called when a network has come or gone, before whoever asked for it is told."""
        # Ordinals and subnets are chosen by one caller at a time.
        self._choosing = asyncio.Lock()

    async def load(self) -> None:
        """Read all networks from the database."""
        for network, cursor, cursor6 in await self._store.networks():
            self._keep(network, cursor, cursor6)

    async def ensure_predefined(self, default_subnet: IPv4Network | None) -> None:
        """Make the default bridge and "none" where they are not yet.

        A default bridge that nobody uses moves when its subnet is no longer free on the host.
        """
        if self._by_name(NO_NETWORK) is None:
            await self._record(no_network())
        async with pools.machine_lock(self._machine_lock):
            taken = await self._driver.taken_subnets()
            await self._ensure_default(default_subnet, taken)
        for network in self._networks.values():
            if network.pool is None or network.external is not None:
                continue
            if pools.conflicts(network.pool.subnet, taken):
                log.warning(
                    "the host has a route into the subnet of network %s",
                    network.name,
                    extra={"subnet": str(network.pool.subnet)},
                )

    async def ensure_management(self) -> bool:
        """Make the management network where it is not yet.

        Tells whether its subnet has changed, because the instance moved to another slot: then its
        endpoints need other addresses.
        """
        subnet = management_subnet(self._slot)
        pool = Pool(subnet, subnet[1])
        known = [network for network in self._networks.values() if network.management]
        if not known:
            await self._record(management_network(pool))
            return False
        (network,) = known
        if network.pool == pool:
            return False
        log.info("the instance has another slot now", extra={"subnet": str(subnet)})
        await self._move(network, pool)
        return True

    def management(self) -> Network:
        """Return the network of the tethers."""
        return next(network for network in self._networks.values() if network.management)

    def all(self) -> list[Network]:
        """Return all networks that containers can join, in the order of their making."""
        return [network for network in self._networks.values() if not network.management]

    def find(self, reference: str) -> Network:
        """Return the network of a name, an ID, or an unambiguous prefix of an ID.

        Raises NotFound (NETWORK_NOT_FOUND) or InvalidArgument (AMBIGUOUS_REFERENCE).
        """
        known = self.all()
        for network in known:
            if reference in (network.id, network.name):
                return network
        matching = [network for network in known if reference and network.id.startswith(reference)]
        if len(matching) > 1:
            raise InvalidArgument(
                f"network {reference} is ambiguous ({len(matching)} matches found based on ID "
                "prefix)",
                Reason.AMBIGUOUS_REFERENCE,
            )
        if not matching:
            raise NotFound(
                f"network {reference} not found", Reason.NETWORK_NOT_FOUND, network=reference
            )
        return matching[0]

    def get(self, network_id: str) -> Network:
        """Return the network of an ID that is known to be right, the management one included."""
        return self._networks[network_id]

    def addresses(self, network: Network) -> AddressPool[IPv4Address] | None:
        """Return who has which address in a network; None in one without addresses."""
        return self._addresses.get(network.id)

    def addresses6(self, network: Network) -> AddressPool[IPv6Address] | None:
        """Return the same of IPv6."""
        return self._addresses6.get(network.id)

    def segment(self, network: Network) -> Segment:
        """Return what the platform has to provide for a network that has a segment."""
        return segment_of(network, self._mtu)

    def port_group(self, network: Network) -> str:
        """Return the port group of a network's cards; empty where the platform has none."""
        return "" if network.ordinal is None else self._driver.port_group(self.segment(network))

    def segments(self) -> list[Segment]:
        """Return what the platform has to provide for all networks."""
        return [
            self.segment(network)
            for network in self._networks.values()
            if network.ordinal is not None
        ]

    def shown_options(self, network: Network) -> Mapping[str, str]:
        """Return a network's options as `docker network inspect` shows them."""
        if network.ordinal == DEFAULT_ORDINAL:
            bridge = self._driver.segment_name(self.segment(network))
            return default_bridge_options(bridge, self._mtu)
        return network.options

    def subnets(self) -> list[IPv4Network]:
        """Return the subnets that networks of ours have or may get."""
        return self._subnets.own()

    async def create(self, plan: Plan) -> Network:
        """Make a bridge network, or map an external one. Idempotent on its ID.

        Raises AlreadyExists (NETWORK_EXISTS), InvalidArgument (INVALID_NETWORK, POOL_OVERLAPS),
        ResourceExhausted (POOLS_EXHAUSTED), NotImplementedYet naming an option; for an external
        network FailedPrecondition (PARENT_MISSING, WRONG_STATE), too.
        """
        check(plan)
        parse_options(plan.options, self._mtu)
        async with self._choosing, AsyncExitStack() as undo:
            known = self._networks.get(plan.network_id)
            if known is not None:
                return same(known, plan)
            if self._by_name(plan.name) is not None:
                raise AlreadyExists(
                    f"network with name {plan.name} already exists", Reason.NETWORK_EXISTS
                )
            async with pools.machine_lock(self._machine_lock):
                pool = await self._subnets.choose(plan)
                pool6 = await self._subnets.choose6(plan) if plan.ipv6 else None
                network = Network(
                    id=plan.network_id or secrets.token_hex(32),
                    name=plan.name,
                    kind=Kind.BRIDGE if plan.external is None else Kind.EXTERNAL,
                    ordinal=self._free_ordinal(),
                    pool=pool,
                    created_at=datetime.now(UTC),
                    internal=plan.internal,
                    attachable=plan.attachable,
                    own_subnet=plan.subnet is not None,
                    labels=dict(plan.labels),
                    options=dict(plan.options),
                    external=plan.external,
                    pool6=pool6,
                )
                if plan.external is not None and plan.external.publishes:
                    await self.publishing.check(network)
                segment = self.segment(network)
                undo.push_async_callback(self._driver.remove_segment, segment.ordinal)
                await self._driver.add_segment(segment)
            await finish(self._record_new(network, undo))
            await self._tell()
            return network

    async def prune(self, until: datetime | None, labels: Sequence[LabelRule]) -> list[Network]:
        """Remove the networks that nobody runs in and that fit; returns what they were."""
        removed = []
        for network in self.all():
            fits = (until is None or network.created_at < until) and all(
                rule.holds(network.labels) for rule in labels
            )
            kept = network.predefined or network.external is not None
            if kept or not fits or self._active(network):
                continue
            try:
                removed.append(await self.remove(network.id))
            except (NotFound, FailedPrecondition):
                # Somebody else removed or joined it meanwhile.
                continue
        self.happenings.pruned()
        return removed

    async def remove(self, reference: str, *, external: bool = False) -> Network:
        """Remove a network that nobody runs in; returns what it was.

        As with Docker, those who don't run learn of it when they are started.

        `external` says that an external network is meant, and no other. Raises NotFound and
        FailedPrecondition (ACTIVE_ENDPOINTS, PREDEFINED_NETWORK).
        """
        network = self.find(reference)
        if external and network.external is None:
            raise FailedPrecondition(
                f"{network.name} is no external network", Reason.PREDEFINED_NETWORK
            )
        if not external and network.external is not None:
            raise FailedPrecondition(
                f"{network.name} is an external network: its administrator removes it by "
                "`vic network external rm`",
                Reason.PREDEFINED_NETWORK,
            )
        if network.predefined:
            raise FailedPrecondition(
                f"{network.name} is a pre-defined network and cannot be removed",
                Reason.PREDEFINED_NETWORK,
            )
        async with self._choosing:
            await finish(self._erase(network))
        return network

    async def _erase(self, network: Network) -> None:
        if network.id not in self._networks:
            return
        if self._active(network):
            raise FailedPrecondition(
                f"error while removing network: network {network.name} id {network.id} has "
                "active endpoints",
                Reason.ACTIVE_ENDPOINTS,
            )
        members = self.members
        leaving = [] if members is None else members.leave(network)
        # Gone for everybody from here on, so that nobody joins it meanwhile.
        del self._networks[network.id]
        addresses = self._addresses.pop(network.id)
        addresses6 = self._addresses6.pop(network.id, None)
        try:
            await self._store.remove_network(network.id, [left for _, left in leaving])
        except BaseException:
            self._networks[network.id] = network
            self._addresses[network.id] = addresses
            if addresses6 is not None:
                self._addresses6[network.id] = addresses6
            if members is not None:
                members.rejoin(leaving)
            raise
        self.happenings.destroyed(network)
        assert network.ordinal is not None
        await self._tell()
        await self._driver.remove_segment(network.ordinal)

    def _active(self, network: Network) -> bool:
        return self.members is not None and self.members.active(network)

    async def _tell(self) -> None:
        for follower in self.followers:
            await follower()

    async def _ensure_default(
        self, wanted: IPv4Network | None, taken: Sequence[IPv4Network]
    ) -> None:
        network = self._by_name(DEFAULT_NETWORK)
        if network is not None:
            assert network.pool is not None
            free = not pools.conflicts(network.pool.subnet, taken)
            if free or wanted is not None or self._addresses[network.id].in_use:
                return
        subnet = wanted or pools.choose([*taken, *self._subnets.own(but=network)])
        pool = Pool(subnet, subnet[1])
        if network is None:
            network = default_network(pool)
            await self._record(network)
        else:
            log.warning("the default network moves", extra={"subnet": str(subnet)})
            network = await self._move(network, pool)
        # Within the lock, so that its route is there for other instances to see.
        await self._driver.add_segment(self.segment(network))

    async def _move(self, network: Network, pool: Pool) -> Network:
        await self._store.change_pool(network.id, pool)
        moved = replace(network, pool=pool)
        self._keep(moved, None)
        return moved

    def _free_ordinal(self) -> int:
        used = {network.ordinal for network in self._networks.values()}
        return next(number for number in range(1, len(used) + 2) if number not in used)

    async def _record_new(self, network: Network, undo: AsyncExitStack) -> None:
        await self._record(network, undo)
        self.happenings.created(network)

    async def _record(self, network: Network, undo: AsyncExitStack | None = None) -> None:
        await self._store.add_network(network)
        self._keep(network, None)
        if undo is not None:
            undo.pop_all()

    def _keep(
        self, network: Network, cursor: IPv4Address | None, cursor6: IPv6Address | None = None
    ) -> None:
        self._networks[network.id] = network
        if network.pool6 is not None:
            self._addresses6[network.id] = AddressPool(
                network.pool6.subnet,
                IPv6Address,
                ip_range=network.pool6.ip_range,
                reserved=[network.pool6.gateway, *network.pool6.auxiliary.values()],
                cursor=cursor6,
            )
        if network.pool is not None:
            self._addresses[network.id] = AddressPool(
                network.pool.subnet,
                IPv4Address,
                ip_range=network.pool.ip_range,
                reserved=[network.pool.gateway, *network.pool.auxiliary.values()],
                cursor=cursor,
            )

    def _by_name(self, name: str) -> Network | None:
        return next((n for n in self._networks.values() if n.name == name), None)

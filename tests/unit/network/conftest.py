"""The network facet's domain over a platform that is only remembered, which only tests may have."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from pathlib import Path

import pytest

from portlayer.errors import FailedPrecondition, Reason, Unavailable
from portlayer.journal import Journal
from services.network.drivers import Forward, Port, Segment
from services.network.endpoints import Endpoints
from services.network.networks import Networks
from services.network.plans import Plan
from services.network.publications import Publications
from services.network.store import MIGRATIONS, NetworkStore
from tests.databases import place_database


class RememberedPlatform:
    """A driver that notes what it was asked for."""

    name = "remembered"

    def __init__(self, slot: int = 0) -> None:
        self.doubt = asyncio.Event()
        self.slot = slot
        self.segments: dict[int, Segment] = {}
        self.ports: dict[str, Port] = {}
        self.forwards: set[Forward] = set()
        self.taps: set[str] | None = None
        """Taps that are there; None means all."""
        self.taken: list[IPv4Network] = []
        self.taken6: list[IPv6Network] = []
        self.own: list[IPv4Address] = []
        """Addresses of the host."""
        self.refusing = False
        self.digits = 6

    def port_name(self, endpoint_id: str) -> str:
        return f"vt{self.slot}-{endpoint_id[: self.digits]}"

    def segment_name(self, segment: Segment) -> str:
        return f"vic{self.slot}b{segment.ordinal}"

    def port_group(self, segment: Segment) -> str:
        return ""

    def attached(self, port_name: str) -> bool:
        return port_name in self.ports

    async def taken_subnets(self) -> list[IPv4Network]:
        return self.taken

    async def taken_subnets6(self) -> list[IPv6Network]:
        return self.taken6

    async def addresses_within(self, subnet: IPv4Network) -> list[IPv4Address]:
        return [address for address in self.own if address in subnet]

    async def start(
        self, segments: Sequence[Segment], ports: Sequence[Port], forwards: Sequence[Forward] = ()
    ) -> None:
        self.forwards = set(forwards)
        self.segments = {segment.ordinal: segment for segment in segments}
        self.ports = {port.name: port for port in ports if self._is_there(port)}

    async def add_segment(self, segment: Segment) -> None:
        if self.refusing:
            raise Unavailable("the platform refuses")
        self.segments[segment.ordinal] = segment

    async def remove_segment(self, ordinal: int) -> None:
        self.segments.pop(ordinal, None)

    async def attach(self, ports: Sequence[Port]) -> None:
        missing = [port.name for port in ports if not self._is_there(port)]
        if missing:
            raise FailedPrecondition(f"there is no tap {missing[0]}", Reason.TAP_MISSING)
        self.ports.update({port.name: port for port in ports})

    async def detach(self, names: Sequence[str]) -> None:
        for name in names:
            self.ports.pop(name, None)

    async def forward(self, add: Sequence[Forward], remove: Sequence[Forward]) -> None:
        if self.refusing:
            raise Unavailable("the platform refuses")
        self.forwards = (self.forwards - set(remove)) | set(add)

    async def restore(self) -> list[str]:
        self.doubt.clear()
        return []

    async def teardown(self) -> None:
        self.segments.clear()
        self.ports.clear()

    async def close(self) -> None:
        pass

    def _is_there(self, port: Port) -> bool:
        return self.taps is None or port.name in self.taps


@dataclass
class Facet:
    """The domain of one run of the service."""

    platform: RememberedPlatform
    store: NetworkStore
    networks: Networks
    endpoints: Endpoints
    publications: Publications


class Runs:
    """Runs of the service on one database, one after the other."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._stores: list[NetworkStore] = []
        self._publications: list[Publications] = []

    async def start(
        self,
        *,
        slot: int = 0,
        taken: Sequence[str] = (),
        default_subnet: IPv4Network | None = None,
    ) -> Facet:
        """Start the service as its composition root does."""
        await self.stop()
        place_database(self._directory / "network.db", MIGRATIONS)
        store = await NetworkStore.open(f"sqlite:///{self._directory}/network.db")
        self._stores.append(store)
        platform = RememberedPlatform(slot)
        platform.taken = [IPv4Network(subnet) for subnet in taken]
        networks = Networks(
            store,
            platform,
            slot=slot,
            mtu=1500,
            machine_lock=self._directory,
            journal=Journal(self._directory / "events.jsonl"),
            prefix6=IPv6Network("fd12:3456:789a::/48"),
        )
        endpoints = Endpoints(store, networks, platform)
        await networks.load()
        moved = await networks.ensure_management()
        await endpoints.load()
        if moved:
            await endpoints.move_management()
        await networks.ensure_predefined(default_subnet)
        publications = Publications(store, networks, endpoints, platform)
        await publications.load()
        self._publications.append(publications)
        await platform.start(networks.segments(), endpoints.ports(), publications.forwards())
        networks.happenings.load(endpoints.all(), endpoints.bound)
        return Facet(platform, store, networks, endpoints, publications)

    async def stop(self) -> None:
        """End the run."""
        while self._publications:
            self._publications.pop().close()
        while self._stores:
            await self._stores.pop().close()


@pytest.fixture
async def runs(tmp_path: Path) -> AsyncIterator[Runs]:
    """Return what starts the service on a fresh database."""
    runs = Runs(tmp_path)
    yield runs
    await runs.stop()


@pytest.fixture
async def facet(runs: Runs) -> Facet:
    """Return a started service."""
    return await runs.start()


@pytest.fixture
async def app(facet: Facet) -> Facet:
    """A service with two networks that users made."""
    await facet.networks.create(Plan("app", subnet=IPv4Network("10.1.0.0/16")))
    await facet.networks.create(Plan("other", subnet=IPv4Network("10.2.0.0/16")))
    return facet

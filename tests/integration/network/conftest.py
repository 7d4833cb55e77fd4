"""A host of our own with the network facet on it, and a machine outside."""

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv6Network
from pathlib import Path

import pytest

from portlayer.journal import Journal
from services.network.drivers.linux import Guards, LinuxDriver, Names
from services.network.endpoints import Endpoints
from services.network.model import Wish
from services.network.networks import Networks
from services.network.publications import Publications
from services.network.store import MIGRATIONS, NetworkStore
from tests.databases import place_database
from tests.integration.network.guest import Guest
from tests.integration.network.namespaces import Outside, fresh_namespace, run

INSTANCE = "1a2b3c4d"
CLOSED_PORT = 2375
OTHERS_CLOSED_PORT = 2376
HOST_ADDRESS = "198.51.100.1"
OUTSIDE_ADDRESS = "198.51.100.2"
LAN_ROUTER, LAN_ROUTER6 = "10.2.0.1", "2001:db8:2::1"
LAN_HOST, LAN_HOST6 = "10.2.0.5", "2001:db8:2::5"


@pytest.fixture(params=[False, True], ids=["frames-alone", "br_netfilter"])
def host(request: pytest.FixtureRequest) -> Iterator[None]:
    """Be on a host of our own, with bridged frames in the inet hooks or not."""
    if os.geteuid() != 0 or not Path("/dev/net/tun").exists() or shutil.which("nft") is None:
        pytest.skip("needs root, /dev/net/tun and nft")
    switch = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    with fresh_namespace():
        if switch.exists():
            switch.write_text("1" if request.param else "0")
        elif request.param:
            pytest.skip("this kernel has no br_netfilter")
        yield


@pytest.fixture
def outside(host: None) -> Iterator[Outside]:
    """A machine that the host reaches over a cable, and that knows no route back to containers."""
    machine = Outside("up0", HOST_ADDRESS, OUTSIDE_ADDRESS)
    yield machine
    machine.close()


@pytest.fixture
def cable(host: None) -> Iterator[Outside]:
    """A machine on a LAN that comes to the host's lan0, on which the host has no address."""
    machine = Outside("lan0", "", LAN_ROUTER)
    machine.run("ip", "addr", "add", f"{LAN_ROUTER6}/64", "dev", "eth0", "nodad")
    yield machine
    machine.close()


@pytest.fixture
def office(cable: Outside) -> Outside:
    """The same LAN behind a bridge br0, on which the host has an address."""
    for command in (
        "ip link add br0 type bridge forward_delay 0",
        "ip link set lan0 master br0",
        "ip link set br0 up",
        f"ip addr add {LAN_HOST}/24 dev br0",
        f"ip addr add {LAN_HOST6}/64 dev br0 nodad",
    ):
        run(*command.split())
    return cable


@dataclass
class Facet:
    """One run of the service on the host, and the guests of its containers."""

    slot: int
    instance_id: str
    directory: Path
    closed_port: int = CLOSED_PORT
    driver: LinuxDriver = field(init=False)
    store: NetworkStore | None = None
    networks: Networks = field(init=False)
    endpoints: Endpoints = field(init=False)
    publications: Publications = field(init=False)
    guests: list[Guest] = field(default_factory=list)

    async def open(self) -> None:
        """Open the database; migrations of two can't run in one process at once."""
        place_database(self.directory / "network.db", MIGRATIONS)
        self.store = await NetworkStore.open(f"sqlite:///{self.directory}/network.db")

    async def start(self) -> None:
        """Start the service as its composition root does."""
        if self.store is None:
            await self.open()
        assert self.store is not None
        self.driver = LinuxDriver(
            Names(self.instance_id, self.slot), Guards(7443, (self.closed_port,))
        )
        self.networks = Networks(
            self.store,
            self.driver,
            slot=self.slot,
            mtu=1500,
            machine_lock=self.directory.parent,
            journal=Journal(self.directory / "events.jsonl"),
            prefix6=IPv6Network("fd12:3456:789a::/48"),
        )
        self.endpoints = Endpoints(self.store, self.networks, self.driver)
        await self.networks.load()
        await self.networks.ensure_management()
        await self.endpoints.load()
        await self.networks.ensure_predefined(None)
        self.publications = Publications(self.store, self.networks, self.endpoints, self.driver)
        await self.publications.load()
        await self.driver.start(
            self.networks.segments(), self.endpoints.ports(), self.publications.forwards()
        )

    async def stop(self) -> None:
        """End the service; everything on the host stays."""
        self.publications.close()
        await self.driver.close()
        if self.store is not None:
            await self.store.close()
            self.store = None

    async def container(
        self, container_id: str, network: str = "bridge", name: str = ""
    ) -> tuple[Guest, Guest]:
        """Return the two cards of a new running container: management, network."""
        reservation = await self.endpoints.reserve(container_id, name, "", [Wish(network)])
        cards = []
        for endpoint in reservation.endpoints:
            pool = self.networks.get(endpoint.network_id).pool
            assert pool is not None
            cards.append(Guest.of(endpoint, pool.gateway))
        self.guests += cards
        await self.endpoints.bind(container_id)
        management, card = cards
        return management, card


@pytest.fixture
async def facet(host: None, tmp_path: Path) -> AsyncIterator[Facet]:
    """The service, started."""
    directory = tmp_path / "one"
    directory.mkdir()
    facet = Facet(0, INSTANCE, directory)
    await facet.start()
    yield facet
    for guest in facet.guests:
        guest.unplug()
    await facet.stop()


@pytest.fixture
async def other(facet: Facet, tmp_path: Path) -> AsyncIterator[Facet]:
    """Another instance on the same host."""
    directory = tmp_path / "two"
    directory.mkdir()
    other = Facet(1, "deadbeef", directory, OTHERS_CLOSED_PORT)
    await other.start()
    yield other
    for guest in other.guests:
        guest.unplug()
    await other.stop()

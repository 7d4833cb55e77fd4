"""The exec facet's domain over fakes of its peers, which only tests may have."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
from vic.exec.v1 import container_pb2

from portlayer.store import Store, open_store
from services.exec.admission import Admission
from services.exec.creation import Creator
from services.exec.eventlog import EventLog
from services.exec.exits import Exits
from services.exec.facts import Facts
from services.exec.history import History
from services.exec.kernels import Kernels
from services.exec.lifecycle import Lifecycle
from services.exec.logdrivers import LogDrivers
from services.exec.operations import Turns
from services.exec.parts import Parts
from services.exec.peers import Peers
from services.exec.reconcile import Reconciler
from services.exec.reports import Reports
from services.exec.restarting import Restarts
from services.exec.startmode import StartMode, StartModes
from services.exec.store import MIGRATIONS, Containers
from services.exec.tether_place import TetherPlace
from services.exec.vch import Vch
from tests.databases import place_database
from tests.unit.exec.fake_facets import DISK_BYTES, FakeFacets
from tests.unit.exec.fake_hypervisor import FakeHypervisor
from tests.unit.exec.ready_pool import emulated, pool, qemu

__all__ = ["emulated", "pool", "qemu"]


@dataclass
class Facet:
    """All parts of the facet, wired as the composition root does."""

    store: Store
    containers: Containers
    admission: Admission
    facts: Facts
    history: History
    events: EventLog
    creator: Creator
    lifecycle: Lifecycle
    modes: StartModes
    vch: Vch
    exits: Exits
    reconciler: Reconciler
    restarts: Restarts
    reports: Reports
    turns: Turns
    peers: FakeFacets
    hypervisor: FakeHypervisor
    kernels: Kernels

    async def run(self, name: str = "", **fields: Any) -> str:
        """Create and start a container; return its ID."""
        spec = container_pb2.ContainerSpec(image="busybox", name=name, **fields)
        record = await self.creator.create("", spec)
        await self.lifecycle.start(record.id)
        await self.exits.beside.drain()
        return record.id

    def leftovers(self) -> list[str]:
        """Return what is left in the peers."""
        peers = self.peers
        held = [*peers.disks, *peers.reservations, *peers.registered, *peers.volumes.reserved]
        return [*held, *self.hypervisor.machines]

    def restarted(self) -> "Facet":
        """Return the facet as it is after a SIGKILL: database and peers are all that is left."""
        facet = wire(self.store, self.peers, self.hypervisor)
        facet.exits.caught_up = True
        return facet


async def turns() -> None:
    """Let everybody go on who can, a database's answer or two included."""
    for _ in range(100):
        await asyncio.sleep(0)


def wire(store: Store, peers: FakeFacets, hypervisor: FakeHypervisor) -> Facet:
    """Put a facet together."""
    stubs = Peers(*(cast("Any", peers),) * 4, cast("Any", peers.volumes))
    containers, facts = Containers(store), Facts(store)
    admission = Admission(store, hypervisor, DISK_BYTES)
    history, turns = History(store), Turns(store.neighbours)
    events = EventLog(history)
    exits = Exits(containers, events, turns, stubs, hypervisor)
    peers.exits = hypervisor.exits_to = exits
    kernels = Kernels(facts, hypervisor)
    log_drivers = LogDrivers(facts)
    creator = Creator(
        containers,
        admission,
        events,
        turns,
        stubs,
        hypervisor,
        kernels,
        log_drivers,
        exits.doubt,
    )
    parts = Parts(containers, events, turns, stubs, hypervisor, creator, exits, kernels)
    modes = StartModes(facts, hypervisor, StartMode())
    tethers = TetherPlace(stubs, "interaction.test.vic")
    lifecycle = Lifecycle(parts, admission, modes, tethers, store.neighbours)
    vch = Vch(
        "0" * 8, "1", containers, admission, lifecycle, hypervisor, modes, kernels, log_drivers
    )
    reconciler = Reconciler(containers, turns, stubs, hypervisor, creator, exits, lifecycle.holding)
    restarts = Restarts(containers, facts, lifecycle, exits)
    reports = Reports(containers, events)
    return Facet(
        store,
        containers,
        admission,
        facts,
        history,
        events,
        creator,
        lifecycle,
        modes,
        vch,
        exits,
        reconciler,
        restarts,
        reports,
        turns,
        peers,
        hypervisor,
        kernels,
    )


@pytest.fixture
async def facet(tmp_path: Path) -> AsyncIterator[Facet]:
    """A facet with an empty database."""
    place_database(tmp_path / "exec.db", MIGRATIONS)
    store = await open_store(f"sqlite:///{tmp_path}/exec.db", MIGRATIONS)
    facet = wire(store, FakeFacets(), FakeHypervisor())
    yield facet
    await facet.lifecycle.holding.close()
    while facet.hypervisor.telling:
        await asyncio.wait(facet.hypervisor.telling)
    await facet.exits.drain()
    await store.close()

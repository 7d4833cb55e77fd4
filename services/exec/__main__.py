"""Composition root of the exec service: the one place where its parts are wired."""

import asyncio
import logging
from contextlib import AsyncExitStack
from importlib.metadata import version

from vic.exec.v1 import exec_pb2_grpc

from portlayer.identity import Credentials, Role, server_name
from portlayer.logs import configure_logs
from portlayer.server import FacetServer, stop_requested
from portlayer.store import open_store
from portlayer.telemetry import configure_telemetry
from services.exec.admission import Admission
from services.exec.answers import Answers
from services.exec.creation import Creator
from services.exec.drivers.choice import choose_driver
from services.exec.eventlog import EventLog
from services.exec.exits import Exits
from services.exec.facts import Facts
from services.exec.history import History
from services.exec.kernels import Kernels
from services.exec.lifecycle import Lifecycle
from services.exec.limits import Limits
from services.exec.logdrivers import LogDrivers
from services.exec.operations import Turns
from services.exec.parts import Parts
from services.exec.peers import open_peers
from services.exec.reconcile import Reconciler
from services.exec.replicas import follow_replicas
from services.exec.reports import Reports
from services.exec.restarting import Restarts
from services.exec.roles import ACCESS, SERVICE
from services.exec.server import ExecServicer
from services.exec.settings import ExecSettings
from services.exec.startmode import StartMode, StartModes
from services.exec.store import MIGRATIONS, Containers
from services.exec.tether_place import TetherPlace
from services.exec.vch import Vch
from services.exec.watching import Watching

log = logging.getLogger("vic.exec")

# For work in hand at the end, and again for its undoing; with the server's own grace of 5 s less
# than the 15 s after which who stops us kills.
DRAIN_SECONDS = 4.0


async def serve(settings: ExecSettings) -> None:
    """Run the service until it is asked to stop."""
    stop = stop_requested()
    credentials = Credentials.load(settings.credentials_dir)
    async with AsyncExitStack() as stack:
        store = await open_store(settings.database, MIGRATIONS)
        stack.push_async_callback(store.close)
        peers = await open_peers(settings, credentials, stack)
        tethers = TetherPlace(peers, server_name(Role.INTERACTION, settings.instance_id))
        chosen = await choose_driver(settings, credentials, stack, peers, tethers, store.neighbours)
        hypervisor = chosen.hypervisor
        containers, facts = Containers(store), Facts(store)
        admission = Admission(store, hypervisor, settings.base_size_bytes)
        modes = StartModes(facts, hypervisor, StartMode(settings.ready_clones))
        events, turns = EventLog(History(store)), Turns(store.neighbours)
        exits = Exits(containers, events, turns, peers, hypervisor)
        kernels = Kernels(facts, hypervisor)
        log_drivers = LogDrivers(facts)
        creator = Creator(
            containers,
            admission,
            events,
            turns,
            peers,
            hypervisor,
            kernels,
            log_drivers,
            exits.doubt,
        )
        lifecycle = Lifecycle(
            Parts(containers, events, turns, peers, hypervisor, creator, exits, kernels),
            admission,
            modes,
            tethers,
            store.neighbours,
        )
        reconciler = Reconciler(
            containers, turns, peers, hypervisor, creator, exits, lifecycle.holding
        )
        restarts = Restarts(containers, facts, lifecycle, exits)
        reports = Reports(containers, events)
        watching = Watching(facts, peers, hypervisor, exits, reports, reconciler)
        vch = Vch(
            settings.instance_id,
            version("vic"),
            containers,
            admission,
            lifecycle,
            hypervisor,
            modes,
            kernels,
            log_drivers,
        )
        servicer = ExecServicer(
            containers, events, creator, lifecycle, vch, restarts, Answers(store)
        )
        await restarts.open(chosen.platform_boot)
        await modes.open()
        await hypervisor.open()
        stack.push_async_callback(hypervisor.close)
        await admission.begin(Limits(**settings.limits.model_dump()))
        server = FacetServer(
            credentials,
            settings.instance_id,
            ACCESS,
            [SERVICE],
            share_ports=settings.share_ports,
        )
        exec_pb2_grpc.add_ExecServiceServicer_to_server(servicer, server.server)
        background = [
            asyncio.create_task(reconciler.run(), name="reconciler"),
            asyncio.create_task(watching.run(), name="watching"),
            asyncio.create_task(restarts.run(), name="restarts"),
            asyncio.create_task(
                follow_replicas(store.neighbours, events, exits, restarts), name="replicas"
            ),
        ]
        try:
            await server.start(settings.addresses)
            stopping = asyncio.create_task(stop.wait(), name="stop")
            # A background task that ends has failed: the process ends with it, and is started anew.
            await asyncio.wait({stopping, *background}, return_when=asyncio.FIRST_COMPLETED)
            for task in background:
                if task.done():
                    task.result()
        finally:
            events.end_streams()
            await server.stop()
            await lifecycle.holding.close()
            async with asyncio.TaskGroup() as group:
                ended = group.create_task(servicer.drain(DRAIN_SECONDS))
                group.create_task(exits.drain(DRAIN_SECONDS))
                group.create_task(restarts.drain(DRAIN_SECONDS))
            if not ended.result():
                log.warning("gave up work in hand")
            for task in background:
                task.cancel()
            await asyncio.wait(background)


def main() -> None:
    """Entry point."""
    settings = ExecSettings.from_command_line()
    configure_logs(settings.role, settings.log_level)
    configure_telemetry(settings.role, settings.instance_id, settings.otlp_endpoint)
    asyncio.run(serve(settings))


if __name__ == "__main__":
    main()

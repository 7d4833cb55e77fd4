"""The network service: wiring, start and end."""

import asyncio
import logging
import sys
from ipaddress import IPv4Address, IPv6Address

from vic.network.v1 import network_pb2_grpc

from portlayer.descriptors import allow_descriptors
from portlayer.errors import VicError
from portlayer.identity import Credentials
from portlayer.journal import Journal
from portlayer.logs import configure_logs
from portlayer.server import FacetServer, stop_requested
from portlayer.telemetry import configure_telemetry
from services.network.drivers.choice import choose_driver
from services.network.endpoints import Endpoints
from services.network.names.answers import Answers
from services.network.names.askers import Askers
from services.network.names.server import NameServer
from services.network.names.upstream import Upstream
from services.network.networks import Networks
from services.network.outside import OutsideHosts
from services.network.pools import own_prefix
from services.network.publications import Publications
from services.network.reconcile import Reconciler
from services.network.resolvers import PUBLIC_SERVERS, Resolvers, for_containers, of_host
from services.network.roles import ACCESS
from services.network.server import SERVICE, Names, NetworkServicer
from services.network.settings import NetworkSettings
from services.network.store import NetworkStore

log = logging.getLogger("vic.network")


def _resolvers(settings: NetworkSettings) -> Resolvers:
    if settings.dns_servers:
        return Resolvers(tuple(settings.dns_servers))
    return for_containers()


def _names(
    settings: NetworkSettings, networks: Networks, endpoints: Endpoints, outside: OutsideHosts
) -> Names:
    def servers() -> list[IPv4Address | IPv6Address]:
        return of_host(settings.dns_servers, networks.subnets())

    askers = Askers(networks, endpoints)
    answers = Answers(endpoints.directory, askers.networks_of, outside, askers.links_of)
    server = NameServer(networks.all, answers, Upstream(servers), resolvers_of=askers.resolvers_of)
    return Names(answers, server, outside)


async def serve(settings: NetworkSettings) -> None:
    """Serve until SIGTERM. What is on the host then stays, for containers go on."""
    stopping = stop_requested()
    if _resolvers(settings).servers == PUBLIC_SERVERS:
        log.warning("the host names no resolver that containers can reach; they get public ones")
    store = await NetworkStore.open(settings.database)
    journal = Journal(settings.state_dir / "events.jsonl")
    driver = choose_driver(settings)
    try:
        networks = Networks(
            store,
            driver,
            slot=settings.slot,
            mtu=settings.mtu,
            machine_lock=settings.machine_lock,
            journal=journal,
            prefix6=own_prefix(settings.instance_id),
        )
        endpoints = Endpoints(store, networks, driver)
        await networks.load()
        moved = await networks.ensure_management()
        await endpoints.load()
        if moved:
            await endpoints.move_management()
        await networks.ensure_predefined(settings.default_subnet)
        publications = Publications(store, networks, endpoints, driver)
        await publications.load()
        await driver.start(networks.segments(), endpoints.ports(), publications.forwards())
        networks.happenings.load(endpoints.all(), endpoints.bound)
        outside = OutsideHosts(store, networks)
        await outside.load()
        names = _names(settings, networks, endpoints, outside)
        networks.followers += [names.server.ensure, outside.drop_gone]
        await names.server.ensure()
        server = FacetServer(
            Credentials.load(settings.credentials_dir), settings.instance_id, ACCESS, [SERVICE]
        )
        servicer = NetworkServicer(
            networks,
            endpoints,
            driver_name=driver.name,
            tether_port=settings.tether_port,
            resolvers=lambda: _resolvers(settings),
            names=names,
            publications=publications,
        )
        network_pb2_grpc.add_NetworkServiceServicer_to_server(servicer, server.server)
        async with asyncio.TaskGroup() as group:
            reconciler = Reconciler(driver, settings.reconcile_seconds, names.server.ensure)
            reconciling = group.create_task(reconciler.run())
            await server.start(settings.addresses)
            await stopping.wait()
            journal.end_streams()
            await server.stop()
            reconciling.cancel()
            await names.server.close()
    finally:
        await driver.close()
        await store.close()


def main() -> None:
    """Run the service."""
    settings = NetworkSettings.from_command_line()
    configure_logs(settings.role, settings.log_level)
    configure_telemetry(settings.role, settings.instance_id, settings.otlp_endpoint)
    allow_descriptors()  # each published port is held by a socket
    try:
        asyncio.run(serve(settings))
    except VicError as error:
        log.exception("cannot go on")
        sys.exit(error.message)


if __name__ == "__main__":
    main()

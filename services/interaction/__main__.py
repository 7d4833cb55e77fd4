"""Runs the interaction service: ``python -m services.interaction``."""

import asyncio
import secrets
from typing import ClassVar, Final, Self

from pydantic import Field, model_validator
from vic.exec.v1 import exec_pb2_grpc
from vic.network.v1 import network_pb2, network_pb2_grpc

from portlayer.client import open_channel
from portlayer.descriptors import allow_descriptors
from portlayer.errors import DeadlineExceeded, Unavailable
from portlayer.identity import Credentials, Role
from portlayer.logs import configure_logs
from portlayer.server import stop_requested
from portlayer.settings import FacetSettings
from portlayer.telemetry import configure_telemetry
from services.interaction.holding import ExecHolder
from services.interaction.race import until_first
from services.interaction.service import InteractionService

# A log, a stream and a connection for each of thousands of containers.
DESCRIPTORS: Final = 65_536


class InteractionSettings(FacetSettings):
    """Settings of this service."""

    role: ClassVar[Role] = Role.INTERACTION

    tether_listen: list[str] = Field(
        default_factory=list,
        description="gRPC addresses to serve tethers; by default the management network's.",
    )
    replica_address: str = Field(
        "",
        description="gRPC address at which other replicas, on the same PostgreSQL database and the "
        "same directory of logs, reach this one; by default the first that it serves, or where "
        "replicas share ports one of this machine's own.",
    )

    @model_validator(mode="after")
    def _check_replicas(self) -> Self:
        self.insist_on_shared_state()
        return self


async def management_addresses(
    settings: InteractionSettings, credentials: Credentials
) -> list[str]:
    """Return where tethers look for us; waits for the network service to say so."""
    target = settings.target(Role.NETWORK)
    async with open_channel(target, Role.NETWORK, settings.instance_id, credentials) as channel:
        stub: network_pb2_grpc.NetworkServiceAsyncStub = network_pb2_grpc.NetworkServiceStub(
            channel
        )
        while True:
            try:
                info = await stub.Info(network_pb2.InfoRequest(), wait_for_ready=True)
            except (Unavailable, DeadlineExceeded):
                # It came and went; the channel waits, with its own back-off, until it is back.
                continue
            return [f"{info.management_address}:{info.tether_port}"]


async def run(settings: InteractionSettings) -> None:
    """Serve until SIGTERM or SIGINT, or until the other replicas take this one for dead."""
    stop = stop_requested()
    credentials = Credentials.load(settings.credentials_dir)
    exec_channel = open_channel(
        settings.target(Role.EXEC), Role.EXEC, settings.instance_id, credentials
    )
    addresses = settings.addresses
    own = settings.replica_address or addresses[0]
    if settings.share_ports and not settings.replica_address:
        # A name that no other one has, and that is gone with this process.
        own = f"unix-abstract:vic-{settings.instance_id}-{secrets.token_hex(8)}"
        addresses = [*addresses, own]
    service = await InteractionService.open(
        credentials,
        settings.instance_id,
        settings.database,
        settings.state_dir,
        ExecHolder(exec_pb2_grpc.ExecServiceStub(exec_channel)),
        own,
        share_ports=settings.share_ports,
    )
    try:
        await service.serve_clients(addresses)
        async with asyncio.TaskGroup() as group:
            tethers = group.create_task(_serve_tethers(service, settings, credentials))
            await until_first(_waiting(stop), _waiting(service.lost))
            tethers.cancel()
    finally:
        await service.close()
        await exec_channel.close()


async def _waiting(event: asyncio.Event) -> None:
    await event.wait()


async def _serve_tethers(
    service: InteractionService, settings: InteractionSettings, credentials: Credentials
) -> None:
    addresses = settings.tether_listen or await management_addresses(settings, credentials)
    await service.serve_tethers(addresses)


def main() -> None:
    """Start the process."""
    settings = InteractionSettings.from_command_line()
    configure_logs(settings.role, settings.log_level)
    configure_telemetry(settings.role, settings.instance_id, settings.otlp_endpoint)
    allow_descriptors(DESCRIPTORS)
    asyncio.run(run(settings))


if __name__ == "__main__":
    main()

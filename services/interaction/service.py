"""The facet put together: state, domain and the two servers. Used by the process and by tests."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

from google.protobuf.descriptor import ServiceDescriptor
from vic.interaction.v1 import interaction_pb2_grpc, process_pb2_grpc
from vic.tether.v1 import tether_pb2_grpc

from portlayer.identity import Credentials
from portlayer.server import FacetServer
from portlayer.store import Store, open_store
from services.interaction.events import EventJournal
from services.interaction.execs import Execs
from services.interaction.files import Files
from services.interaction.holding import Holder
from services.interaction.launch import Launcher
from services.interaction.logstore import LogStore
from services.interaction.process_server import ProcessServicer
from services.interaction.race import Closing
from services.interaction.registry import Sessions
from services.interaction.replicas import Replicas, new_replica_id
from services.interaction.roles import (
    ACCESS,
    INTERACTION,
    PROCESSES,
    REPLICA_ACCESS,
    TETHER_ACCESS,
    TETHERS,
)
from services.interaction.routing import received, routed
from services.interaction.server import InteractionServicer
from services.interaction.store import MIGRATIONS, InteractionStore
from services.interaction.tether_server import MAX_MESSAGE_BYTES, MAX_STREAMS, TetherServicer
from services.interaction.waiting import WaitingTethers

LOGS: Final = "logs"


class InteractionService:
    """Serves clients and exec at one place, tethers at another.

    On PostgreSQL it is a replica among others, which reach it at ``address``.
    """

    def __init__(
        self,
        credentials: Credentials,
        instance_id: str,
        store: Store,
        logs: LogStore,
        holder: Holder,
        address: str = "",
        *,
        share_ports: bool = False,
    ) -> None:
        self._store = store
        self._logs = logs
        self._closing = Closing()
        self._following: list[asyncio.Task[None]] = []
        self._stack = AsyncExitStack()
        self.lost = asyncio.Event()
        """That the other replicas take this one for dead; then it must be closed."""
        tables = InteractionStore(store)
        self._journal = EventJournal(tables)
        replica_id = "" if store.neighbours.alone else new_replica_id()
        self.sessions = Sessions(tables, self._journal, logs, replica_id)
        self.tethers = WaitingTethers(tables)
        self._replicas: Replicas | None = None
        if replica_id:
            self._replicas = Replicas(
                replica_id, address, instance_id, credentials, tables, self.sessions, self.tethers
            )
        launcher = Launcher(tables, self.tethers)
        execs = Execs(self.sessions, launcher, tables)
        clients = InteractionServicer(
            self.sessions, execs, launcher, Files(launcher, holder), self._closing
        )
        processes = ProcessServicer(self.sessions, launcher, self._journal, self._closing)
        tethers = TetherServicer(self.sessions, self.tethers, self._closing)
        replicas = self._replicas
        self._clients = FacetServer(
            credentials,
            instance_id,
            ACCESS if replicas is None else REPLICA_ACCESS,
            [INTERACTION, PROCESSES],
            share_ports=share_ports,
        )
        self._tethers = FacetServer(
            credentials,
            instance_id,
            TETHER_ACCESS,
            [TETHERS],
            max_message_bytes=MAX_MESSAGE_BYTES,
            max_streams=MAX_STREAMS,
            share_ports=share_ports,
            lasting=True,
            reflect=False,
        )

        def here(servicer: Any, service: ServiceDescriptor) -> Any:
            return servicer if replicas is None else routed(servicer, service, replicas)

        interaction_pb2_grpc.add_InteractionServiceServicer_to_server(
            here(clients, INTERACTION), self._clients.server
        )
        process_pb2_grpc.add_ProcessServiceServicer_to_server(
            here(processes, PROCESSES), self._clients.server
        )
        tether_pb2_grpc.add_TetherServiceServicer_to_server(
            here(tethers, TETHERS), self._tethers.server
        )
        if replicas is not None:
            tether_pb2_grpc.add_TetherServiceServicer_to_server(
                received(tethers, TETHERS), self._clients.server
            )

    @classmethod
    async def open(
        cls,
        credentials: Credentials,
        instance_id: str,
        database: str,
        state_dir: Path,
        holder: Holder,
        address: str = "",
        *,
        share_ports: bool = False,
    ) -> "InteractionService":
        """Open the facet's state, as it was left; ``holder`` is for files of what doesn't run.

        Raises what the database raises, OSError.
        """
        store = await open_store(database, MIGRATIONS)
        logs = LogStore(state_dir / LOGS)
        service = cls(
            credentials, instance_id, store, logs, holder, address, share_ports=share_ports
        )
        await service.sessions.load()
        if service._replicas is not None:
            service.lost = await service._stack.enter_async_context(service._replicas.present())
            service._following = [
                asyncio.create_task(service._journal.follow_replicas()),
                asyncio.create_task(service.tethers.follow_replicas()),
            ]
        return service

    async def serve_clients(self, addresses: Sequence[str]) -> None:
        """Begin to serve facets and clients. Raises OSError."""
        await self._clients.start(addresses)

    async def serve_tethers(self, addresses: Sequence[str]) -> None:
        """Begin to serve tethers. Raises OSError."""
        await self._tethers.start(addresses)

    async def close(self) -> None:
        """End all streams and close the state."""
        self._closing.close()
        for task in self._following:
            task.cancel()
        if self._following:
            await asyncio.wait(self._following)
        await self._tethers.stop()
        await self._clients.stop()
        await self.sessions.stop()
        self._logs.close()
        await self._stack.aclose()
        await self._store.close()

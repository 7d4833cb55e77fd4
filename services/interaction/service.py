"""The facet put together: state, domain and the two servers. Used by the process and by tests."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from vic.interaction.v1 import interaction_pb2_grpc, process_pb2_grpc
from vic.tether.v1 import tether_pb2_grpc

from portlayer.identity import Credentials
from portlayer.server import FacetServer
from portlayer.store import Store, open_store
from services.interaction.events import EventJournal
from services.interaction.execs import Execs
from services.interaction.files import Files
from services.interaction.launch import Launcher
from services.interaction.logstore import LogStore
from services.interaction.process_server import ProcessServicer
from services.interaction.race import Closing
from services.interaction.registry import Sessions
from services.interaction.roles import (
    ACCESS,
    INTERACTION,
    PROCESSES,
    TETHER_ACCESS,
    TETHERS,
)
from services.interaction.server import InteractionServicer
from services.interaction.store import MIGRATIONS, InteractionStore
from services.interaction.tether_server import MAX_MESSAGE_BYTES, MAX_STREAMS, TetherServicer

LOGS: Final = "logs"


class InteractionService:
    """Serves clients and exec at one place, tethers at another."""

    def __init__(
        self, credentials: Credentials, instance_id: str, store: Store, logs: LogStore
    ) -> None:
        self._store = store
        self._logs = logs
        self._closing = Closing()
        tables = InteractionStore(store)
        journal = EventJournal(tables)
        self.sessions = Sessions(tables, journal, logs)
        launcher = Launcher(tables)
        execs = Execs(self.sessions, launcher, tables)
        self._clients = FacetServer(credentials, instance_id, ACCESS, [INTERACTION, PROCESSES])
        interaction_pb2_grpc.add_InteractionServiceServicer_to_server(
            InteractionServicer(self.sessions, execs, launcher, Files(launcher), self._closing),
            self._clients.server,
        )
        process_pb2_grpc.add_ProcessServiceServicer_to_server(
            ProcessServicer(self.sessions, launcher, journal, self._closing),
            self._clients.server,
        )
        self._tethers = FacetServer(
            credentials,
            instance_id,
            TETHER_ACCESS,
            [TETHERS],
            max_message_bytes=MAX_MESSAGE_BYTES,
            max_streams=MAX_STREAMS,
            reflect=False,
        )
        tether_pb2_grpc.add_TetherServiceServicer_to_server(
            TetherServicer(self.sessions, self._closing), self._tethers.server
        )

    @classmethod
    async def open(
        cls, credentials: Credentials, instance_id: str, database: str, state_dir: Path
    ) -> "InteractionService":
        """Open the facet's state, as it was left. Raises what the database raises, OSError."""
        store = await open_store(database, MIGRATIONS)
        service = cls(credentials, instance_id, store, LogStore(state_dir / LOGS))
        await service.sessions.load()
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
        await self._tethers.stop()
        await self._clients.stop()
        self._logs.close()
        await self._store.close()

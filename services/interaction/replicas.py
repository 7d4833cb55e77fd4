"""Several processes of this service on one PostgreSQL database, each with containers of its own.

A container is one replica's at a time, which alone has its session, hears its tether and writes its
log; the log lies where all can reach it. That is on record, and holds for as long as its holder is
present: PostgreSQL sees at once that a process is gone, and then whoever is asked for the container
takes it over as a restarted service would. What another one has is carried there (``routing.py``).
"""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from portlayer.client import FacetChannel, open_channel
from portlayer.errors import Unavailable
from portlayer.identity import Credentials, Role
from services.interaction.registry import Sessions
from services.interaction.store import InteractionStore
from services.interaction.waiting import WaitingTethers, waits_by_name

log = logging.getLogger("vic.interaction.replicas")

# A container may change hands while it is looked for; more often in a row it doesn't.
_ATTEMPTS = 3


def new_replica_id() -> str:
    """Return an ID that no replica had before."""
    return secrets.token_hex(16)


class Replicas:
    """This replica among the others."""

    def __init__(
        self,
        replica_id: str,
        address: str,
        instance_id: str,
        credentials: Credentials,
        store: InteractionStore,
        sessions: Sessions,
        tethers: WaitingTethers,
    ) -> None:
        """``address`` is where the others reach this one's clients' server, by gRPC."""
        self._id = replica_id
        self._address = address
        self._instance_id = instance_id
        self._credentials = credentials
        self._store = store
        self._sessions = sessions
        self._tethers = tethers
        self._channels: dict[str, FacetChannel] = {}

    @asynccontextmanager
    async def present(self) -> AsyncIterator[asyncio.Event]:
        """Be one of them; the event tells that the others take this one for dead.

        Then it must end: what it has, others may have by now.
        """
        async with self._store.neighbours.presence(_name(self._id)) as lost:
            await self._store.put_replica(self._id, self._address)
            await self._forget_the_dead()
            try:
                yield lost
            finally:
                for channel in self._channels.values():
                    await channel.close()

    async def _forget_the_dead(self) -> None:
        for replica_id in await self._store.replicas():
            if not await self._store.neighbours.is_present(_name(replica_id)):
                await self._store.remove_replica(replica_id)

    async def elsewhere(self, container_id: str) -> FacetChannel | None:
        """Return a channel to the replica that has a container, or None when it is ours.

        One that is nobody's becomes ours; one that isn't known is for this replica to refuse.
        Raises Unavailable.
        """
        if self._sessions.find(container_id) is not None:
            return None
        neighbours = self._store.neighbours
        for _ in range(_ATTEMPTS):
            holder = await self._store.holder(container_id)
            if holder is None:
                return None
            if holder.id not in ("", self._id) and await neighbours.is_present(_name(holder.id)):
                return self._channel(holder.address)
            if await self._store.take(container_id, holder.id, self._id):
                log.info("took over", extra={"container": container_id, "from": holder.id})
                await self._sessions.adopt(container_id)
                return None
        raise Unavailable(f"container {container_id} is changing hands")

    async def elsewhere_by_tether(self, tether_id: str) -> FacetChannel | None:
        """Return the same for who a tether's certificate names; one that waits may wait here."""
        if not waits_by_name(tether_id):
            return await self.elsewhere(tether_id)
        given = await self._tethers.given(tether_id)
        return None if given is None else await self.elsewhere(given.container_id)

    async def elsewhere_by_exec(self, exec_id: str) -> FacetChannel | None:
        """Return the same for the container of an additional process."""
        if any(exec_id in session.execs for session in self._sessions):
            return None
        container_id = await self._store.container_of(exec_id)
        return None if container_id is None else await self.elsewhere(container_id)

    def _channel(self, address: str) -> FacetChannel:
        channel = self._channels.get(address)
        if channel is None:
            channel = open_channel(address, Role.INTERACTION, self._instance_id, self._credentials)
            self._channels[address] = channel
        return channel


def _name(replica_id: str) -> str:
    return f"interaction replica {replica_id}"

"""All containers that are registered."""

import asyncio
import re
from collections.abc import Iterator
from typing import Final
from weakref import WeakValueDictionary

from portlayer.errors import InvalidArgument, NotFound, Reason
from services.interaction.events import EventJournal
from services.interaction.logstore import LogStore
from services.interaction.sessions import Session
from services.interaction.store import ContainerRow, InteractionStore, Options, ProcessRow

_ID: Final = re.compile(r"[0-9a-f]{64}")


class Sessions:
    """All registered containers; where there are replicas, those that this one has."""

    def __init__(
        self,
        store: InteractionStore,
        journal: EventJournal,
        logs: LogStore,
        replica_id: str = "",
    ) -> None:
        self._store = store
        self._journal = journal
        self._logs = logs
        self._replica_id = replica_id
        self._sessions: dict[str, Session] = {}
        # Of containers that are being registered or forgotten; others don't wait for them.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def _turn(self, container_id: str) -> asyncio.Lock:
        # Kept alive by those who hold it or wait for it.
        return self._turns.setdefault(container_id, asyncio.Lock())

    async def load(self) -> None:
        """Take in what was registered before a restart.

        A replica begins with nothing, and adopts what it is asked for and nobody has.
        """
        await self._journal.load()
        # In this order: what is registered in between has no log yet.
        logs = await self._logs.kept()
        await self._logs.sweep(logs, set(await self._store.container_ids()))
        if self._replica_id:
            return
        rows: dict[str, list[ProcessRow]] = {}
        for row in await self._store.processes():
            rows.setdefault(row.container_id, []).append(row)
        for container in await self._store.containers():
            session = await self._session(container)
            session.restore(rows.get(container.id, ()))
            self._sessions[container.id] = session

    async def adopt(self, container_id: str) -> None:
        """Take in a container that has become this replica's; nothing to do for one it has."""
        async with self._turn(container_id):
            if container_id in self._sessions:
                return
            found = await self._store.container(container_id)
            if found is None:
                return
            container, processes = found
            session = await self._session(container)
            session.restore(processes)
            self._sessions[container_id] = session

    async def registered(self) -> list[str]:
        """Return the IDs of all containers that are known, to whichever replica."""
        return await self._store.container_ids() if self._replica_id else list(self._sessions)

    async def _session(self, row: ContainerRow) -> Session:
        await self._logs.know(row.id)
        session = Session(row, self._logs.log(row.id), self._store, self._journal)
        await session.configure(row.options)
        return session

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._sessions.values()))

    def find(self, container_id: str) -> Session | None:
        """Return a container, or None when it isn't registered."""
        return self._sessions.get(container_id)

    def get(self, container_id: str) -> Session:
        """Return a container. Raises NotFound (CONTAINER_NOT_FOUND)."""
        session = self._sessions.get(container_id)
        if session is None:
            raise NotFound(f"No such container: {container_id}", Reason.CONTAINER_NOT_FOUND)
        return session

    async def register(self, container_id: str, options: Options) -> None:
        """Make a container known, or change its options. Raises InvalidArgument."""
        if not _ID.fullmatch(container_id):
            raise InvalidArgument("a container's ID has 64 hexadecimal digits")
        async with self._turn(container_id):
            row = ContainerRow(container_id, options, holder=self._replica_id)
            await self._store.put_container(row)
            session = self._sessions.get(container_id)
            if session is None:
                self._sessions[container_id] = await self._session(row)
            else:
                await session.configure(options)

    async def unregister(self, container_id: str) -> None:
        """Forget a container, its processes and its log; nothing to do when it isn't known."""
        async with self._turn(container_id):
            await self._store.remove_container(container_id)
            session = self._sessions.pop(container_id, None)
        if session is not None:
            await session.remove()

    async def stop(self) -> None:
        """Break off what goes on by itself: this process ends."""
        for session in self:
            await session.stop()

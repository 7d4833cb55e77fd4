"""Which requests were carried out, so that a retry which comes to another replica does nothing.

On PostgreSQL alone: where there is one process, its own memory is enough (:mod:`operations`).
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import sqlalchemy as sa

from portlayer.store import Store
from services.exec.operations import REMEMBER_SECONDS
from services.exec.schema import REQUESTS


class Answers:
    """The requests that any replica has carried out of late."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @asynccontextmanager
    async def request(self, verb: str, request_id: str) -> AsyncIterator["Answer"]:
        """Wait until no replica is at a request, and keep them from it."""
        if not request_id or self._store.neighbours.alone:
            yield Answer(None)
            return
        key = f"{verb} {request_id}"
        async with self._store.neighbours.turn(f"request {key}"):
            query = sa.select(REQUESTS.c.container_id).where(REQUESTS.c.name == key)
            async with self._store.reading() as connection:
                answer = Answer((await connection.execute(query)).scalar())
            done = answer.container_id
            yield answer
            if answer.container_id and answer.container_id != done:
                await self._remember(key, answer.container_id)

    async def _remember(self, key: str, container_id: str) -> None:
        now = time.time_ns()
        horizon = now - int(REMEMBER_SECONDS * 1e9)
        async with self._store.transaction() as connection:
            await connection.execute(REQUESTS.delete().where(REQUESTS.c.time_ns < horizon))
            await connection.execute(
                REQUESTS.insert().values(name=key, container_id=container_id, time_ns=now)
            )


class Answer:
    """The container that a request was about; None until it was carried out."""

    def __init__(self, container_id: str | None) -> None:
        self.container_id = container_id

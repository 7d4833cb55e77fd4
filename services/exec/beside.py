"""What lies beside a container's disk, kept such that a lost database can be made again of it."""

import asyncio
import logging

from vic.storage.v1 import disk_pb2

from portlayer.errors import VicError
from services.exec.operations import Turns
from services.exec.peers import Peers
from services.exec.store import Containers

log = logging.getLogger("vic.exec.beside")


class Beside:
    """Writes how a container is there, after each start and end.

    It is a copy: that it couldn't be written keeps nothing from being done.
    """

    def __init__(self, containers: Containers, turns: Turns, peers: Peers) -> None:
        self._containers = containers
        self._turns = turns
        self._peers = peers
        self._works: set[asyncio.Task[None]] = set()

    async def write(self, container_id: str) -> None:
        """Write a container as it is now. The caller has its turn."""
        record = await self._containers.get(container_id)
        if record is None or record.spec.auto_remove:
            # What is removed at its end is never looked for.
            return
        try:
            await self._peers.disks.PutSpecification(
                disk_pb2.PutSpecificationRequest(
                    container_id=record.id, specification=record.specification()
                )
            )
        except VicError as error:
            log.warning("what lies beside the disk of %s is old: %s", record.id, error.message)

    def write_soon(self, container_id: str) -> None:
        """Write it when whoever has the container's turn is done."""
        task = asyncio.create_task(self._write(container_id), name=f"beside {container_id}")
        self._works.add(task)
        task.add_done_callback(self._works.discard)

    async def _write(self, container_id: str) -> None:
        try:
            async with self._turns.turn(container_id):
                await self.write(container_id)
        except VicError as error:
            log.warning("cannot describe %s beside its disk: %s", container_id, error.message)

    async def drain(self) -> None:
        """Wait for what is being written."""
        while self._works:
            await asyncio.wait(set(self._works))

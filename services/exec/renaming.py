"""Rename: another name for a container, also in its networks and beside its disk."""

from contextlib import AsyncExitStack
from dataclasses import replace

from vic.exec.v1 import container_pb2, exec_pb2
from vic.network.v1 import network_pb2

from portlayer.errors import InvalidArgument, Reason
from services.exec.events import event
from services.exec.names import validate_name
from services.exec.parts import Parts, check_record
from services.exec.record import Record
from services.exec.states import Verb


class Renaming:
    """Renames containers."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def rename(self, container_id: str, new_name: str) -> Record:
        """Give a container another name."""
        new_name = new_name.removeprefix("/")
        if not new_name:
            raise InvalidArgument("Neither old nor new names may be empty", Reason.INVALID_SPEC)
        validate_name(new_name)
        async with self._parts.turns.turn(container_id):
            record = await self._parts.current(container_id)
            check_record(Verb.RENAME, record)
            if record.name == new_name:
                raise InvalidArgument(
                    "Renaming a container with the same name as its current name",
                    Reason.SAME_NAME,
                )
            spec = container_pb2.ContainerSpec()
            spec.CopyFrom(record.spec)
            spec.name = new_name
            renamed = replace(record, name=new_name, spec=spec)
            await self._parts.containers.check_name(renamed)
            async with AsyncExitStack() as undo:
                await self._parts.put_specification(renamed)
                undo.push_async_callback(self._parts.put_specification, record)
                undo.push_async_callback(self._name_in_networks, record)
                await self._name_in_networks(renamed)
                await self._parts.containers.rename(
                    renamed, event(renamed, exec_pb2.EVENT_KIND_RENAME, oldName=f"/{record.name}")
                )
                undo.pop_all()
            self._parts.events.announce(record.id)
            return await self._parts.current(container_id)

    async def _name_in_networks(self, record: Record) -> None:
        await self._parts.peers.network.Rename(
            network_pb2.RenameRequest(container_id=record.id, container_name=record.name)
        )

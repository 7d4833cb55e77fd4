"""How ends of VMs and of processes are taken in."""

import asyncio
from typing import Any

import pytest
from vic.exec.v1 import container_pb2

from services.exec.drivers import MachineExited
from services.exec.exitrecord import Exit, parse_exit_record
from services.exec.exits import POWER_OFF_SECONDS
from services.exec.record import Record
from services.exec.states import State
from tests.unit.exec.conftest import Facet, turns
from tests.unit.exec.test_crashes import unheard

_VOLUME = container_pb2.Mount(kind=container_pb2.MOUNT_KIND_VOLUME, source="data", target="/data")


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"nonsense",
        b"[" * 60_000,
        b"\xff\xfe",
        b"1" * 10_000,
        b"[]",
        b'{"exit_code": "0"}',
        b'{"exit_code": 256}',
        b'{"exit_code": true}',
        b'{"exit_code": -1}',
    ],
)
def test_an_exit_record_that_is_none_counts_as_nothing(record: bytes) -> None:
    assert parse_exit_record(record) is None


def test_the_last_line_of_an_exit_record_counts() -> None:
    record = b'{"exit_code": 1}\n{"exit_code": 3, "oom_killed": true, "finished_at_ns": 5}\n'
    how = parse_exit_record(record)
    assert how is not None
    assert (how.exit_code, how.oom_killed, how.finished_ns) == (3, True, 5)


@pytest.mark.parametrize(
    ("fields", "waited"),
    [
        ({"auto_remove": True}, False),
        # Its disk, and its volumes, are wanted whole.
        ({}, True),
        ({"auto_remove": True, "mounts": [_VOLUME]}, True),
    ],
)
async def test_the_end_of_a_vm_whose_disk_goes_with_it_is_not_waited_for(
    facet: Facet, fields: dict[str, Any], waited: bool
) -> None:
    container_id = await facet.run(**fields)
    await facet.peers.end(container_id, 0)
    await facet.exits.drain()
    assert facet.hypervisor.waited_for_ends == [waited]


async def test_a_vm_that_ends_while_the_record_is_looked_at_is_not_waited_for(
    facet: Facet, monkeypatch: pytest.MonkeyPatch
) -> None:
    container_id = await facet.run()
    boot_id = facet.peers.boots[container_id]
    facet = facet.restarted()
    get = facet.containers.get

    async def ending(reference: str) -> Record | None:
        # Its end is heard of, and put on record, while the answer is on its way.
        monkeypatch.undo()
        monkeypatch.setattr(facet.peers, "PowerOff", unheard)
        await facet.exits.process_ended(container_id, boot_id, Exit(3, False, 1))
        return await get(reference)

    monkeypatch.setattr(facet.containers, "get", ending)
    async with asyncio.timeout(POWER_OFF_SECONDS / 2):
        await facet.exits.machine_exited(MachineExited(container_id, boot_id, b"", ""))
        await facet.exits.drain()
    ended = await facet.containers.resolve(container_id)
    assert (ended.state, ended.exit_code, ended.boot_id) == (State.EXITED, 3, "")


async def test_who_waits_in_vain_leaves_nothing(facet: Facet) -> None:
    record = await facet.containers.resolve(await facet.run())
    facet = facet.restarted()
    in_vain, waiting = (asyncio.create_task(facet.exits.ended(record)) for _ in range(2))
    await turns()
    in_vain.cancel()
    await asyncio.wait({in_vain})
    # Nor does it take anything from who waits on.
    assert set(facet.exits._boots) == {record.boot_id}
    assert not waiting.done()
    waiting.cancel()
    await asyncio.wait({waiting})
    assert facet.exits._boots == {}

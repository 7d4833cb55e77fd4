"""How ends of VMs and of processes are taken in."""

from typing import Any

import pytest
from vic.exec.v1 import container_pb2

from services.exec.exits import parse_exit_record
from tests.unit.exec.conftest import Facet

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

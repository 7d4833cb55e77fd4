"""How ends of VMs and of processes are taken in."""

import pytest

from services.exec.exits import parse_exit_record


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

"""Blocks on their way to the disk."""

import errno
import threading

import pytest

from services.storage.compiler.ext4.superblock import BLOCK
from services.storage.compiler.output import GATHER, BlockOutput


class Sink:
    """Keeps what is written, or fails."""

    def __init__(self, room: int | None = None) -> None:
        self.writes: list[tuple[int, bytes]] = []
        self.room = room

    def write(self, offset: int, *parts: memoryview) -> None:
        if self.room is not None and len(self.writes) >= self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.writes.append((offset, b"".join(parts)))


def block(number: int) -> bytes:
    return number.to_bytes(4, "big") * (BLOCK // 4)


def test_neighbours_are_written_together_and_all_in_their_order() -> None:
    sink = Sink()
    with BlockOutput(sink) as output:
        for number in (7, 8, 9, 3, 4, 9):
            output.put(number, block(number))
        output.finish()
    assert sink.writes == [
        (7 * BLOCK, block(7) + block(8) + block(9)),
        (3 * BLOCK, block(3) + block(4)),
        (9 * BLOCK, block(9)),
    ]


def test_what_is_more_than_all_buffers_comes_whole() -> None:
    sink = Sink()
    count = 20 * GATHER // BLOCK
    with BlockOutput(sink) as output:
        for number in range(count):
            output.put(number, block(number))
        output.finish()
    assert b"".join(data for _, data in sink.writes) == b"".join(map(block, range(count)))
    assert {len(data) for _, data in sink.writes} == {GATHER}


def test_few_buffers_are_kept_for_what_is_lent_of_them() -> None:
    sink = Sink()
    lenders = [bytes([number]) * 10_000 for number in range(40)]
    with BlockOutput(sink) as output:
        for number, lender in enumerate(lenders):
            output.lend(2 * number, [memoryview(lender)[:100]], 100)
            output.lend(2 * number + 1, [memoryview(lender)[100:200], memoryview(lender)[:1]], 101)
        output.finish()
    assert max(len(data) for _, data in sink.writes) == 4 * BLOCK
    expected = b"".join(
        bytes([number]) * length + bytes(BLOCK - length)
        for number in range(40)
        for length in (100, 101)
    )
    assert b"".join(data for _, data in sink.writes) == expected


@pytest.mark.parametrize(("room", "pieces"), [(0, 1), (0, 30), (1, 2), (1, 30), (5, 30)])
def test_a_disk_that_is_full_is_told_and_ends_the_thread(room: int, pieces: int) -> None:
    sink = Sink(room)
    with pytest.raises(OSError, match="No space left") as failed, BlockOutput(sink) as output:
        for number in range(pieces):
            output.put(2 * number, block(number))
        output.finish()
    assert failed.value.errno == errno.ENOSPC
    assert not any(thread.name == "output" for thread in threading.enumerate())


def test_who_leaves_early_ends_the_thread() -> None:
    with pytest.raises(KeyError), BlockOutput(Sink()) as output:
        output.put(1, block(1))
        raise KeyError
    assert not any(thread.name == "output" for thread in threading.enumerate())

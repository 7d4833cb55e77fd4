"""When a machine that has said its last word is ended."""

import asyncio
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostagent import leaving as module
from hostagent.leaving import LEAVE_SECONDS, Leaving
from hostagent.outputs import Outputs
from tether.guestconfig import LONGEST_FAREWELL

RECORD = b'{"exit_code": 0}\n'


class Guest:
    """A machine by its exit port, and when it is to be ended."""

    def __init__(self, outputs: Outputs) -> None:
        self._outputs = outputs
        self.port = outputs.open_exit("m")
        self.leaving = Leaving()
        self.over = asyncio.Event()

    def says(self, text: bytes) -> None:
        """Have it write, and the agent see that."""
        os.write(self.port, text)
        self.looked()

    def looked(self) -> None:
        """Have the agent see what there is."""
        self.leaving.look(self._outputs, "m", self.over.set)

    @property
    def has(self) -> float | None:
        """How many seconds it has, where somebody waits for its end."""
        timer = self.leaving._timer
        return None if timer is None else timer.when() - asyncio.get_running_loop().time()


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[Guest]:
    for name in ("consoles", "exits"):
        (tmp_path / name).mkdir()
    made = Guest(Outputs(tmp_path / "consoles", tmp_path / "exits"))
    yield made
    made.leaving.forget()
    os.close(made.port)


async def test_a_guest_that_hands_over_output_has_the_time_for_that(guest: Guest) -> None:
    guest.says(RECORD[:5])
    assert guest.has is None
    guest.says(RECORD[5:])
    assert guest.has == pytest.approx(LONGEST_FAREWELL + LEAVE_SECONDS, abs=5)


async def test_one_that_powers_off_has_ten_seconds(guest: Guest) -> None:
    guest.says(RECORD)
    guest.says(RECORD[:5])
    assert guest.has == pytest.approx(LONGEST_FAREWELL + LEAVE_SECONDS, abs=5)
    guest.says(RECORD[5:])
    assert guest.has == pytest.approx(LEAVE_SECONDS, abs=5)


async def test_both_may_come_in_one_piece(guest: Guest) -> None:
    guest.says(RECORD * 2)
    assert guest.has == pytest.approx(LEAVE_SECONDS, abs=5)


async def test_it_is_ended_then(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEAVE_SECONDS", 0.0)
    guest.says(RECORD * 2)
    async with asyncio.timeout(60):
        await guest.over.wait()


@pytest.mark.parametrize(
    ("passed", "lines", "left"),
    [(60, 1, LONGEST_FAREWELL + LEAVE_SECONDS - 60), (6, 2, LEAVE_SECONDS - 6), (60, 2, 0)],
)
async def test_an_agent_that_comes_later_waits_no_longer(
    guest: Guest, passed: float, lines: int, left: float
) -> None:
    os.write(guest.port, RECORD * lines)
    at = time.time() - passed
    os.utime(guest.port, (at, at))
    guest.looked()
    assert guest.has == pytest.approx(left, abs=3)


async def test_a_clock_that_was_set_back_gives_no_more_time(guest: Guest) -> None:
    os.write(guest.port, RECORD * 2)
    os.utime(guest.port, (time.time() + 3600, time.time() + 3600))
    guest.looked()
    assert guest.has == pytest.approx(LEAVE_SECONDS, abs=3)


async def test_what_it_says_beyond_that_is_not_looked_at(
    guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    outputs = guest._outputs
    real = outputs.exit_record_from

    def counted(machine_id: str, offset: int) -> tuple[bytes, float]:
        said, at = real(machine_id, offset)
        read.append(len(said))
        return said, at

    monkeypatch.setattr(outputs, "exit_record_from", counted)
    for _ in range(100):
        guest.says(b"x")
    assert read == [1] * 100
    guest.says(b"\n")
    guest.says(b"\n")
    timer = guest.leaving._timer
    read.clear()
    for _ in range(100):
        guest.says(b"\n")
    assert not read
    assert guest.leaving._timer is timer

"""The journal of events."""

import asyncio
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hostagent import journal as module
from hostagent.journal import EXITED, LAUNCHED, REPORTED, Event, Journal
from portlayer.errors import OutOfRange
from portlayer.threads import in_thread

KILLED = """
import os, pathlib, sys
from hostagent.journal import LAUNCHED, Journal
journal = Journal(pathlib.Path(sys.argv[1]))
for number in range(3):
    journal.append(LAUNCHED, "m", str(number), {})
journal.forget(journal.last - 1)
os._exit(0)
"""
"""A process that ends without closing its journal."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    made = Journal(path)
    yield made
    made.close()


async def take(journal: Journal, after: int, count: int) -> list[Event]:
    found: list[Event] = []
    async with asyncio.timeout(60):
        async for event in journal.after(after):
            found.append(event)
            if len(found) == count:
                break
    return found


async def test_events_come_in_order_and_those_to_come_as_well(journal: Journal) -> None:
    journal.append(LAUNCHED, "m", "1", {"pid": 5})
    waiting = asyncio.create_task(take(journal, 0, 2))
    await asyncio.sleep(0)
    journal.append(EXITED, "m", "1", {"code": 0}, record=b"r", tail=b"t")
    first, second = await waiting
    assert (first.kind, first.fields) == (LAUNCHED, {"pid": 5})
    assert (second.kind, second.record, second.tail) == (EXITED, b"r", b"t")
    assert second.sequence == first.sequence + 1 == journal.last


async def test_an_exit_is_told_once_however_often_it_is_found(journal: Journal) -> None:
    for code in (0, 1):
        journal.append(EXITED, "m", "1", {"code": code})
    journal.append(REPORTED, "m", "2", {})
    journal.append(REPORTED, "m", "2", {})
    kinds = [event.kind for event in await take(journal, 0, 3)]
    assert kinds == [EXITED, REPORTED, REPORTED]
    assert journal.has_ended("m", "1")
    assert not journal.has_ended("m", "2")


async def test_what_is_not_acknowledged_outlives_the_process(path: Path) -> None:
    await in_thread(lambda: subprocess.run([sys.executable, "-c", KILLED, path], check=True))
    second = Journal(path)
    assert [event.launch_id for event in await take(second, 0, 1)] == ["2"]
    last = second.last
    assert last == second.forgotten + 1
    second.forget(last)
    second.close()
    third = Journal(path)
    third.append(LAUNCHED, "m", "3", {})
    assert third.last == last + 1
    third.close()


async def test_who_asks_for_events_that_are_gone_is_told(journal: Journal) -> None:
    for number in range(3):
        journal.append(LAUNCHED, "m", str(number), {})
    last = journal.last
    journal.check(0)
    journal.check(last - 3)
    journal.forget(last - 1)
    journal.check(last - 1)
    journal.check(last)
    journal.check(0)
    for wrong in (1, last - 2, last + 1):
        with pytest.raises(OutOfRange):
            journal.check(wrong)


def test_a_number_that_was_never_given_cannot_be_acknowledged(journal: Journal) -> None:
    journal.append(LAUNCHED, "m", "1", {})
    journal.forget(journal.last + 1000)
    journal.append(EXITED, "m", "1", {})
    assert journal.has_ended("m", "1")


def test_a_new_journal_gives_no_number_that_an_old_one_gave(tmp_path: Path) -> None:
    first, second = (Journal(tmp_path / name) for name in ("a", "b"))
    first.append(LAUNCHED, "m", "1", {})
    assert second.last > 10**12
    first.close()
    second.close()


def test_it_is_bounded(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_EVENTS", 10)
    for number in range(15):
        journal.append(LAUNCHED, "m", str(number), {})
    assert journal.last - journal.forgotten == 10


def test_it_knows_machines_and_launches(journal: Journal) -> None:
    journal.append(LAUNCHED, "m", "1", {})
    assert journal.knows("m", "")
    assert journal.knows("m", "1")
    assert not journal.knows("m", "2")
    assert not journal.knows("n", "")


async def test_one_is_opened_and_read_where_nothing_can_be_written(path: Path) -> None:
    first = Journal(path)
    first.append(EXITED, "m", "1", {}, record=b"r")
    first.close()
    _, most = limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, most))  # a full disk, as far as SQLite can tell
    try:
        second = Journal(path)
        found = await take(second, 0, 1)
        with pytest.raises(sqlite3.Error):
            second.append(EXITED, "n", "1", {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert found[0].record == b"r"
    second.append(EXITED, "n", "1", {})
    assert second.has_ended("n", "1")
    second.close()

"""A journal of events: in order, exactly once, bounded, through restarts."""

import asyncio
import fcntl
import os
import sys
from contextlib import aclosing
from pathlib import Path
from typing import NoReturn

import pytest

from portlayer import file_watch, journal_file
from portlayer import journal as journals
from portlayer.errors import OutOfRange, Reason, Unavailable
from portlayer.file_watch import FileWatch
from portlayer.journal import Entry, Journal
from tests.descriptors import open_descriptors


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


async def read(journal: Journal, after: int, count: int, **bounds: int) -> list[str]:
    async with asyncio.timeout(60), aclosing(journal.follow(after, **bounds)) as following:
        return [(await anext(following)).actor for _ in range(count)]


async def test_each_watcher_gets_each_event_once_in_order(path: Path) -> None:
    journal = Journal(path)
    begin = journal.start_of(0, 0)
    watching = [asyncio.create_task(read(journal, begin, 4)) for _ in range(3)]
    for actor in "abcd":
        journal.add(1, actor)
        await asyncio.sleep(0)
    assert await asyncio.gather(*watching) == [list("abcd")] * 3


async def test_it_survives_a_restart_and_a_line_that_was_cut(path: Path) -> None:
    journal = Journal(path)
    journal.add(1, "a", {"name": "é"})
    journal.add(2, "b")
    number = journal.newest
    with path.open("a") as file:
        file.write('{"sequence": 3, "ki')
    again = Journal(path)
    assert [(e.kind, e.actor, dict(e.attributes)) for e in again] == [
        (1, "a", {"name": "é"}),
        (2, "b", {}),
    ]
    again.add(3, "c")
    assert again.newest == number + 1
    assert [entry.actor for entry in Journal(path)] == ["a", "b", "c"]


async def test_it_is_bounded_and_who_fell_behind_is_told(path: Path) -> None:
    journal = Journal(path, kept=10)
    begin = journal.newest
    async with aclosing(journal.follow(begin)) as following:
        journal.add(1, "first")
        assert (await anext(following)).actor == "first"
        for number in range(50):
            journal.add(1, str(number))
        with pytest.raises(OutOfRange) as caught:
            await anext(following)
    assert caught.value.reason is Reason.HISTORY_LOST
    with pytest.raises(OutOfRange):
        journal.start_of(begin, 0)
    with pytest.raises(OutOfRange):
        journal.start_of(journal.newest + 1, 0)
    assert len(list(journal)) == 10
    assert len(path.read_text().splitlines()) <= 20


async def test_since_and_until_are_moments(path: Path) -> None:
    journal = Journal(path)
    for actor in "abc":
        journal.add(1, actor)
    moments: list[Entry] = list(journal)
    begin = journal.start_of(0, moments[1].time_ns)
    bounds = {"since_ns": moments[1].time_ns, "until_ns": moments[1].time_ns}
    async with aclosing(journal.follow(begin, **bounds)) as following:
        assert [entry.actor async for entry in following] == ["b"]
    assert await read(journal, begin, 2, since_ns=moments[1].time_ns) == ["b", "c"]


async def test_watchers_leave_when_the_service_stops(path: Path) -> None:
    journal = Journal(path)
    waiting = asyncio.create_task(read(journal, journal.newest, 1))
    await asyncio.sleep(0)
    journal.end_streams()
    with pytest.raises(Unavailable):
        await waiting


async def test_a_full_disk_keeps_nothing_from_being_told(path: Path) -> None:
    journal = Journal(path)
    begin = journal.newest
    path.unlink()
    path.mkdir()
    journal.add(1, "a")
    assert await read(journal, begin, 1) == ["a"]


async def test_a_file_that_was_taken_away_is_begun_anew(path: Path) -> None:
    one, other = Journal(path), Journal(path)
    one.add(1, "a")
    assert [entry.actor for entry in other] == ["a"]
    path.unlink()
    other.add(1, "b")
    one.add(1, "c")
    assert [entry.actor for entry in one] == [entry.actor for entry in other] == list("abc")
    assert [entry.actor for entry in Journal(path)] == list("bc")
    path.write_bytes(b"")
    one.add(1, "d")
    assert [entry.actor for entry in Journal(path)] == ["d"]
    assert [entry.actor for entry in other] == list("abcd")


async def test_after_a_full_disk_events_are_kept_again(path: Path) -> None:
    journal = Journal(path)
    path.unlink()
    path.mkdir()
    journal.add(1, "told")
    path.rmdir()
    journal.add(1, "kept")
    assert [entry.actor for entry in journal] == ["told", "kept"]
    assert [entry.actor for entry in Journal(path)] == ["kept"]


async def test_a_shorter_file_that_cant_be_opened_tells_nothing_twice(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(_path: Path, _flags: int) -> NoReturn:
        raise OSError(24, "too many open files")

    journal = Journal(path, kept=3)
    for actor in "abcde":
        journal.add(1, actor)
    with monkeypatch.context() as patch:
        patch.setattr(journal_file, "_open", none_left)
        # As many lines as make it write a shorter file.
        journal.add(1, "f")
    assert [entry.actor for entry in journal] == list("def")
    journal.add(1, "g")
    told = list(journal)
    assert [entry.actor for entry in told] == list("efg")
    assert [entry.sequence for entry in told] == [
        journal.newest - 2,
        journal.newest - 1,
        journal.newest,
    ]
    assert list(Journal(path)) == told


async def test_who_waits_to_write_gives_up_after_a_while_and_then_goes_on(path: Path) -> None:
    one, other = Journal(path), Journal(path)
    held = os.open(path.parent, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    one.add(1, "told")
    os.close(held)
    one.add(1, "kept")
    assert [entry.actor for entry in other] == ["kept"]


async def test_it_leaves_nothing_open(path: Path) -> None:
    before = open_descriptors()
    for number in range(3):
        journal = Journal(path, kept=1)
        for _ in range(5):
            journal.add(1, str(number))
        assert 0 < len(open_descriptors() - before) <= 3
        del journal
    assert not open_descriptors() - before


async def test_what_becomes_of_other_files_is_no_news(path: Path) -> None:
    told = asyncio.Event()
    looks = []

    def changed() -> None:
        looks.append(path.exists())
        told.set()

    watch = FileWatch(path, changed)
    path.with_name("events.jsonl-wal").write_text("x")
    path.with_name("other").write_text("x")
    await asyncio.sleep(0)
    path.write_text("x")
    async with asyncio.timeout(60):
        await told.wait()
    watch.close()
    assert looks == [True]


@pytest.mark.timeout(60)  # It went round and round once, and no timeout of the loop ends that.
async def test_a_history_without_events_has_an_end(path: Path) -> None:
    journal = Journal(path)
    async with asyncio.timeout(60):
        assert [entry async for entry in journal.follow(0, since_ns=1, until_ns=1)] == []


async def test_two_processes_tell_what_both_did_under_the_same_numbers(path: Path) -> None:
    one, other = Journal(path), Journal(path)
    begin = one.start_of(0, 0)
    assert other.start_of(0, 0) == begin
    watching = [asyncio.create_task(take(journal, begin, 6)) for journal in (one, other) * 2]
    for number in range(6):
        await asyncio.sleep(0)
        (one, other)[number % 2].add(1, str(number))
    told = await asyncio.gather(*watching)
    assert [entry.actor for entry in told[0]] == list("012345")
    assert told[1:] == told[:1] * 3
    # Who was sent away by one goes on at the other.
    assert await read(other, told[0][2].sequence, 3) == list("345")
    assert [entry.actor for entry in Journal(path)] == list("012345")


async def take(journal: Journal, after: int, count: int) -> list[Entry]:
    async with asyncio.timeout(60), aclosing(journal.follow(after)) as following:
        return [await anext(following) for _ in range(count)]


ADDING = """
import sys
from pathlib import Path
from portlayer import journal_file
from portlayer.journal import Journal
# Each holds the lock most of the time; on a machine that is busy as well none may give up.
journal_file._LOCK_SECONDS = 60.0
journal = Journal(Path(sys.argv[1]), kept=1000)
for number in range(300):
    journal.add(1, f"{sys.argv[2]}-{number}")
"""


async def test_processes_that_write_at_once_lose_and_double_nothing(path: Path) -> None:
    journal = Journal(path, kept=1000)
    watching = asyncio.create_task(take(journal, journal.newest, 900))
    adding = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", ADDING, str(path), name)
        for name in "abc"
    ]
    assert [await process.wait() for process in adding] == [0, 0, 0]
    told = await watching
    assert [entry.sequence for entry in told] == list(
        range(told[0].sequence, told[0].sequence + 900)
    )
    for name in "abc":
        own = [entry.actor for entry in told if entry.actor.startswith(name)]
        assert own == [f"{name}-{number}" for number in range(300)]


async def test_who_comes_back_to_a_shorter_file_is_told_that_events_are_gone(path: Path) -> None:
    slow, busy = Journal(path, kept=10), Journal(path, kept=10)
    slow.add(1, "seen")
    begin = slow.newest
    for number in range(50):
        busy.add(1, str(number))
    with pytest.raises(OutOfRange) as caught:
        slow.start_of(begin, 0)
    assert caught.value.reason is Reason.HISTORY_LOST
    assert list(slow) == list(busy)


async def test_without_a_watch_others_events_are_looked_for(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(_result: int) -> int:
        raise OSError(24, "too many open files")

    monkeypatch.setattr(file_watch, "_checked", none_left)
    monkeypatch.setattr(journals, "LOOK_SECONDS", 0.01)
    one, other = Journal(path), Journal(path)
    watching = asyncio.create_task(read(one, one.newest, 1))
    await asyncio.sleep(0)
    other.add(1, "a")
    assert await watching == ["a"]

"""Work that several wait for."""

import asyncio

import pytest

from services.storage.imagec.progress import (
    Progress,
    ProgressLines,
    Report,
    Status,
    ignore_progress,
)
from services.storage.imagec.shared_work import SharedWork


class Counted:
    """Work that can be let go, and counts."""

    def __init__(self) -> None:
        self.begun = 0
        self.ended: list[str] = []
        self.go = asyncio.Event()
        self.going = asyncio.Event()
        self.report: Report = ignore_progress

    def start(self, report: Report):  # type: ignore[no-untyped-def]
        self.begun += 1
        self.report = report
        return "subject", self._work(self.begun)

    async def _work(self, number: int) -> int:
        self.going.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        self.ended.append("done")
        return number


@pytest.fixture
async def work() -> Counted:
    return Counted()


async def ask(shared: SharedWork[str, str, int], work: Counted) -> int:
    async with shared.join("key", work.start, ignore_progress) as job:
        assert job.subject == "subject"
        return await job.result()


async def test_who_asks_while_it_goes_on_gets_the_same_result(work: Counted) -> None:
    shared: SharedWork[str, str, int] = SharedWork()
    tasks = [asyncio.create_task(ask(shared, work)) for _ in range(5)]
    await work.going.wait()
    work.go.set()
    assert await asyncio.gather(*tasks) == [1] * 5
    assert await ask(shared, work) == 2


async def test_it_goes_on_while_anybody_waits_and_is_cancelled_with_the_last(
    work: Counted,
) -> None:
    shared: SharedWork[str, str, int] = SharedWork()
    first, second = (asyncio.create_task(ask(shared, work)) for _ in range(2))
    await work.going.wait()
    first.cancel()
    await asyncio.wait([first])
    assert work.ended == []
    second.cancel()
    await asyncio.wait([second])
    assert work.ended == ["cancelled"]
    assert not shared.going_on("key")


async def test_who_asks_while_cancelled_work_still_ends_waits_for_its_end(work: Counted) -> None:
    shared: SharedWork[str, str, int] = SharedWork()
    clean, cleaned = asyncio.Event(), asyncio.Event()
    going: list[int] = []

    async def tidy(number: int) -> int:
        going.append(number)
        assert len(going) == 1
        try:
            work.going.set()
            await work.go.wait()
        finally:
            clean.set()
            await cleaned.wait()
            going.remove(number)
        return number

    async def ask_tidy() -> int:
        def start(_report: Report):  # type: ignore[no-untyped-def]
            work.begun += 1
            return "subject", tidy(work.begun)

        async with shared.join("key", start, ignore_progress) as job:
            return await job.result()

    first = asyncio.create_task(ask_tidy())
    await work.going.wait()
    first.cancel()
    await clean.wait()
    first.cancel()  # a second time, as when a sibling fails while the first is under way
    others = [asyncio.create_task(ask_tidy()) for _ in range(3)]
    for _ in range(10):
        await asyncio.sleep(0)
    assert (work.begun, first.done()) == (1, False)
    cleaned.set()
    work.go.set()
    assert await asyncio.gather(*others) == [2] * 3
    assert first.cancelled()


async def test_an_error_reaches_all_and_is_not_kept(work: Counted) -> None:
    shared: SharedWork[str, None, int] = SharedWork()

    async def fails() -> int:
        await work.go.wait()
        raise ValueError("no")

    async def ask_failing() -> int:
        async with shared.join("key", lambda _report: (None, fails()), ignore_progress) as job:
            return await job.result()

    tasks = [asyncio.create_task(ask_failing()) for _ in range(3)]
    work.go.set()
    assert [type(error) for error in await asyncio.gather(*tasks, return_exceptions=True)] == [
        ValueError
    ] * 3
    assert not shared.going_on("key")


async def test_a_late_comer_learns_how_far_it_has_come(work: Counted) -> None:
    shared: SharedWork[str, str, int] = SharedWork()
    early: list[Progress] = []
    late: list[Progress] = []
    line = Progress("x", Status.DOWNLOADING, 5, 10)
    async with shared.join("key", work.start, early.append):
        work.report(line)
        async with shared.join("key", work.start, late.append) as job:
            assert early == late == [line]
            work.go.set()
            await job.result()


async def test_progress_of_a_slow_reader_stays_bounded_and_in_order() -> None:
    lines = ProgressLines()
    lines.put(Progress("a", Status.PULLING_LAYER))
    for count in range(1000):
        lines.put(Progress("a", Status.DOWNLOADING, count, 1000))
        lines.put(Progress("b", Status.DOWNLOADING, count, 1000))
    lines.put(Progress("a", Status.PULL_COMPLETE))
    lines.end()
    assert [line async for line in lines] == [
        Progress("a", Status.PULLING_LAYER),
        Progress("a", Status.DOWNLOADING, 999, 1000),
        Progress("b", Status.DOWNLOADING, 999, 1000),
        Progress("a", Status.PULL_COMPLETE),
    ]


async def test_a_layer_tells_how_far_it_is_ten_times_a_second_at_most() -> None:
    now = 0.0
    lines = ProgressLines(clock=lambda: now)
    told: list[Progress] = []

    async def read() -> None:
        async for line in lines:
            told.append(line)

    reading = asyncio.create_task(read())
    lines.put(Progress("a", Status.PULLING_LAYER))
    for count in range(100):
        now = count / 64
        lines.put(Progress("a", Status.DOWNLOADING, count + 1, 100))
        lines.put(Progress("b", Status.DOWNLOADING, count + 1, 1000))
        await asyncio.sleep(0)  # the reader keeps up
    lines.put(Progress("a", Status.DOWNLOAD_COMPLETE))
    lines.put(Progress("a", Status.EXTRACTING, 1, 100))  # another status, told at once
    lines.end()
    await reading
    of_a = [line for line in told if line.id == "a"]
    assert [line.current for line in of_a if line.status is Status.DOWNLOADING] == [
        *range(1, 100, 7),
        100,  # the last, whenever it comes
    ]
    assert [line.status for line in of_a if line.status is not Status.DOWNLOADING] == [
        Status.PULLING_LAYER,
        Status.DOWNLOAD_COMPLETE,
        Status.EXTRACTING,
    ]
    assert len([line for line in told if line.id == "b"]) == 15

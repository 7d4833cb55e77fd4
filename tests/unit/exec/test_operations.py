"""A request that is repeated is done once, and one that failed is tried again."""

import asyncio

import pytest

from portlayer.errors import Unavailable
from services.exec import operations
from services.exec.operations import Requests


class Work:
    """Counts how often it was done; fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.done = 0
        self._failures = failures
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def __call__(self) -> int:
        await self.may_end.wait()
        if self._failures:
            self._failures -= 1
            raise Unavailable("away")
        self.done += 1
        return self.done


async def test_a_result_is_remembered_for_its_verb() -> None:
    requests: Requests[int] = Requests()
    work = Work()
    assert [await requests.once("Stop", "1", work) for _ in range(2)] == [1, 1]
    assert await requests.once("Start", "1", work) == 2
    assert await requests.once("Stop", "2", work) == 3


async def test_a_failure_is_not_remembered() -> None:
    requests: Requests[int] = Requests()
    work = Work(failures=1)
    with pytest.raises(Unavailable):
        await requests.once("Start", "1", work)
    assert await requests.once("Start", "1", work) == 1


async def test_a_repetition_meanwhile_shares_the_work() -> None:
    requests: Requests[int] = Requests()
    work = Work()
    work.may_end.clear()
    calls = [asyncio.create_task(requests.once("Start", "1", work)) for _ in range(2)]
    await asyncio.wait(calls, timeout=0.01)
    calls[0].cancel()
    work.may_end.set()
    assert await calls[1] == 1
    assert await requests.once("Start", "1", work) == 1


async def test_one_that_takes_long_keeps_no_other_in_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(operations, "REMEMBER_REQUESTS", 2)
    requests: Requests[int] = Requests()
    endless = Work()
    endless.may_end.clear()
    stopping = asyncio.create_task(requests.once("Stop", "long", endless))
    work = Work()
    for number in range(5):
        await requests.once("Start", str(number), work)
    assert await requests.once("Start", "0", work) == 6
    endless.may_end.set()
    assert await requests.drain(60)
    assert await stopping == 1


async def test_work_that_does_not_end_in_time_is_given_up() -> None:
    requests: Requests[int] = Requests()
    assert await requests.drain(60)
    endless = Work()
    endless.may_end.clear()
    stopping = asyncio.create_task(requests.once("Stop", "1", endless))
    await asyncio.wait({stopping}, timeout=0.01)
    assert not await requests.drain(0.01)
    with pytest.raises(asyncio.CancelledError):
        await stopping

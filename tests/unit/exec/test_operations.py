"""A request that is repeated is done once, and one that failed is tried again."""

import asyncio
from pathlib import Path

import pytest
from google.protobuf.wrappers_pb2 import Int64Value
from vic.exec.v1 import container_pb2

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

    async def __call__(self) -> Int64Value:
        await self.may_end.wait()
        if self._failures:
            self._failures -= 1
            raise Unavailable("away")
        self.done += 1
        return Int64Value(value=self.done)


async def once(requests: Requests[Int64Value], verb: str, request_id: str, work: Work) -> int:
    """Do a request, and return what its answer says."""
    return (await requests.once(verb, request_id, work)).value


async def test_a_result_is_remembered_for_its_verb() -> None:
    requests = Requests(Int64Value)
    work = Work()
    assert [await once(requests, "Stop", "1", work) for _ in range(2)] == [1, 1]
    assert await once(requests, "Start", "1", work) == 2
    assert await once(requests, "Stop", "2", work) == 3


async def test_a_failure_is_not_remembered() -> None:
    requests = Requests(Int64Value)
    work = Work(failures=1)
    with pytest.raises(Unavailable):
        await once(requests, "Start", "1", work)
    assert await once(requests, "Start", "1", work) == 1


async def test_a_repetition_meanwhile_shares_the_work() -> None:
    requests = Requests(Int64Value)
    work = Work()
    work.may_end.clear()
    calls = [asyncio.create_task(once(requests, "Start", "1", work)) for _ in range(2)]
    await asyncio.wait(calls, timeout=0.01)
    calls[0].cancel()
    work.may_end.set()
    assert await calls[1] == 1
    assert await once(requests, "Start", "1", work) == 1


async def test_one_that_takes_long_keeps_no_other_in_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(operations, "REMEMBER_BYTES", 1100)
    requests = Requests(Int64Value)
    endless = Work()
    endless.may_end.clear()
    stopping = asyncio.create_task(once(requests, "Stop", "long", endless))
    work = Work()
    for number in range(5):
        await once(requests, "Start", str(number), work)
    assert await once(requests, "Start", "0", work) == 6
    endless.may_end.set()
    assert await requests.drain(60)
    assert await stopping == 1


async def test_work_that_does_not_end_in_time_is_given_up() -> None:
    requests = Requests(Int64Value)
    assert await requests.drain(60)
    endless = Work()
    endless.may_end.clear()
    stopping = asyncio.create_task(once(requests, "Stop", "1", endless))
    await asyncio.wait({stopping}, timeout=0.01)
    assert not await requests.drain(0.01)
    with pytest.raises(asyncio.CancelledError):
        await stopping


async def test_what_is_remembered_takes_little_memory() -> None:
    """Of ten minutes' requests, of which there may be any number."""
    requests = Requests(container_pb2.Container)
    told = container_pb2.Container(
        id="c" * 64,
        spec=container_pb2.ContainerSpec(
            image="busybox",
            name="name",
            labels={"a": "b"},
            networks=[container_pb2.NetworkAttachment(network="bridge")],
            process={"args": ["sh", "-c", "echo begun"], "env": ["PATH=/bin"]},
        ),
    )

    async def work() -> container_pb2.Container:
        # Read, as one from the database is.
        read = container_pb2.Container.FromString(told.SerializeToString())
        assert read.spec.process.args
        return read

    before = own_memory()
    for number in range(20_000):
        await requests.once("Start", str(number), work)
    assert own_memory() - before < 10 * 1024
    assert await requests.once("Start", "19999", work) == told


def own_memory() -> int:
    """Return this process's memory in KiB, without what it has mapped of files."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0])

"""Samples of what the workload uses."""

import asyncio
import time
from pathlib import Path
from typing import Any

from vic.tether.v1.tether_pb2 import StatsSample

from tether.agent.sampling import Sampling
from tether.agent.usage import UNLIMITED, Usage

FILES = {
    "group/cpu.stat": "usage_usec 900\nuser_usec 500\nsystem_usec 400\nnr_periods 3\n"
    "nr_throttled 2\nthrottled_usec 7\n",
    "group/memory.current": "1048576\n",
    "group/memory.max": "max\n",
    "group/memory.stat": "anon 10\ninactive_file 20\n",
    "group/pids.current": "4\n",
    "group/pids.max": "max\n",
    "group/io.stat": "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n8:16 \n",
    "proc/stat": "cpu  1 2 3 4 5 6 7 8 9 10\ncpu0 0\ncpu1 0\nintr 5\n",
    "proc/meminfo": "MemTotal:  2048 kB\nMemFree: 1 kB\n",
    "proc/9/net/dev": "Inter-|   Receive\n face |bytes\n    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n"
    "  eth0: 10 11 12 13 0 0 0 0 20 21 22 23 0 0 0 0\n",
}


def place(directory: Path, files: dict[str, str]) -> Usage:
    """A kernel's files in a directory."""
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Usage(directory / "group", directory / "proc")


def test_a_sample_has_what_the_kernel_tells(tmp_path: Path) -> None:
    usage = place(tmp_path, FILES)
    before = time.monotonic_ns() // 1000
    sample = usage.sample(9)
    after = time.monotonic_ns() // 1000
    assert (sample.cpu_usage_us, sample.cpu_user_us, sample.cpu_system_us) == (900, 500, 400)
    assert (sample.cpu_periods, sample.cpu_throttled_periods, sample.cpu_throttled_us) == (3, 2, 7)
    assert sample.online_cpus == 2
    assert 2 * before <= sample.system_cpu_us <= 2 * after
    assert (sample.memory_bytes, sample.memory_limit_bytes) == (1 << 20, 2 << 20)
    assert dict(sample.memory_stat) == {"anon": 10, "inactive_file": 20}
    assert (sample.pids, sample.pids_limit) == (4, UNLIMITED)
    [nic] = sample.interfaces
    assert (nic.name, nic.rx_bytes, nic.rx_dropped, nic.tx_bytes, nic.tx_dropped) == (
        "eth0",
        10,
        13,
        20,
        23,
    )
    [disk] = sample.blocks
    assert (disk.major, disk.minor, disk.read_bytes, disk.write_operations) == (8, 0, 1, 4)


def test_limits_of_the_workload_count_where_they_are_less(tmp_path: Path) -> None:
    limited = FILES | {"group/memory.max": "1048576\n", "group/pids.max": "17\n"}
    sample = place(tmp_path, limited).sample(9)
    assert (sample.memory_limit_bytes, sample.pids_limit) == (1 << 20, 17)


def test_what_is_not_there_is_zero(tmp_path: Path) -> None:
    sample = place(tmp_path, {"proc/stat": "cpu 1\n"}).sample(9)
    assert (sample.memory_bytes, len(sample.interfaces), len(sample.blocks)) == (0, 0, 0)


async def test_samples_are_sent_while_they_are_asked_for() -> None:
    class Control:
        idle = True

        def __init__(self) -> None:
            self.told: asyncio.Queue[Any] = asyncio.Queue()

        def tell(self, event: Any) -> None:
            self.told.put_nowait(event)

    control: Any = Control()
    sampling = Sampling(control, lambda: StatsSample(pids=1))
    async with asyncio.TaskGroup() as group, asyncio.timeout(60):
        running = group.create_task(sampling.run())
        sampling.set_period(100)
        for _ in range(3):
            assert (await control.told.get()).stats.pids == 1
        sampling.set_period(0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        while not control.told.empty():
            control.told.get_nowait()
        # One that can't leave at once is left out; the next period has its own.
        control.idle = False
        sampling.set_period(100_000)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert control.told.empty()
        running.cancel()

"""Open and drop thousands of attaches, execs and resizes, and count what grows.

All of them go to two containers, some in order and some with a client that vanishes at once, with
input and output on their way. Every so many, what services, VMs and their tethers hold is counted
when all has come to rest; the figures of the last count are held against those after the first
ones, whatever grew is named, and the exit code is 1.
"""

import argparse
import asyncio
import json
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path

from bench.hijacked import Endpoint, Refused
from bench.report import Machine
from bench.soak import MEMORY_SLACK, Counts, count
from bench.subject import suite_with
from tests.e2e.suite import Suite
from tests.images import busybox_image

SETTLING_ROUNDS = 3
SETTLE_SECONDS = 60
# What its clients say to it, it says to all of them.
ECHO = "while read -r line; do echo said $line; done"
# Of the VM as its workload can see it; the tether's are among them.
IN_THE_VM = "cat /proc/meminfo; cat /proc/sys/fs/file-nr; cat /proc/loadavg"


class Load:
    """Sessions on a container without a terminal and on one with."""

    def __init__(self, endpoint: Endpoint, plain: str, terminal: str) -> None:
        self._endpoint = endpoint
        self._plain = plain
        self._terminal = terminal
        self.refused: Counter[str] = Counter()

    async def session(self, number: int) -> None:
        """Open and drop one of them; what a busy machine's guest had no time for is counted."""
        kinds = (self.attach, self.execute, self.resize)
        try:
            await kinds[number % len(kinds)](number // len(kinds))
        except Refused as error:
            if error.status < 500:
                raise
            self.refused[str(error).partition(": ")[2]] += 1

    async def attach(self, number: int) -> None:
        """Attach; be gone at once, after some input, or after its echo."""
        path = f"/containers/{self._plain}/attach?stream=1&stdin=1&stdout=1&stderr=1"
        client = await self._endpoint.hijack(path)
        if number % 3:
            client.writer.write(f"{number}\n".encode())
            await client.writer.drain()
        if number % 3 == 2:
            await client.reader.readuntil(f"said {number}\n".encode())
        client.drop()

    async def execute(self, number: int) -> None:
        """Run a command to its end, or go away from one that reads its input."""
        whole = number % 2 == 0
        wish = {"AttachStdout": True, "AttachStdin": not whole, "Cmd": ["true" if whole else "cat"]}
        made = await self._endpoint.call("POST", f"/containers/{self._plain}/exec", wish)
        client = await self._endpoint.hijack(f"/exec/{made['Id']}/start", {})
        if whole:
            await client.read_all()
            await client.close()
            return
        client.writer.write(b"some input\n")
        await client.writer.drain()
        client.drop()

    async def resize(self, number: int) -> None:
        """Change the size of the terminal."""
        size = f"h={20 + number % 30}&w={60 + number % 60}"
        await self._endpoint.call("POST", f"/containers/{self._terminal}/resize?{size}")


async def run(load: Load, total: int, parallel: int, each: Callable[[], Awaitable[None]]) -> None:
    """Take so many sessions through, and call back after every tenth part."""
    lanes = asyncio.Semaphore(parallel)

    async def one(number: int) -> None:
        async with lanes:
            await load.session(number)

    step = max(1, total // 10)
    for first in range(0, total, step):
        async with asyncio.TaskGroup() as group:
            for number in range(first, min(total, first + step)):
                group.create_task(one(number))
        await each()


def held(suite: Suite, plain: str) -> Counts:
    """Return what the services, and the inside of the VM with its tether, hold."""
    everything = count(suite)
    # Taps, rules and files tell of containers, and the machine's others make some too.
    kinds = ("memory KiB", "descriptors", "restarts")
    counts = {name: held for name, held in everything.items() if name.endswith(kinds)}
    for process in suite.status()["processes"]:
        tasks = len(list(Path(f"/proc/{process['pid']}/task").iterdir()))
        counts[f"{process['role']} threads"] = tasks
    inside = suite.ok("exec", plain, "sh", "-c", IN_THE_VM).splitlines()
    memory = {line.split(":")[0]: int(line.split()[1]) for line in inside if ":" in line}
    counts["VM memory KiB"] = memory["AnonPages"] + memory["Slab"]
    counts["VM descriptors"] = int(inside[-2].split()[0])
    counts["VM tasks"] = int(inside[-1].split()[3].partition("/")[2])
    return counts


async def settled(suite: Suite, plain: str, before: Counts | None) -> Counts:
    """Count when no exec is left, and descriptors are back where they were, if they will be."""
    counts: Counts = {}
    for _ in range(SETTLE_SECONDS):
        # That a vanished client's connection is closed is told to nobody.
        await asyncio.sleep(1)
        counts = await asyncio.to_thread(held, suite, plain)
        left = (await asyncio.to_thread(suite.inspect, plain))["ExecIDs"]
        if not left and (before is None or not growth(before, counts)):
            break
    return counts


def growth(early: Counts, late: Counts) -> list[str]:
    """Return what is more late than early, beyond the slack of what is never quite still."""

    def most(name: str) -> float:
        if "memory" in name:
            return early[name] * MEMORY_SLACK
        # The kernel's own tasks and a log's file come and go.
        return early[name] + (16 if name.startswith("VM") else 2)

    return [f"{name}: {early[name]} to {late[name]}" for name in early if late[name] > most(name)]


async def soak(
    suite: Suite, image: str, total: int, parallel: int, counted_to: Callable[[list[Counts]], None]
) -> list[Counts]:
    """Return the counts of each round, which are also told as they come."""
    plain = suite.ok("run", "-di", "--log-opt", "max-size=1m", image, "sh", "-c", ECHO)
    terminal = suite.ok("run", "-dit", image, "sh")
    load = Load(Endpoint(suite.endpoint), plain, terminal)
    rounds: list[Counts] = []

    async def counted() -> None:
        early = rounds[SETTLING_ROUNDS - 1] if len(rounds) >= SETTLING_ROUNDS else None
        rounds.append(await settled(suite, plain, early))
        print(f"round {len(rounds)}: {rounds[-1]}", flush=True)
        counted_to(rounds)

    await run(load, total, parallel, counted)
    for refusal, times in load.refused.items():
        print(f"{times} times: {refusal}")
    return rounds


def main() -> int:
    """Run the soak. Returns 1 when something grew."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="sessions (%(default)s)")
    parser.add_argument("--parallel", type=int, default=20, help="at a time (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("sessions.json"), help="JSON file")
    arguments = parser.parse_args()

    def write(rounds: list[Counts]) -> None:
        machine = asdict(Machine.here())
        content = {"sessions": arguments.count, "machine": machine, "rounds": rounds}
        arguments.out.write_text(json.dumps(content, indent=2) + "\n")

    with suite_with(busybox_image(), "busybox") as (suite, image):
        rounds = asyncio.run(soak(suite, image, arguments.count, arguments.parallel, write))
    early, late = rounds[SETTLING_ROUNDS - 1], rounds[-1]
    for name in early:
        print(f"{name:<32}{early[name]:>12}{late[name]:>12}")
    grown = growth(early, late)
    for line in grown:
        print("grew:", line)
    print(f"{arguments.count} sessions; " + ("nothing grew" if not grown else f"{len(grown)} grew"))
    return 1 if grown else 0


if __name__ == "__main__":
    sys.exit(main())

"""Where the time of `docker run --rm IMAGE true` goes: its spans, over some runs with pauses.

Taken from what the services tell of themselves by their events, and from the spans of their calls,
which they export in batches, so that little is slowed down by being watched.
"""

import argparse
import asyncio
import re
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from statistics import median

from vic.exec.v1 import exec_pb2, exec_pb2_grpc
from vic.hostagent.v1 import hostagent_pb2, hostagent_pb2_grpc

from bench.collector import Collector, Span, collect
from bench.cpu import clients_seconds
from bench.report import Series, report
from bench.subject import accounted_suite, starts
from installer.facets import facet_channel
from installer.instance import Instance, load_instance
from portlayer.client import open_channel
from portlayer.identity import Credentials, Role
from tests.e2e.suite import Suite, docker_cli
from tests.images import Registry, busybox_image

# What is told, in its order; each begins the span of the name that follows it.
MARKS = ("begun", "create", "launched", "configured", "start", "die", "destroy", "exited", "over")
SPANS = {
    "CLI until created": ("begun", "create"),
    "until the VM is the container's": ("create", "launched"),
    "until the guest is configured": ("launched", "configured"),
    "until the process is on record": ("configured", "start"),
    "until its end is": ("start", "die"),
    "until it is removed": ("die", "destroy"),
    "until the CLI ends": ("destroy", "over"),
    "all": ("begun", "over"),
}


# Services export every 5 s.
EXPORT_SECONDS = 30.0


class Marks:
    """When what was told of one run, in nanoseconds."""

    def __init__(self) -> None:
        self.times: dict[str, int] = {}
        self._all = asyncio.Event()

    def set(self, name: str, when: int) -> None:
        """Take in that something was told; the first time counts."""
        if name in MARKS:
            self.times.setdefault(name, when)
        if len(self.times) == len(MARKS):
            self._all.set()

    async def complete(self) -> None:
        """Wait until everything was told."""
        async with asyncio.timeout(60):
            await self._all.wait()


async def watch_containers(instance: Instance, current: list[Marks]) -> None:
    """Follow exec's events."""
    async with facet_channel(instance, Role.EXEC) as channel:
        stub = exec_pb2_grpc.ExecServiceStub(channel)
        async for response in stub.WatchEvents(exec_pb2.WatchEventsRequest()):
            if response.WhichOneof("message") == "event":
                name = exec_pb2.EventKind.Name(response.event.kind).removeprefix("EVENT_KIND_")
                current[-1].set(name.lower(), response.event.time.ToNanoseconds())


async def watch_machines(instance: Instance, current: list[Marks]) -> None:
    """Follow the host agent's events, with exec's credentials: nobody else may."""
    credentials = Credentials.load(instance.pki_dir / Role.EXEC.value)
    target = f"unix:{instance.socket(Role.HOSTAGENT)}"
    async with open_channel(target, Role.HOSTAGENT, instance.id, credentials) as channel:
        stub = hostagent_pb2_grpc.HostAgentServiceStub(channel)
        begun = time.time_ns()
        async for response in stub.Watch(hostagent_pb2.WatchRequest()):
            event = response.event
            if event.time.ToNanoseconds() < begun or event.machine_id.startswith(
                ("ready-", "parent-")
            ):
                continue
            kind = event.WhichOneof("kind") or ""
            if event.reported.state == hostagent_pb2.TETHER_STATE_CONFIGURED:
                kind = "configured"
            current[-1].set(kind, event.time.ToNanoseconds())


async def trace(suite: Suite, image: str, count: int, pause: float) -> list[Marks]:
    """Run containers, one after the other, and return what was told of each."""
    instance = load_instance(suite.data_dir)
    assert instance is not None
    runs = [Marks()]
    watches: list[Callable[[Instance, list[Marks]], Awaitable[None]]] = [
        watch_containers,
        watch_machines,
    ]
    watching = [asyncio.ensure_future(watch(instance, runs)) for watch in watches]
    try:
        for _ in range(count):
            await asyncio.sleep(pause)
            runs.append(Marks())
            runs[-1].set("begun", time.time_ns())
            docker = await asyncio.create_subprocess_exec(
                *(docker_cli(), "-H", suite.endpoint, "run", "--rm", image, "true"),
                stdin=subprocess.DEVNULL,
            )
            await docker.wait()
            runs[-1].set("over", time.time_ns())
            await runs[-1].complete()
    finally:
        for task in watching:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
    return runs[1:]


def calls(runs: list[Marks], collector: Collector) -> list[dict[str, object]]:
    """Return the calls of a run: when they began, how long they took; medians in milliseconds."""
    found: dict[tuple[str, str, int], list[tuple[float, float]]] = defaultdict(list)
    for run in runs:
        begun, over = run.times["begun"], run.times["over"]
        seen: Counter[tuple[str, str]] = Counter()
        for span in collector.between(begun, over):
            name = short(span)
            seen[name] += 1
            timing = ((span.begin_ns - begun) / 1e6, (span.end_ns - span.begin_ns) / 1e6)
            found[(*name, seen[name])].append(timing)
    rows: list[dict[str, object]] = [
        {
            "service": service,
            "call": call if number == 1 else f"{call} ({number})",
            "runs": len(timings),
            "begins": round(median(begin for begin, _ in timings), 1),
            "takes": round(median(taken for _, taken in timings), 1),
        }
        for (service, call, number), timings in found.items()
        # What isn't in most runs is somebody else's: a refill, a reconciler.
        if len(timings) * 2 > len(runs)
    ]
    return sorted(rows, key=lambda row: float(str(row["begins"])))


def short(span: Span) -> tuple[str, str]:
    """Return service and method of a span; of an HTTP request, its method and path without IDs."""
    path = re.sub(r"[0-9a-f]{64}", "ID", span.path)
    return span.service, f"{span.name} {path}" if path else span.name.rpartition("/")[2]


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=30, help="runs (default: %(default)s)")
    parser.add_argument(
        "--pause", type=float, default=4.0, help="seconds before each (default: %(default)s)"
    )
    parser.add_argument("--ready-clones", type=int, default=2, help="(default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("trace.json"), help="JSON file to write")
    arguments = parser.parse_args()
    with ExitStack() as stack:
        registry = stack.enter_context(Registry())
        collector = stack.enter_context(collect())
        suite, account = stack.enter_context(accounted_suite())
        with account.charged():
            suite.up(
                f"--ready-clones={arguments.ready_clones}", f"--otlp-endpoint={collector.endpoint}"
            )
        image = registry.push(busybox_image(), "busybox")
        suite.ok("pull", image)
        suite.ok("run", "--rm", image, "true")  # the parent is built, caches are warm
        before, cpu = starts(suite), account.seconds() + clients_seconds()
        runs = asyncio.run(trace(suite, image, arguments.count, arguments.pause))
        spent, after = account.seconds() + clients_seconds() - cpu, starts(suite)
        collector.await_all(EXPORT_SECONDS)
    table = calls(runs, collector)
    print(f"\n{'service':<12}{'call':<44}{'runs':>6}{'begins':>10}{'takes':>10}")
    for row in table:
        print(f"{row['service']:<12}{row['call']:<44}{row['runs']:>6}", end="")
        print(f"{row['begins']:>7} ms{row['takes']:>7} ms")
    facts = {
        "CPU s a run": round(spent / arguments.count, 3),
        "ready clones": after.ready_clones - before.ready_clones,
        "instant clones": after.instant_clones - before.instant_clones,
        "cold boots": after.cold_boots - before.cold_boots,
        "accelerator": after.accelerator,
        "calls": table,
    }
    series = [
        Series(name, tuple((run.times[end] - run.times[begin]) / 1e9 for run in runs))
        for name, (begin, end) in SPANS.items()
    ]
    report("spans of docker run --rm IMAGE true", series, facts, arguments.out)


if __name__ == "__main__":
    main()

"""Where the time of `docker run --rm IMAGE true` goes: its spans, over some runs with pauses.

``--of`` traces another call: an exec by the docker CLI, or one of the API over a kept connection.
Taken from what the services tell of themselves by their events, and from the spans of their calls,
which they export in batches, so that little is slowed down by being watched.
"""

import argparse
import asyncio
import os
import subprocess
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from vic.exec.v1 import exec_pb2, exec_pb2_grpc
from vic.hostagent.v1 import hostagent_pb2, hostagent_pb2_grpc

from bench.collector import Collector, collect
from bench.cpu import Account, clients_seconds
from bench.report import Series, report
from bench.spans import Period, calls, print_calls
from bench.subject import accounted_suite, come_up, starts
from bench.trace_calls import OF, periods, traced
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


def trace_runs(
    suite: Suite, account: Account, image: str, collector: Collector, arguments: argparse.Namespace
) -> None:
    """Measure and report `docker run`."""
    suite.ok("run", "--rm", image, "true")  # the parent is built, caches are warm
    before, cpu = starts(suite), account.seconds() + clients_seconds()
    runs = asyncio.run(trace(suite, image, arguments.count, arguments.pause))
    spent, after = account.seconds() + clients_seconds() - cpu, starts(suite)
    collector.await_all(EXPORT_SECONDS)
    table = calls([Period(run.times["begun"], run.times["over"]) for run in runs], collector, 1)
    print_calls(table)
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


def trace_call(
    suite: Suite, account: Account, image: str, collector: Collector, arguments: argparse.Namespace
) -> None:
    """Measure and report another call."""
    load = os.getloadavg()[0]
    with traced(arguments.of, suite, image) as call:
        cpu = account.seconds() + clients_seconds()
        found = periods(call, arguments.count, arguments.pause)
        spent = account.seconds() + clients_seconds() - cpu
        accelerator = starts(suite).accelerator
        collector.await_all(EXPORT_SECONDS)
    table = calls(found, collector, 2)
    print_calls(table)
    facts = {
        "CPU ms a call": round(spent / arguments.count * 1000, 2),
        "load before": round(load, 2),
        "accelerator": accelerator,
        "calls": table,
    }
    series = [Series("all", tuple(period.seconds for period in found))]
    report(f"spans of {arguments.of}", series, facts, arguments.out, digits=2)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--of", choices=("run", *OF), default="run", help="(default: %(default)s)")
    parser.add_argument("--count", type=int, default=30, help="so often (default: %(default)s)")
    parser.add_argument(
        "--pause", type=float, help="seconds before each (default: 4 for runs, or else 0.2)"
    )
    parser.add_argument("--ready-clones", type=int, default=2, help="(default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("trace.json"), help="JSON file to write")
    arguments = parser.parse_args()
    if arguments.pause is None:
        arguments.pause = 4.0 if arguments.of == "run" else 0.2
    with ExitStack() as stack:
        registry = stack.enter_context(Registry())
        collector = stack.enter_context(collect())
        suite, account = stack.enter_context(accounted_suite())
        with account.charged():
            come_up(
                suite,
                f"--ready-clones={arguments.ready_clones}",
                f"--otlp-endpoint={collector.endpoint}",
            )
        image = registry.push(busybox_image(), "busybox")
        suite.ok("pull", image)
        measure = trace_runs if arguments.of == "run" else trace_call
        measure(suite, account, image, collector, arguments)


if __name__ == "__main__":
    main()

"""How much memory an idle container VM takes, and whether many of them all answer.

Starts containers that sleep, runs one command in each, and divides by their number by how much the
host's available memory has dropped since the clones that wait were there. With ``--ready-clones 0``
they are none that were forked, but clones of their parent each by itself.
"""

import argparse
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from bench.report import Series, report
from bench.subject import accounted_suite, come_up, starts
from tests.images import Registry, busybox_image

MIB = 1024 * 1024


def available() -> int:
    """Return the bytes that are available on this host, by proc(5), /proc/meminfo."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name == "MemAvailable":
            return int(rest.split()[0]) * 1024
    raise SystemExit("/proc/meminfo tells no MemAvailable")


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100, help="VMs (default: %(default)s)")
    parser.add_argument("--parallel", type=int, default=4, help="at a time (default: %(default)s)")
    parser.add_argument("--ready-clones", metavar="N", help="as of `vic up`")
    parser.add_argument("--out", type=Path, default=Path("density.json"), help="JSON file to write")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    with ExitStack() as stack:
        registry = stack.enter_context(Registry())
        suite, account = stack.enter_context(accounted_suite())
        with account.charged():
            ready = arguments.ready_clones
            come_up(suite, *(() if ready is None else (f"--ready-clones={ready}",)))
        image = registry.push(busybox_image(), "busybox")
        suite.ok("pull", image)
        suite.ok("run", "--rm", image, "true")  # the parent is there
        pool = stack.enter_context(ThreadPoolExecutor(arguments.parallel))
        before = available()

        def start(number: int) -> float:
            begun = time.perf_counter()
            suite.ok("run", "-d", "--name", f"idle-{number}", image, "sleep", "1000000")
            return time.perf_counter() - begun

        def answer(number: int) -> float:
            begun = time.perf_counter()
            said = suite.ok("exec", f"idle-{number}", "hostname")
            if said != suite.ok("inspect", "--format", "{{.Config.Hostname}}", f"idle-{number}"):
                raise SystemExit(f"idle-{number} answered {said!r}")
            return time.perf_counter() - begun

        numbers = range(arguments.count)
        started = tuple(pool.map(start, numbers))
        answered = tuple(pool.map(answer, numbers))
        taken = before - available()
        spent, begun = account.seconds(), time.monotonic()
        time.sleep(arguments.count / 10)
        idle = (account.seconds() - spent) / (time.monotonic() - begun)
        info = starts(suite)
    facts: dict[str, object] = {
        "MiB a VM": round(taken / arguments.count / MIB, 1),
        "CPUs that all take idle": round(idle, 3),
        "running": info.containers_running,
        "cold boots": info.cold_boots,
        "instant clones": info.instant_clones,
        "ready clones": info.ready_clones,
        "accelerator": info.accelerator,
        "at a time": arguments.parallel,
        "load before": round(load, 2),
    }
    series = [Series("run -d", started), Series("exec and inspect", answered)]
    report(f"{arguments.count} idle container VMs", series, facts, arguments.out)


if __name__ == "__main__":
    main()

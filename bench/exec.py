"""How long an exec takes: the first and the thousandth in one container, and fifty at once.

Over the API without the docker CLI's own time: create, start, output to its end, exit code.
``--peer`` measures Debian's dockerd beside it. ``--stats N`` also tells how much CPU `docker stats`
of so many containers takes of the suite's services.
"""

import argparse
import asyncio
import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from bench.cpu import Account, process_seconds
from bench.hijacked import Endpoint
from bench.peer import dockerd
from bench.report import Series, report
from bench.start import Engine
from bench.subject import accounted_suite, come_up
from tests.e2e.suite import Suite
from tests.images import Registry, busybox_image

AT_ONCE = 50
STATS_SECONDS = 30


async def execute(endpoint: Endpoint, container: str) -> float:
    """Run `true` in a container; return the seconds that it took."""
    begun = time.perf_counter()
    wish = {"AttachStdout": True, "AttachStderr": True, "Cmd": ["true"]}
    made = await endpoint.call("POST", f"/containers/{container}/exec", wish)
    client = await endpoint.hijack(f"/exec/{made['Id']}/start", {})
    await client.read_all()
    await client.close()
    told = await endpoint.call("GET", f"/exec/{made['Id']}/json")
    if told["ExitCode"] != 0:
        raise SystemExit(f"an exec of `true` ended with {told['ExitCode']}")
    return time.perf_counter() - begun


async def measure(engines: dict[str, tuple[Endpoint, str]], count: int) -> list[Series]:
    """Measure one after the other, turn by turn, then many at once."""
    took: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(count):
        for name, (endpoint, container) in engines.items():
            took[name].append(await execute(endpoint, container))
    series = [Series(f"exec, {name}", tuple(seconds)) for name, seconds in took.items()]
    series += [Series(f"first 50, {name}", tuple(seconds[:50])) for name, seconds in took.items()]
    series += [Series(f"last 50, {name}", tuple(seconds[-50:])) for name, seconds in took.items()]
    for name, (endpoint, container) in engines.items():
        at_once = await asyncio.gather(*(execute(endpoint, container) for _ in range(AT_ONCE)))
        series.append(Series(f"{AT_ONCE} at once, {name}", tuple(at_once)))
    return series


def stats_cost(suite: Suite, account: Account, image: str, count: int) -> dict[str, object]:
    """Return how much of a core the services take more while `docker stats` runs."""
    with ThreadPoolExecutor(4) as pool:
        run = ("run", "-d", "--label", "stats", image, "sleep", "1000000")
        list(pool.map(lambda _: suite.ok(*run), range(count)))

    def services() -> dict[str, float]:
        """CPU seconds of each service; VMs have accounts of their own."""
        return {one["role"]: process_seconds(one["pid"]) for one in suite.status()["processes"]}

    def share(seconds: float) -> tuple[dict[str, float], float]:
        before, all_before, begun = services(), account.seconds(), time.monotonic()
        time.sleep(seconds)
        passed = time.monotonic() - begun
        all_used = (account.seconds() - all_before) / passed
        shares = {role: round((s - before[role]) / passed, 4) for role, s in services().items()}
        return shares, all_used

    idle, idle_all = share(STATS_SECONDS)
    watching = suite.popen("stats", stdout=subprocess.DEVNULL)
    try:
        share(5)
        busy, busy_all = share(STATS_SECONDS)
    finally:
        watching.kill()
        watching.wait()
    return {
        f"services idle, {count} containers, cores": round(sum(idle.values()), 3),
        "the same under docker stats, cores": round(sum(busy.values()), 3),
        "each idle": idle,
        "each under docker stats": busy,
        "VMs included, idle, cores": round(idle_all, 3),
        "VMs included, under docker stats, cores": round(busy_all, 3),
    }


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="execs (default: %(default)s)")
    parser.add_argument("--peer", action="store_true", help="beside Debian's dockerd")
    parser.add_argument("--stats", type=int, default=0, metavar="N", help="containers of stats")
    parser.add_argument("--out", type=Path, default=Path("exec.json"), help="JSON file to write")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    facts: dict[str, object] = {"load before": round(load, 2)}
    with ExitStack() as stack:
        registry = stack.enter_context(Registry())
        suite, account = stack.enter_context(accounted_suite())
        with account.charged():
            come_up(suite)
        image = registry.push(busybox_image(), "busybox")
        peers = [Engine("vic", suite.endpoint, account)]
        if arguments.peer:
            peers.append(Engine("dockerd", *stack.enter_context(dockerd())))
        engines = {}
        for engine in peers:
            engine.docker("pull", image)
            container = engine.docker("run", "-d", image, "sleep", "1000000")
            engines[engine.name] = (Endpoint(engine.endpoint), container)
        series = asyncio.run(measure(engines, arguments.count))
        for engine in peers:
            engine.docker("rm", "-f", engines[engine.name][1])
        if arguments.stats:
            facts.update(stats_cost(suite, account, image, arguments.stats))
    report("exec of `true`, create to exit code", series, facts, arguments.out)


if __name__ == "__main__":
    main()

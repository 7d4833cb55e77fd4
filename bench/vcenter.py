"""exec's vSphere driver beside many VMs of others: how long it takes, and how many calls.

And its whole process: from its start until it answers, with its database and facets beside it.

vCenter is the simulator, on the same machine, so that these are the figures of our side; the calls
are what a real vCenter would be asked. Needs what `make test` installs for the simulator.
"""

import argparse
import asyncio
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from pyVmomi.SoapAdapter import SoapStubAdapter
from vic.exec.v1 import exec_pb2

from bench.cpu import process_seconds
from bench.report import Series, report
from portlayer.identity import Role
from portlayer.vsphere.session import VCenter
from services.exec.drivers.vsphere.driver import VsphereHypervisor
from tests.integration.vsphere.hypervisor import PLACE, machine, new_driver
from tests.integration.vsphere.others import put_bootstrap
from tests.integration.vsphere.service import exec_service
from tests.integration.vsphere.test_exec_service import run
from tests.vcenter import Simulator, simulator

INSTANCE = "0a1b2c3d"
# Of the simulator: the cluster's, and that of a single host.
POOLS = 2
# Of exec's process, for each figure.
STARTS = 5


class Calls:
    """Counts the calls to vCenter, by what they are."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def begin(self) -> None:
        """Count from now on."""
        invoke: Callable[..., Any] = SoapStubAdapter.InvokeMethod
        counts = self._counts

        def count(self: Any, mo: object, info: Any, *rest: object) -> Any:
            counts[info.name] += 1
            return invoke(self, mo, info, *rest)

        SoapStubAdapter.InvokeMethod = count  # type: ignore[method-assign]

    def take(self) -> int:
        """Return how many there were since the last time; the wait for updates is none."""
        total = self._counts.total() - self._counts["WaitForUpdatesEx"]
        self._counts.clear()
        return total


class Bench:
    """Times work, and counts its calls."""

    def __init__(self) -> None:
        self.series: dict[str, list[float]] = {}
        self.facts: dict[str, object] = {}
        self._calls = Calls()
        self._calls.begin()

    async def timed(self, name: str, work: Callable[[], Awaitable[object]]) -> None:
        """Do something once."""
        self._calls.take()
        begun = time.perf_counter()
        await work()
        self.series.setdefault(name, []).append(time.perf_counter() - begun)
        self.facts[f"calls: {name}"] = self._calls.take()


async def measure(bench: Bench, simulated: Simulator, ours: int, rest_seconds: float) -> None:
    """Take all figures."""
    session = VCenter(simulated.target())
    await session.open()
    await put_bootstrap(session)
    await session.close()
    driver: VsphereHypervisor

    async def come_up() -> None:
        nonlocal driver
        driver = new_driver(simulated, PLACE, INSTANCE)
        await driver.open()

    await bench.timed("open, none of ours", come_up)
    made = [machine(name=f"web{number}") for number in range(ours)]
    for one in made:
        await bench.timed("create", partial(driver.create, one))
        await bench.timed("run", partial(driver.run, one.container_id, one.boot_id))
    await driver.close()
    for _ in range(5):
        await bench.timed(f"open, {ours} of ours", come_up)
        await bench.timed("inventory", driver.inventory)
        await bench.timed("usage", partial(driver.usage, 20))
        await driver.close()
    await come_up()
    spent, begun = time.process_time(), time.monotonic()
    await asyncio.sleep(rest_seconds)
    share = (time.process_time() - spent) / (time.monotonic() - begun)
    bench.facts["of a core, when nothing happens"] = f"{share * 100:.2f} %"
    for one in made:
        await bench.timed("destroy", partial(driver.destroy, one.container_id))
    await driver.close()


async def measure_process(bench: Bench, simulated: Simulator, ours: int) -> None:
    """Take the time from the start of exec's process until it answers, imports included."""
    async with exec_service(simulated, instant_clone=False) as service:

        async def come_up() -> None:
            await service.start(Role.EXEC, "services.exec")
            await service.exec.Info(exec_pb2.InfoRequest(), wait_for_ready=True, timeout=120)

        async def again(name: str) -> None:
            await service.exec.Info(exec_pb2.InfoRequest(), wait_for_ready=True, timeout=120)
            spent = []
            for _ in range(STARTS):
                await service.end(Role.EXEC)
                await bench.timed(name, come_up)
                spent.append(process_seconds(service.processes[Role.EXEC].pid))
            # Which a machine that has much else to do changes little.
            bench.facts[f"CPU seconds: {name}"] = round(median(spent), 2)

        await again("process, none of ours")
        made = [await run(service, f"web{number}") for number in range(ours)]
        await again(f"process, {ours} of ours")
        for container_id in made:
            request = exec_pb2.RemoveRequest(reference=container_id, force=True)
            await service.exec.Remove(request)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--others", type=int, default=1000, help="VMs (default: %(default)s)")
    parser.add_argument("--ours", type=int, default=50, help="containers (default: %(default)s)")
    parser.add_argument("--rest", type=float, default=60, help="seconds (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("vcenter.json"), help="JSON file to write")
    arguments = parser.parse_args()
    bench = Bench()
    bench.facts["load before"] = round(os.getloadavg()[0], 2)
    with simulator("-machines", str(arguments.others // POOLS)) as simulated:
        asyncio.run(measure(bench, simulated, arguments.ours, arguments.rest))
        asyncio.run(measure_process(bench, simulated, arguments.ours))
    bench.facts["load after"] = round(os.getloadavg()[0], 2)
    series = [Series(name, tuple(seconds)) for name, seconds in bench.series.items()]
    subject = f"exec's driver on a simulated vCenter with {arguments.others} VMs of others"
    report(subject, series, bench.facts, arguments.out)


if __name__ == "__main__":
    main()

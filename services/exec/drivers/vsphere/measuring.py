"""What VMs take of their hosts, by vCenter's performance manager, many VMs a call.

Hosts sample every 20 seconds and keep an hour of that; counters are asked for by the names that
documents have, whose numbers are each vCenter's own. Source: PerformanceManager in the vSphere Web
Services API reference, and its pages of counters for CPU, memory, virtual disks and networks.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from pyVmomi import vim, vmodl

from portlayer.vsphere.properties import read
from portlayer.vsphere.session import VCenter
from services.exec.drivers import Usage
from services.exec.drivers.vsphere.found import ON, Found

log = logging.getLogger("vic.exec.vsphere.measuring")

Manager = vim.PerformanceManager

SAMPLE_SECONDS = 20
MOST_SAMPLES = 3600 // SAMPLE_SECONDS
LIMIT_OPTION = "config.vpxd.stats.maxQueryMetrics"
"""vCenter's option that bounds the metrics of a query; -1 is no bound."""
DEFAULT_LIMIT = 64
# VMs in one query, whatever vCenter allows: its answer is read as a whole.
MOST_VMS = 100
MILLISECONDS, KIB = 1000, 1024


class Counter(Enum):
    """A counter of a VM as a whole, by the names of its group, itself and its roll-up."""

    CPU_USED = "cpu.used.summation"
    """Milliseconds in a sample, of all virtual CPUs together."""
    CPU_READY = "cpu.ready.summation"
    MEMORY_CONSUMED = "mem.consumed.average"
    """KiB, as are those that follow; rates are per second."""
    MEMORY_ACTIVE = "mem.active.average"
    DISK_READ = "virtualDisk.read.average"
    DISK_WRITTEN = "virtualDisk.write.average"
    RECEIVED = "net.bytesRx.average"
    SENT = "net.bytesTx.average"


@dataclass(frozen=True)
class Scale:
    """How a vCenter is asked."""

    numbers: Mapping[int, Counter]
    vms_a_query: int


class Meter:
    """Measures VMs."""

    def __init__(self, vcenter: VCenter) -> None:
        self._vcenter = vcenter
        self._scale: Scale | None = None

    async def measure(self, machines: Sequence[Found], seconds: float) -> list[Usage]:
        """Return the averages over the newest samples of VMs that are on. Raises VicError."""
        samples = min(MOST_SAMPLES, max(1, math.ceil(seconds / SAMPLE_SECONDS)))
        on = {m.vm._GetMoId(): m for m in machines if m.power == ON}
        if self._scale is None:
            self._scale = await self._vcenter.call(look_up, repeatable=True)
        scale, moids = self._scale, list(on)
        found: list[Usage] = []
        for first in range(0, len(moids), scale.vms_a_query):
            asked = {moid: on[moid] for moid in moids[first : first + scale.vms_a_query]}

            def query(
                content: vim.ServiceInstanceContent, asked: dict[str, Found] = asked
            ) -> list[Usage]:
                return _query(content, scale, asked, samples)

            try:
                found += await self._vcenter.call(query, repeatable=True)
            except BaseException:
                # The vCenter may have become another one, with other numbers.
                self._scale = None
                raise
        return found


def look_up(content: vim.ServiceInstanceContent) -> Scale:
    """Return the numbers of our counters, and how many VMs a query may be about."""
    manager = content.perfManager
    assert manager is not None, "every vCenter has one"
    ((_, told),) = read(content, [manager], Manager, ["perfCounter"])
    known = {counter.value: counter for counter in Counter}
    numbers = {}
    for info in told["perfCounter"]:
        name = f"{info.groupInfo.key}.{info.nameInfo.key}.{info.rollupType}"
        if name in known:
            numbers[info.key] = known[name]
    missing = {counter.value for counter in set(Counter) - set(numbers.values())}
    if missing:
        log.warning("vCenter has no counters %s", ", ".join(sorted(missing)))
    limit = _limit(content)
    most = MOST_VMS if limit < 0 else max(1, min(MOST_VMS, limit // max(1, len(numbers))))
    return Scale(numbers, most)


def _limit(content: vim.ServiceInstanceContent) -> int:
    """Return how many metrics a query may ask for: a VM's counters are as many."""
    settings = content.setting
    assert settings is not None, "every vCenter has one"
    try:
        (option,) = settings.QueryOptions(LIMIT_OPTION)
        return int(option.value)
    except (vim.fault.InvalidName, vim.fault.NoPermission, ValueError):
        return DEFAULT_LIMIT


def _query(
    content: vim.ServiceInstanceContent, scale: Scale, asked: dict[str, Found], samples: int
) -> list[Usage]:
    manager = content.perfManager
    assert manager is not None, "every vCenter has one"
    metrics = [Manager.MetricId(counterId=number, instance="") for number in scale.numbers]
    left = dict(asked)
    while left:
        specs = [
            Manager.QuerySpec(
                entity=found.vm,
                metricId=metrics,
                intervalId=SAMPLE_SECONDS,
                maxSample=samples,
                format="normal",
            )
            for found in left.values()
        ]
        try:
            answer = manager.QueryPerf(specs)
        except vmodl.fault.ManagedObjectNotFound as fault:
            # It was deleted meanwhile; the others are asked for once more.
            if left.pop(fault.obj._GetMoId(), None) is None:
                raise
            continue
        return [
            usage
            for told in answer or []
            if isinstance(told, Manager.EntityMetric)
            and (usage := usage_of(left[told.entity._GetMoId()], scale, told)) is not None
        ]
    return []


def usage_of(found: Found, scale: Scale, told: Manager.EntityMetric) -> Usage | None:
    """Return what the samples of a VM say; None where there is none yet."""
    if found.identity is None or not told.sampleInfo:
        return None
    seconds = float(sum(info.interval for info in told.sampleInfo))
    # What was not measured is negative.
    values: dict[Counter, list[int]] = {
        scale.numbers[series.id.counterId]: [value for value in series.value if value >= 0]
        for series in told.value or []
        if isinstance(series, Manager.IntSeries) and series.id.counterId in scale.numbers
    }
    values = {counter: measured for counter, measured in values.items() if measured}

    def cpus(counter: Counter) -> float | None:
        measured = values.get(counter)
        if measured is None:
            return None
        measured_seconds = seconds * len(measured) / len(told.sampleInfo)
        return sum(measured) / MILLISECONDS / measured_seconds

    def rate(counter: Counter) -> float | None:
        measured = values.get(counter)
        return None if measured is None else sum(measured) / len(measured) * KIB

    def newest(counter: Counter) -> int | None:
        measured = values.get(counter)
        return None if measured is None else measured[-1] * KIB

    return Usage(
        found.identity.container_id,
        found.identity.boot_id,
        seconds=seconds,
        cpus_used=cpus(Counter.CPU_USED),
        cpus_waited_for=cpus(Counter.CPU_READY),
        memory_bytes=newest(Counter.MEMORY_CONSUMED),
        memory_active_bytes=newest(Counter.MEMORY_ACTIVE),
        disk_read_rate=rate(Counter.DISK_READ),
        disk_written_rate=rate(Counter.DISK_WRITTEN),
        received_rate=rate(Counter.RECEIVED),
        sent_rate=rate(Counter.SENT),
    )

"""What VMs take of their hosts: rates of two readings, and what exec says of them."""

from datetime import timedelta
from typing import Any, cast

import pytest
from google.protobuf.duration_pb2 import Duration
from vic.exec.v1 import exec_pb2
from vic.hostagent.v1 import hostagent_pb2

from portlayer.errors import InvalidArgument
from services.exec.drivers import Usage
from services.exec.drivers.qemu import measuring
from services.exec.drivers.qemu.measuring import Disks, measure, parse_disks
from services.exec.limits import MIB
from tests.unit.exec.conftest import Facet
from tests.unit.exec.test_listing import NO_CONTEXT, servicer


def over(seconds: float) -> exec_pb2.MeasureUsageRequest:
    duration = Duration()
    duration.FromTimedelta(timedelta(seconds=seconds))
    return exec_pb2.MeasureUsageRequest(over=duration)


class Agent:
    """A host agent whose counters grow with each reading, two seconds apart."""

    def __init__(self) -> None:
        self.readings = 0

    async def List(self, _: Any) -> hostagent_pb2.ListResponse:
        machine = hostagent_pb2.RunningMachine(
            machine_id="web", launch_id="b1", qmp_path="/nowhere/q.sock"
        )
        return hostagent_pb2.ListResponse(machines=[machine])

    async def ReadCounters(self, _: Any) -> hostagent_pb2.ReadCountersResponse:
        n = self.readings = self.readings + 1
        web = hostagent_pb2.MachineCounters(
            machine_id="web",
            launch_id="b1",
            read_nanoseconds=n * 2 * 10**9,
            cpu_nanoseconds=n * 10**9,
            cpu_wait_nanoseconds=n * 10**8,
            memory_bytes=n * MIB,
            received_bytes=n * 4000,
            # A NIC was unplugged, and its count went with it.
            sent_bytes=9000 // n,
        )
        # Ready clones are nobody's.
        ready = hostagent_pb2.MachineCounters(machine_id="ready-1", launch_id="r")
        return hostagent_pb2.ReadCountersResponse(machines=[web, ready])


async def test_rates_are_what_two_readings_differ_by(monkeypatch: pytest.MonkeyPatch) -> None:
    async def command(path: str, name: str, within: float) -> Any:
        assert name == "query-blockstats"
        return [{"stats": {"rd_bytes": 10 * agent.readings, "wr_bytes": 6 * agent.readings}}]

    monkeypatch.setattr(measuring, "command", command)
    agent = Agent()
    (usage,) = await measure(cast(Any, agent), [("web", "b1"), ("gone", "b2")], 0)
    assert usage == Usage(
        "web",
        "b1",
        seconds=2.0,
        cpus_used=0.5,
        cpus_waited_for=0.05,
        memory_bytes=2 * MIB,
        disk_read_rate=5.0,
        disk_written_rate=3.0,
        received_rate=2000.0,
        sent_rate=0.0,
    )


async def test_a_qemu_that_does_not_answer_keeps_no_other_figure() -> None:
    (usage,) = await measure(cast(Any, Agent()), [("web", "b1")], 0)
    assert (usage.cpus_used, usage.disk_read_rate, usage.disk_written_rate) == (0.5, None, None)


def test_what_a_qemu_says_of_its_disks_is_not_trusted() -> None:
    entry = {"stats": {"rd_bytes": 7, "wr_bytes": 8}, "backing": {"stats": {"rd_bytes": 7}}}
    assert parse_disks([entry, entry]) == Disks(14, 16)
    wrong: tuple[Any, ...]
    wrong = (None, 5, {"a": 1}, [{"stats": None}], [{"stats": {"rd_bytes": "x"}}], [[]])
    for answer in wrong:
        assert parse_disks(answer) is None


async def test_usage_is_told_by_name_beside_what_was_given(facet: Facet) -> None:
    web, db = await facet.run("web"), await facet.run("db")
    boots = facet.hypervisor.machines
    facet.hypervisor.usages = [
        Usage(web, boots[web], 1.0, cpus_used=0.25, memory_bytes=90 * MIB),
        Usage(db, boots[db], 1.0, received_rate=12.5),
        # Of a boot before.
        Usage(db, "former", 1.0),
    ]
    answer = await servicer(facet).MeasureUsage(exec_pb2.MeasureUsageRequest(), NO_CONTEXT)
    told = answer.containers
    assert facet.hypervisor.measured_over == [1.0]
    assert [usage.name for usage in told] == ["db", "web"]
    assert (told[1].container_id, told[1].given_memory_bytes, told[1].given_cpus) == (
        web,
        512 * MIB,
        1,
    )
    assert (told[1].cpus_used, told[1].memory_bytes) == (0.25, 90 * MIB)
    # What isn't known is not nothing.
    assert not told[1].HasField("cpus_waited_for")
    assert told[0].received_bytes_per_second == 12.5


@pytest.mark.parametrize("seconds", [0, 0.05, -1, 601])
async def test_a_time_out_of_bounds_is_refused(facet: Facet, seconds: float) -> None:
    with pytest.raises(InvalidArgument, match=r"over 0\.1 to 600 seconds"):
        await servicer(facet).MeasureUsage(over(seconds), NO_CONTEXT)

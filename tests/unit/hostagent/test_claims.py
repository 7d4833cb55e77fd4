"""What virtual container hosts reserve of one machine, and what the kernel is told of it."""

import asyncio
from pathlib import Path

import pytest

from hostagent.allocation import Allocation, Capacity, cpu_weight, protected_memory
from hostagent.cgroups import Hierarchy, Limits, MachineGroups
from hostagent.claims import Claims
from portlayer.errors import InvalidArgument, NotImplementedYet

GIB = 1 << 30
HOST = Capacity(cpus=4, memory_bytes=20 * GIB)


class Machine:
    """A machine with cgroups in ordinary directories."""

    def __init__(self, directory: Path, version: int = 2) -> None:
        self.directory = directory
        self.cgroups = directory / "cgroups"
        self.cgroups.mkdir()
        self.hierarchies = [Hierarchy(self.cgroups, version, ["memory", "cpu"])]

    def host(self, instance_id: str) -> Claims:
        """Return a virtual container host whose agent has come up."""
        groups = MachineGroups(instance_id, list(self.hierarchies))
        groups.prepare(Limits(memory_bytes=HOST.memory_bytes))
        kept = self.directory / f"kept-{instance_id}.json"
        claims = self.directory / "claims"
        made = Claims(instance_id, kept, groups, HOST, HOST.memory_bytes, claims)
        made.open()
        return made

    def told(self, instance_id: str, file: str) -> int:
        """Return what the kernel was told of an instance's group."""
        return int((self.cgroups / f"vic-{instance_id}" / file).read_text())

    def end(self, instance_id: str, claims: Claims) -> None:
        """End a host's agent with its group, as no machine is left in it."""
        for path in sorted((self.cgroups / f"vic-{instance_id}").glob("*")):
            path.unlink()
        (self.cgroups / f"vic-{instance_id}").rmdir()
        claims.close()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


async def test_what_was_reserved_is_kept_for_its_owner(machine: Machine) -> None:
    host = machine.host("aaaaaaaa")
    assert machine.told("aaaaaaaa", "cpu.weight") == 100
    assert machine.told("aaaaaaaa", "memory.min") == 0
    host.set(Allocation(cpu_millis=1000, memory_bytes=4 * GIB, cpu_shares=200))
    assert machine.told("aaaaaaaa", "memory.min") == 4 * GIB
    assert machine.told("aaaaaaaa", "memory.max") == HOST.memory_bytes
    # Beside all else, with its 100: 200 shares and a CPU, where 3 CPUs are for 300 shares.
    assert machine.told("aaaaaaaa", "cpu.weight") == 300
    host.set(Allocation())
    assert machine.told("aaaaaaaa", "memory.min") == 0
    assert machine.told("aaaaaaaa", "cpu.weight") == 100


async def test_nothing_is_reserved_twice(machine: Machine) -> None:
    one, other = machine.host("aaaaaaaa"), machine.host("bbbbbbbb")
    one.set(Allocation(cpu_millis=3000, memory_bytes=15 * GIB))
    with pytest.raises(InvalidArgument) as refused:
        other.set(Allocation(memory_bytes=6 * GIB))
    assert refused.value.message == (
        "6144 MiB of memory can't be reserved: virtual machines may have 20480 MiB on this "
        "machine, and other virtual container hosts have reserved 15360 MiB"
    )
    with pytest.raises(InvalidArgument, match=r"1\.5 CPUs can't be .* has 4, and .* reserved 3"):
        other.set(Allocation(cpu_millis=1500))
    assert other.own == Allocation()
    assert machine.told("bbbbbbbb", "memory.min") == 0
    other.set(Allocation(cpu_millis=1000, memory_bytes=5 * GIB))
    machine.end("aaaaaaaa", one)
    other.set(Allocation(cpu_millis=4000, memory_bytes=20 * GIB))


async def test_another_host_s_reservation_changes_our_weight(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = asyncio.Event()
    take_in = Claims._changed

    def changed(claims: Claims, name: str) -> None:
        take_in(claims, name)
        heard.set()

    monkeypatch.setattr(Claims, "_changed", changed)
    one, other = machine.host("aaaaaaaa"), machine.host("bbbbbbbb")
    one.set(Allocation(cpu_millis=1000))
    async with asyncio.timeout(60):
        await heard.wait()
        heard.clear()
        other.set(Allocation(cpu_millis=2000))
        await heard.wait()
    assert machine.told("aaaaaaaa", "cpu.weight") == 100 + 1000 * 300 // 1000


async def test_a_reservation_survives_the_agent(machine: Machine) -> None:
    host = machine.host("aaaaaaaa")
    host.set(Allocation(memory_bytes=4 * GIB, memory_shares=300))
    machine.end("aaaaaaaa", host)
    other = machine.host("bbbbbbbb")
    assert other.others() == []
    host = machine.host("aaaaaaaa")
    assert host.own == Allocation(memory_bytes=4 * GIB, memory_shares=300)
    assert machine.told("aaaaaaaa", "memory.min") == 4 * GIB
    # Of 16 GiB three parts of five: the other host and all else have one each.
    assert machine.told("aaaaaaaa", "memory.low") == 4 * GIB + 16 * GIB * 300 // 500


async def test_what_others_took_meanwhile_is_not_taken_back(machine: Machine) -> None:
    host = machine.host("aaaaaaaa")
    host.set(Allocation(memory_bytes=15 * GIB))
    machine.end("aaaaaaaa", host)
    machine.host("bbbbbbbb").set(Allocation(memory_bytes=10 * GIB))
    assert machine.host("aaaaaaaa").own == Allocation()


async def test_what_version_1_cannot_do_is_refused_or_told(tmp_path: Path) -> None:
    machine = Machine(tmp_path, version=1)
    host = machine.host("aaaaaaaa")
    with pytest.raises(NotImplementedYet, match="memory shares need cgroup version 2"):
        host.set(Allocation(memory_shares=200))
    host.set(Allocation(memory_bytes=GIB, cpu_shares=200))
    assert machine.told("aaaaaaaa", "cpu.shares") == 2048
    assert machine.host("bbbbbbbb").others() == [Allocation(memory_bytes=GIB, cpu_shares=200)]


async def test_shares_have_bounds(machine: Machine) -> None:
    host = machine.host("aaaaaaaa")
    with pytest.raises(InvalidArgument, match="the CPU shares must be between 1 and 10000"):
        host.set(Allocation(cpu_shares=10_001))


def test_a_weight_gives_what_is_due() -> None:
    """Of 4 CPUs: 2 reserved, and the rest by shares, whatever the others' shares are."""
    for shares in (50, 100, 400):
        own = Allocation(cpu_millis=2000, cpu_shares=shares)
        others = [Allocation(cpu_millis=500), Allocation(cpu_shares=200)]
        strangers = 100
        all_shares = shares + 100 + 200 + strangers
        weights = [
            cpu_weight(own, others, strangers, HOST),
            cpu_weight(others[0], [own, others[1]], strangers, HOST),
            cpu_weight(others[1], [own, others[0]], strangers, HOST),
            strangers,
        ]
        due = 2 + 1.5 * shares / all_shares
        assert 4 * weights[0] / sum(weights) == pytest.approx(due, rel=0.02)


def test_all_that_is_reserved_weighs_the_most() -> None:
    assert cpu_weight(Allocation(cpu_millis=4000), [], 100, HOST) == 10_000
    assert cpu_weight(Allocation(), [Allocation(cpu_millis=4000)], 100, HOST) == 100


def test_memory_without_shares_is_not_protected() -> None:
    assert protected_memory(Allocation(memory_bytes=GIB), [], HOST) is None

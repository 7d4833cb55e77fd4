"""The life of a container VM: its start, its end, and what is left of it."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest
from vic.tether.v1 import tether_pb2 as pb
from vic.tether.v1.process_pb2 import WorkloadLimits

from tests.integration.tether.authority import Authority
from tests.integration.tether.interaction import serve
from tests.integration.tether.machine import (
    CONTAINER_ID,
    Machine,
    configuration,
    machine,
)
from tether.bootstrap.image import BootstrapImage

MIB = 1024 * 1024


def assert_clean(disk: Path) -> None:
    """The file system was unmounted, and nothing is wrong with it."""
    subprocess.run(["e2fsck", "-fn", disk], check=True, capture_output=True)


def content(disk: Path, path: str) -> bytes:
    """A file's bytes as they are on the disk."""
    command = ["debugfs", "-R", f"cat {path}", str(disk)]
    return subprocess.run(command, check=True, capture_output=True).stdout


async def configured(
    vm: Machine, authority: Authority, port: int, *, readonly: bool = False
) -> None:
    assert await vm.line() == {"event": "ready", "protocol": 1}
    await vm.configure(configuration(authority, port, readonly=readonly))
    assert await vm.line() == {"event": "configured", "container_id": CONTAINER_ID}


async def test_container_runs_once_and_its_vm_powers_off(
    image: BootstrapImage, authority: Authority, disk: Path, tmp_path: Path
) -> None:
    async with (
        serve(authority) as (interaction, port),
        machine(image, tmp_path / "vm", disk) as vm,
    ):
        await configured(vm, authority, port)
        result = await interaction.run("sh", "-c", "echo kept > /kept; echo hello; exit 3")
        assert (result.stdout, result.code) == (b"hello\n", 3)
        assert result.exited.finished_at.seconds > 1_700_000_000
        interaction.send(exit_acknowledged=pb.ExitAcknowledged(process_id="init"))
        record = await vm.power_off()
    assert (record["container_id"], record["boot_id"]) == (CONTAINER_ID, "boot-1")
    assert (record["exit_code"], record["oom_killed"], record["error"]) == (3, False, "")
    assert (interaction.hellos[0].boot_id, interaction.hellos[0].tether_version) == (
        "boot-1",
        "0.1.0",
    )
    assert_clean(disk)
    assert content(disk, "/kept") == b"kept\n"


async def test_memory_limit_kills_the_workload_alone(
    image: BootstrapImage, authority: Authority, disk: Path, tmp_path: Path
) -> None:
    async with (
        serve(authority) as (interaction, port),
        machine(image, tmp_path / "vm", disk) as vm,
    ):
        await configured(vm, authority, port)
        limits = WorkloadLimits(memory_bytes=64 * MIB, pids=100)
        script = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max; exec tail /dev/zero"
        result = await interaction.run("sh", "-c", script, limits=limits)
        assert result.stdout == b"67108864\n100\n"
        assert result.code == 137
        assert result.exited.oom_killed
        interaction.send(exit_acknowledged=pb.ExitAcknowledged(process_id="init"))
        assert (await vm.power_off())["oom_killed"] is True


async def test_all_of_a_vms_memory_eaten_leaves_the_tether_alive(
    image: BootstrapImage, authority: Authority, disk: Path, tmp_path: Path
) -> None:
    async with (
        serve(authority) as (interaction, port),
        machine(image, tmp_path / "vm", disk) as vm,
    ):
        await configured(vm, authority, port)
        result = await interaction.run("tail", "/dev/zero")
        assert result.code == 137
        assert result.exited.oom_killed


async def test_processors_are_those_asked_for(
    image: BootstrapImage, authority: Authority, disk: Path, tmp_path: Path
) -> None:
    async with (
        serve(authority) as (interaction, port),
        machine(image, tmp_path / "vm", disk, vcpus=2) as vm,
    ):
        await configured(vm, authority, port)
        script = "nproc; cat /sys/fs/cgroup/cpu.max"
        limits = WorkloadLimits(nano_cpus=1_500_000_000)
        result = await interaction.run("sh", "-c", script, limits=limits)
        assert result.stdout == b"2\n150000 100000\n"


async def test_read_only_root_still_has_its_own_files(
    image: BootstrapImage, authority: Authority, disk: Path, tmp_path: Path
) -> None:
    async with (
        serve(authority) as (interaction, port),
        machine(image, tmp_path / "vm", disk) as vm,
    ):
        await configured(vm, authority, port, readonly=True)
        result = await interaction.run("sh", "-c", "cat /etc/hostname; echo x > /x")
        assert result.stdout == b"tethered\n"
        assert b"Read-only file system" in result.stderr


async def test_init_that_cannot_start_is_told_and_recorded(
    image: BootstrapImage, authority: Authority, disk: Path, tmp_path: Path
) -> None:
    async with (
        serve(authority) as (interaction, port),
        machine(image, tmp_path / "vm", disk) as vm,
    ):
        await configured(vm, authority, port)
        await interaction.launch("no-such-program")
        answer = await interaction.wait("launch_failed", "init")
        assert isinstance(answer, pb.LaunchFailed)
        assert answer.exit_code == 127
        interaction.send(power_off=pb.PowerOffCommand())
        record = await vm.power_off()
    assert record["exit_code"] == 127
    assert record["error"] == 'exec: "no-such-program": executable file not found in $PATH'


async def test_an_error_of_any_length_leaves_a_record(
    image: BootstrapImage, authority: Authority, disk: Path, tmp_path: Path
) -> None:
    async with (
        serve(authority) as (interaction, port),
        machine(image, tmp_path / "vm", disk) as vm,
    ):
        await configured(vm, authority, port)
        await interaction.launch("/" + "\N{SNOWMAN}" * 20_000)
        answer = await interaction.wait("launch_failed", "init")
        assert isinstance(answer, pb.LaunchFailed)
        interaction.send(power_off=pb.PowerOffCommand())
        record = await vm.power_off()
    assert record["exit_code"] == answer.exit_code


async def test_power_off_ends_what_runs(
    image: BootstrapImage, authority: Authority, disk: Path, tmp_path: Path
) -> None:
    async with (
        serve(authority) as (interaction, port),
        machine(image, tmp_path / "vm", disk) as vm,
    ):
        await configured(vm, authority, port)
        await interaction.launch("sh", "-c", "trap '' TERM; echo up; while :; do sleep 1; done")
        await interaction.until_output("init", b"up")
        interaction.send(power_off=pb.PowerOffCommand())
        assert (await vm.power_off())["exit_code"] == 137
    assert_clean(disk)


async def test_exit_is_recorded_before_anybody_acknowledges_it(
    image: BootstrapImage, authority: Authority, disk: Path, tmp_path: Path
) -> None:
    async with (
        serve(authority) as (interaction, port),
        machine(image, tmp_path / "vm", disk) as vm,
    ):
        await configured(vm, authority, port)
        await interaction.run("sh", "-c", "exit 5")
        interaction.forget("exited", "init")
        record = await vm.exit_record()
        assert record["exit_code"] == 5
        interaction.send(exit_acknowledged=pb.ExitAcknowledged(process_id="init"))
        await vm.gone(record)


async def test_output_survives_a_restart_of_interaction(
    image: BootstrapImage, authority: Authority, disk: Path, tmp_path: Path
) -> None:
    async with machine(image, tmp_path / "vm", disk) as vm:
        async with serve(authority) as (first, port):
            await configured(vm, authority, port)
            script = "i=0; while [ $i -lt 40 ]; do echo line $i; i=$((i+1)); sleep 0.1; done"
            await first.launch("sh", "-c", script)
            await first.until_output("init", b"line 5\n")
            first.acknowledge = False  # what comes now is lost with this service
            await first.until_output("init", b"line 8\n")
            stored = first.outputs["init"]
            kept = first.acknowledged["init"]
        async with serve(authority, port) as (second, _):
            second.adopt("init", kept)
            exited = await second.wait("exited", "init")
            assert isinstance(exited, pb.ProcessExited)
            assert second.hellos[0].processes[0].process_id == "init"
            text = b"".join(stored.pieces[:kept]) + bytes(second.outputs["init"].stdout)
    assert text == b"".join(b"line %d\n" % number for number in range(40))


async def test_broken_configuration_ends_the_vm_with_a_reason(
    image: BootstrapImage, authority: Authority, disk: Path, tmp_path: Path
) -> None:
    async with machine(image, tmp_path / "vm", disk) as vm:
        assert (await vm.line())["event"] == "ready"
        await asyncio.get_running_loop().sock_sendall(vm.config, b"\0\0\0\2{}")
        answer = await vm.line()
        assert answer == {"event": "failed", "error": "v: not an integer from 0"}
        record = await vm.power_off()
    assert record["error"] == "v: not an integer from 0"


@pytest.mark.parametrize("frames", [1, 2])
async def test_configuration_comes_in_one_step_or_two(
    image: BootstrapImage, authority: Authority, disk: Path, tmp_path: Path, frames: int
) -> None:
    async with (
        serve(authority) as (interaction, port),
        machine(image, tmp_path / "vm", disk) as vm,
    ):
        assert (await vm.line())["event"] == "ready"
        whole = configuration(authority, port)
        for part in whole.steps() if frames == 2 else [whole]:
            await vm.configure(part)
        assert (await vm.line())["event"] == "configured"
        assert (await interaction.run("true")).code == 0

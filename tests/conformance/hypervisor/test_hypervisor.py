"""What exec relies on of every hypervisor driver, tried on each of them."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import fields, replace

import pytest
from vic.exec.v1 import container_pb2

from portlayer.errors import VicError
from services.exec.drivers import MachineExited, MachineSpec, Usage
from services.exec.exitrecord import parse_exit_record
from tests.conformance.hypervisor.platforms import EXCEPTIONS, Platform, qemu, vsphere

PLATFORMS = {"qemu": qemu, "vsphere": vsphere}
SECONDS = 240.0


@pytest.fixture(params=sorted(PLATFORMS))
async def platform(request: pytest.FixtureRequest) -> AsyncIterator[Platform]:
    """Each platform in turn."""
    async with PLATFORMS[request.param]() as made:
        yield made


async def start(platform: Platform, machine: MachineSpec) -> None:
    """Bring a VM to life as exec does."""
    await platform.driver.create(machine)
    await platform.driver.load(machine.container_id, machine.boot_id)
    await platform.driver.run(machine.container_id, machine.boot_id)


async def end_of(platform: Platform, machine: MachineSpec) -> tuple[int, MachineExited]:
    """Wait until the end of a boot is told."""
    async with asyncio.timeout(SECONDS):
        async for position, exited in platform.driver.exits(0):
            if exited is not None and exited.boot_id == machine.boot_id:
                return position, exited
    raise AssertionError("the ends have ended")


async def history(platform: Platform, after: int) -> list[str]:
    """Return the boots whose ends are told at once."""
    told: list[str] = []
    async with asyncio.timeout(SECONDS):
        async for _, exited in platform.driver.exits(after):
            if exited is None:
                return told
            told.append(exited.boot_id)
    raise AssertionError("the ends have ended")


async def alive(platform: Platform) -> set[tuple[str, str]]:
    """Return containers and boots of the VMs that run."""
    return {(m.container_id, m.boot_id) for m in await platform.driver.inventory()}


async def usage_of_one(platform: Platform) -> Usage:
    """Measure the VM that there is, again where one so busy hasn't told of its disks in time."""
    async with asyncio.timeout(SECONDS):
        while True:
            (usage,) = await platform.driver.usage(0.2)
            if usage.disk_read_rate is not None:
                return usage


async def test_the_life_of_a_vm(platform: Platform) -> None:
    # The same limits mean the same VM everywhere.
    limits = container_pb2.Resources(memory_bytes=1 << 30, nano_cpus=1_500_000_000)
    size = platform.driver.size(limits)
    assert (size.memory_bytes, size.cpus) == (2 << 30, 2)
    with pytest.raises(VicError):
        await platform.driver.pause(secrets.token_hex(32))

    machine = await platform.machine("stay")
    named = (machine.container_id, machine.boot_id)
    await start(platform, machine)
    assert await alive(platform) == {named}
    # Asked for again it is the same one.
    await platform.driver.create(machine)
    assert await platform.count(machine) == 1

    assert not await platform.driver.is_paused(machine.container_id)
    await platform.driver.pause(machine.container_id)
    assert await platform.driver.is_paused(machine.container_id)
    assert await alive(platform) == {named}
    await platform.driver.unpause(machine.container_id)
    assert not await platform.driver.is_paused(machine.container_id)
    assert await alive(platform) == {named}

    usage = await usage_of_one(platform)
    assert (usage.container_id, usage.boot_id) == named
    assert usage.seconds >= 0.2
    assert usage.memory_bytes
    for figure in fields(usage):
        value = getattr(usage, figure.name)
        told = (platform.name, figure.name) not in EXCEPTIONS
        assert (isinstance(value, str) or value >= 0) if told else value is None, figure.name

    # A driver that comes later finds it, and has no end to tell.
    await platform.reopen()
    assert await alive(platform) == {named}
    assert machine.boot_id not in await history(platform, 0)

    # Another boot's end isn't its end.
    await platform.driver.destroy(machine.container_id, secrets.token_hex(16))
    assert await alive(platform) == {named}

    await platform.driver.destroy(machine.container_id, machine.boot_id)
    assert await alive(platform) == set()
    assert await platform.count(machine) == 0
    assert await platform.has_disk(machine)
    await platform.driver.destroy(machine.container_id, machine.boot_id)
    await platform.driver.destroy(machine.container_id)


async def test_an_end_behind_our_back_is_told_until_it_is_forgotten(platform: Platform) -> None:
    machine = await platform.machine("stay")
    await start(platform, machine)
    await platform.end(machine)
    position, exited = await end_of(platform, machine)
    assert exited.container_id == machine.container_id
    assert exited.detail
    assert await alive(platform) == set()
    assert machine.boot_id in await history(platform, position - 1)
    assert machine.boot_id not in await history(platform, position)

    # It starts again, under another boot, before its end is forgotten.
    again = replace(machine, boot_id=secrets.token_hex(16))
    await start(platform, again)
    await platform.driver.forget_exits(position)
    assert await alive(platform) == {(again.container_id, again.boot_id)}
    await platform.driver.destroy(again.container_id)
    assert await platform.has_disk(again)


async def test_an_end_that_nobody_was_there_to_hear_is_told_afterwards(platform: Platform) -> None:
    machine = await platform.machine("stay")
    await start(platform, machine)
    before = await end_of_another(platform)
    await platform.driver.close()
    await platform.end(machine)
    await platform.reopen()
    position, _ = await end_of(platform, machine)
    assert position > before
    await platform.driver.forget_exits(position)
    assert await platform.count(machine) == 0


async def end_of_another(platform: Platform) -> int:
    """Let another VM end, and return the position of its end."""
    machine = await platform.machine("stay")
    await start(platform, machine)
    await platform.end(machine)
    position, _ = await end_of(platform, machine)
    await platform.driver.forget_exits(position)
    return position


async def test_what_the_guest_wrote_comes_with_its_end(platform: Platform) -> None:
    if (platform.name, "a guest's own record") in EXCEPTIONS:
        pytest.skip(EXCEPTIONS[platform.name, "a guest's own record"])
    machine = await platform.machine("record")
    await start(platform, machine)
    _, exited = await end_of(platform, machine)
    assert exited.exit_record == b"code 7\n"
    # Which is of no form that exec believes.
    assert parse_exit_record(exited.exit_record) is None


def test_what_a_platform_cant_show_are_two_things() -> None:
    assert len(EXCEPTIONS) == 2

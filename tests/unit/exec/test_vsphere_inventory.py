"""What updates of a VM say of its guest."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from pyVmomi import vim

from portlayer.neighbours import Neighbours
from portlayer.vsphere.identity import Identity, encode
from portlayer.vsphere.properties import Collector
from services.exec.drivers.vsphere import found as of_found
from services.exec.drivers.vsphere import inventory as of_inventory
from services.exec.drivers.vsphere.claims import Claims
from services.exec.drivers.vsphere.found import OFF, ON, SUSPENDED, Found, rebooted, woken
from services.exec.drivers.vsphere.inventory import Inventory

FIRST = datetime(2026, 11, 26, tzinfo=UTC)


def seen(before: Found, **changes: object) -> tuple[Found, bool]:
    """A VM after an update, and whether that means a reset."""
    now = woken(before, replace(before, **changes))  # type: ignore[arg-type]
    return now, rebooted(before, now)


def test_a_vm_that_goes_on_has_a_new_boot_time_and_was_not_reset() -> None:
    suspended = Found(vim.VirtualMachine("vm-1"), power=SUSPENDED, booted=FIRST)
    # vCenter tells of its power and of its boot time in one update or in two.
    at_once, reset = seen(suspended, power=ON, booted=FIRST + timedelta(hours=1))
    assert not reset
    on, reset = seen(suspended, power=ON)
    assert not reset
    later, reset = seen(on, booted=FIRST + timedelta(hours=1))
    assert not reset
    for going in (at_once, later):
        _, reset = seen(going, booted=FIRST + timedelta(hours=2))
        assert reset


def test_a_boot_time_that_changes_long_after_is_a_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    suspended = Found(vim.VirtualMachine("vm-1"), power=SUSPENDED, booted=FIRST)
    on, _ = seen(suspended, power=ON)
    monkeypatch.setattr(of_found, "BOOT_TIME_SECONDS", 0.0)
    _, reset = seen(on, booted=FIRST + timedelta(hours=1))
    assert reset


class Follower(Inventory):
    """An inventory that a test tells of updates, and of what vCenter has now."""

    now: Found | None = None

    async def of(self, container_id: str, boot_id: str = "") -> Found | None:
        return self.now


VM = vim.VirtualMachine("vm-7")
MACHINE = Identity("0a1b2c3d", "c" * 64, "b" * 32)


@pytest.fixture
def follower() -> Follower:
    """One that has read an empty folder."""
    claims = Claims(Neighbours(None))
    made = Follower(cast(Any, None), "/DC0/vm", MACHINE.instance_id, claims)
    made.complete.set()
    return made


def configuration() -> dict[str, Any]:
    """What the VM is ours by."""
    options = cast(Any, vim.option.OptionValue).Array(encode(MACHINE, b""))
    return {"config.uuid": MACHINE.uuid, "config.extraConfig": options}


def update(
    power: vim.VirtualMachine.PowerState, *, first: bool = False, booted: datetime | None = None
) -> Collector.ObjectUpdate:
    """What vCenter tells of the VM."""
    told: dict[str, Any] = {"runtime.powerState": power}
    if booted is not None:
        told["runtime.bootTime"] = booted
    if first:
        told |= configuration()
    return telling(told, first=first)


def telling(told: dict[str, Any], *, first: bool = False) -> Collector.ObjectUpdate:
    """An update of the VM with these values."""
    kind = Collector.ObjectUpdate.Kind
    return Collector.ObjectUpdate(
        kind=kind.enter if first else kind.modify,
        obj=VM,
        changeSet=[
            Collector.Change(name=name, op=Collector.Change.Op.assign, val=value)
            for name, value in told.items()
        ],
    )


async def ends(follower: Follower) -> list[str]:
    """How the boots ended that are told to have."""
    told: list[str] = []
    async for _, exited in follower.ends(0):
        if exited is None:
            return told
        told.append(exited.detail)
    raise AssertionError("the ends have ended")


async def test_a_vm_that_runs_and_off_between_two_updates_has_ended(follower: Follower) -> None:
    follower.expect(MACHINE.boot_id)
    follower._apply(update(OFF, first=True))
    assert await ends(follower) == []
    follower.begin(VM, MACHINE.boot_id)
    assert await ends(follower) == []
    follower._apply(update(OFF))
    assert await ends(follower) == ["powered off"]


async def test_a_vm_that_was_on_of_which_no_update_tells_has_ended(
    follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(of_inventory, "CONFIRM_SECONDS", 0.0)
    follower.expect(MACHINE.boot_id)
    follower._apply(update(OFF, first=True))
    follower.now = Found(VM, power=OFF, identity=MACHINE)
    follower.begin(VM, MACHINE.boot_id)
    async with asyncio.timeout(60):
        async for _, exited in follower.ends(0):
            if exited is not None:
                assert exited.detail == "powered off"
                break
    assert follower.live() == []


async def test_a_vm_whose_start_was_told_is_not_looked_at(
    follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(of_inventory, "CONFIRM_SECONDS", 0.0)
    follower.expect(MACHINE.boot_id)
    follower._apply(update(OFF, first=True))
    follower.begin(VM, MACHINE.boot_id)
    (confirming,) = follower._assumed.values()
    follower._apply(update(ON))
    await asyncio.wait([confirming])
    assert confirming.cancelled()
    assert len(follower.live()) == 1


async def test_a_vm_that_stood_still_between_two_updates_was_not_reset(follower: Follower) -> None:
    follower._apply(update(ON, first=True, booted=FIRST))
    follower.wake(VM)
    follower._apply(update(ON, booted=FIRST + timedelta(minutes=1)))
    assert await ends(follower) == []
    follower._apply(update(ON, booted=FIRST + timedelta(minutes=2)))
    assert await ends(follower) == ["reset"]


async def test_an_update_of_before_the_start_that_comes_late_is_no_end(follower: Follower) -> None:
    follower.expect(MACHINE.boot_id)
    follower.begin(VM, MACHINE.boot_id)
    follower._apply(update(OFF, first=True))
    assert follower.live() == []
    # Who reads that it is on isn't told that it is over.
    assert not follower.is_over(MACHINE.boot_id)
    follower.changed.clear()
    follower.now = Found(VM, power=ON)
    assert await ends(follower) == []
    # Who keeps the rules of those that live is told that it is one of them.
    assert follower.changed.is_set()
    assert len(follower.live()) == 1
    follower._apply(update(ON))
    follower._apply(update(OFF))
    follower.now = Found(VM, power=OFF)
    assert await ends(follower) == ["powered off"]
    assert follower.is_over(MACHINE.boot_id)


async def test_an_end_after_an_update_that_came_late_is_told(follower: Follower) -> None:
    follower.expect(MACHINE.boot_id)
    follower.begin(VM, MACHINE.boot_id)
    follower._apply(update(OFF, first=True))
    follower.now = Found(VM, power=ON, identity=MACHINE)
    assert await ends(follower) == []
    # It was on between two updates, of which the latter says once more that it is off.
    follower._apply(update(OFF))
    assert await ends(follower) == ["powered off"]


async def test_an_end_is_told_that_came_while_a_late_update_was_looked_into(
    follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(of_inventory, "CONFIRM_SECONDS", 0.0)
    follower.expect(MACHINE.boot_id)
    follower.begin(VM, MACHINE.boot_id)
    follower._apply(update(OFF, first=True))

    async def looked_at(_: object) -> bool:
        follower._apply(update(ON))
        follower._apply(update(OFF))
        follower.now = Found(VM, power=OFF, identity=MACHINE)
        return True

    monkeypatch.setattr(follower, "_runs", looked_at)
    async with asyncio.timeout(60):
        async for _, exited in follower.ends(0):
            if exited is not None:
                assert exited.detail == "powered off"
                break


async def test_what_was_off_when_it_was_first_seen_has_ended(follower: Follower) -> None:
    follower._apply(update(OFF, first=True))
    follower.now = Found(VM, power=OFF)
    assert await ends(follower) == ["powered off"]
    assert follower.is_over(MACHINE.boot_id)


async def test_a_vm_whose_configuration_is_told_after_its_start_runs(follower: Follower) -> None:
    follower.expect(MACHINE.boot_id)
    # While a VM is being made vCenter often knows nothing of its configuration.
    follower._apply(telling({"runtime.powerState": OFF}, first=True))
    follower.begin(VM, MACHINE.boot_id)
    follower._apply(telling(configuration()))
    follower.now = Found(VM, power=ON)
    assert await ends(follower) == []
    assert len(follower.live()) == 1
    follower._apply(update(OFF))
    follower.now = Found(VM, power=OFF)
    assert await ends(follower) == ["powered off"]


@pytest.mark.parametrize("now", [ON, SUSPENDED])
async def test_a_whole_state_of_before_the_start_that_comes_after_it_is_no_end(
    follower: Follower, now: vim.VirtualMachine.PowerState
) -> None:
    follower.expect(MACHINE.boot_id)
    follower._apply(update(OFF, first=True))
    follower.begin(VM, MACHINE.boot_id)
    # An interruption: the folder is read anew, which takes seconds where it is large.
    follower._apply(update(OFF, first=True))
    follower.now = Found(VM, power=now)
    assert await ends(follower) == []
    assert len(follower.live()) == 1
    follower._apply(update(OFF))
    follower.now = Found(VM, power=OFF)
    assert await ends(follower) == ["powered off"]


async def test_what_was_seen_on_and_is_off_after_an_interruption_has_ended(
    follower: Follower,
) -> None:
    follower._apply(update(ON, first=True))
    follower._apply(update(OFF, first=True))
    # HA has started it elsewhere since: its guest has lost all the same what it was.
    follower.now = Found(VM, power=ON)
    assert await ends(follower) == ["powered off"]
    assert follower.is_over(MACHINE.boot_id)

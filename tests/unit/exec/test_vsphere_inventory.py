"""What updates of a VM say of its guest."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from pyVmomi import vim

from services.exec.drivers.vsphere import inventory
from services.exec.drivers.vsphere.inventory import ON, SUSPENDED, Found, rebooted, woken

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
    monkeypatch.setattr(inventory, "BOOT_TIME_SECONDS", 0.0)
    _, reset = seen(on, booted=FIRST + timedelta(hours=1))
    assert reset

"""A VM as vCenter tells of it: which of its properties are read, and what their changes mean."""

import re
import time
from dataclasses import dataclass, field, replace
from datetime import datetime

from pyVmomi import vim

from portlayer.vsphere.identity import PREFIX, Identity, options
from portlayer.vsphere.properties import Properties

ON = vim.VirtualMachine.PowerState.poweredOn
OFF = vim.VirtualMachine.PowerState.poweredOff
SUSPENDED = vim.VirtualMachine.PowerState.suspended
PATHS = (
    "name",
    "config.uuid",
    "config.extraConfig",
    "runtime.powerState",
    "runtime.bootTime",
    "runtime.host",
    "runtime.instantCloneFrozen",
)
PARENT = PREFIX + "parent"
"""Key of a VM that others are cloned from: what they have in common."""
# vCenter may name one entry of an array that changed.
_ENTRY = re.compile(r'config\.extraConfig\["(?P<key>[^"]+)"\]')
# A VM that goes on has a new boot time, which may be told after its power, but not much later.
BOOT_TIME_SECONDS = 10.0


@dataclass(frozen=True)
class Found:
    """A VM in the folder. ``identity`` is None where it isn't ours."""

    vm: vim.VirtualMachine
    name: str = ""
    bios_uuid: str = ""
    power: vim.VirtualMachine.PowerState | None = None
    options: dict[str, str] = field(default_factory=dict)
    identity: Identity | None = None
    booted: datetime | None = None
    woken: float | None = None
    """When it came on while its boot time was still the former one's; by ``time.monotonic``."""
    host: str = ""
    """vCenter's ID of its host."""
    frozen: bool = False
    """It stands still, and clones of it go on from there."""


def standing(found: Found) -> tuple[object, ...]:
    """Return what others wait for of a VM."""
    return found.identity, found.power, found.frozen, PARENT in found.options


def moved(before: Found, now: Found) -> bool:
    """Tell whether a VM is on another host than it was."""
    return bool(before.host) and bool(now.host) and before.host != now.host


def rebooted(before: Found, now: Found) -> bool:
    """Tell whether a VM has lost its memory: its guest was reset, or HA started it elsewhere."""
    boots = {before.booted, now.booted}
    if not before.power == now.power == ON or None in boots or len(boots) == 1:
        return False
    return before.woken is None or time.monotonic() - before.woken > BOOT_TIME_SECONDS


def woken(before: Found | None, now: Found) -> Found:
    """Note of a VM that went on that its boot time is still to come, or that it has come."""
    if before is None or before.booted != now.booted:
        return replace(now, woken=None)
    if before.power != ON and now.power == ON and now.booted is not None:
        return replace(now, woken=time.monotonic())
    return now


def changed(found: Found, changes: Properties) -> Found:
    """Return what is known of a VM after vCenter told of changes, by property path."""
    for path, value in changes.items():
        if path == "name":
            found = replace(found, name=value)
        elif path == "config.uuid":
            found = replace(found, bios_uuid=value or "")
        elif path == "runtime.powerState":
            found = replace(found, power=value)
        elif path == "runtime.bootTime":
            found = replace(found, booted=value)
        elif path == "runtime.host":
            found = replace(found, host="" if value is None else value._GetMoId())
        elif path == "runtime.instantCloneFrozen":
            found = replace(found, frozen=bool(value))
        elif path == "config.extraConfig":
            found = replace(found, options=options(value))
        elif match := _ENTRY.fullmatch(path):
            text = "" if value is None else str(getattr(value, "value", value))
            found = replace(found, options=found.options | {match["key"]: text})
    return found

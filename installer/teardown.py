"""Taking everything of a stopped instance off the host."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack

from installer.endpoint import remove_bound
from installer.errors import InstallerError
from installer.instance import Instance, load_instance
from installer.launch import service_command, service_environment
from installer.roles import kind_of
from installer.slots import SLOTS_DIR, SlotClaim, SlotOwner, data_dirs, hold_slot, holds_slot
from installer.sweep import sweep
from portlayer.identity import Role

TEARDOWN_SECONDS = 60.0

Say = Callable[[str], None]


def tear_down(instance: Instance, say: Say, claim: SlotClaim | None = None) -> list[str]:
    """Remove an instance's processes, networks, cgroups, sockets and its claim to the slot.

    Returns what could not be removed; the claim is kept then, so that nobody gets a soiled slot. Of
    one that has no slot any more, only what carries its ID is looked for. `claim` is given by who
    has claimed the slot itself.
    """
    owner = SlotOwner(instance.id, instance.data_dir)
    held = hold_slot(owner, instance.slot, SLOTS_DIR, claim)
    with ExitStack() as undo:
        if held is not None:
            undo.callback(held.drop)
        left = _remove_all(instance, say, has_slot=held is not None)
        if held is not None and not left:
            held.path.unlink(missing_ok=True)
    if held is None and holds_slot(instance.id, instance.data_dir, instance.slot, SLOTS_DIR):
        left.append(f"slot {instance.slot}, which another process has locked")
    return left


def _remove_all(instance: Instance, say: Say, *, has_slot: bool) -> list[str]:
    if has_slot:
        _tear_down_networks(instance, say)
    left = sweep(instance.id, instance.slot if has_slot else None)
    remove_bound(instance.endpoint_note)
    shutil.rmtree(instance.volatile_dir, ignore_errors=True)
    # One that was made and never started has none.
    for entry in instance.run_dir.iterdir() if instance.run_dir.is_dir() else ():
        if entry.is_socket():
            entry.unlink()
    return left


def clear_slot(slot: int, former: SlotOwner | None, say: Say) -> bool:
    """Remove what a slot's former owner, all of which was killed, has left on the host.

    Its data directory is left as it is: `vic up` on it brings the instance up again, in another
    slot. Tells whether all is gone.
    """
    if former is not None and former.data_dir in data_dirs(besides=slot):
        former = None  # it lives, in another slot
    if former is not None:
        instance = _load(former)
        if instance is not None and instance.slot == slot:
            _tear_down_networks(instance, say)
            remove_bound(instance.endpoint_note)
            shutil.rmtree(instance.volatile_dir, ignore_errors=True)
    left = sweep(former.id if former else None, slot)
    if left:
        say(f"slot {slot} is not used, for what an instance that was killed left there: {left}")
    return not left


def _load(owner: SlotOwner) -> Instance | None:
    """Return an instance by its record; None where that is gone, unreadable or another's now."""
    try:
        instance = load_instance(owner.data_dir)
    except InstallerError:
        return None
    return instance if instance is not None and instance.id == owner.id else None


def _tear_down_networks(instance: Instance, say: Say) -> None:
    """Have the network service's own code remove what it made: it knows its rules best."""
    kind = kind_of(Role.NETWORK)
    try:
        result = subprocess.run(
            service_command(instance, kind, [sys.executable, "-m", f"{kind.module}.teardown"]),
            env=service_environment(instance),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TEARDOWN_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        say(f"the network service's own clean-up took more than {TEARDOWN_SECONDS:.0f} s")
        return
    if result.returncode != 0:
        say(f"the network service's own clean-up failed: {result.stderr.strip()[-500:]}")

"""Taking everything of a stopped instance off the host."""

import shutil
import subprocess
import sys
from collections.abc import Callable

from installer.endpoint import parse_endpoint
from installer.instance import Instance
from installer.launch import service_command, service_environment
from installer.roles import kind_of
from installer.slots import SLOTS_DIR, holds_slot
from installer.sweep import sweep
from portlayer.identity import Role

TEARDOWN_SECONDS = 60.0

Say = Callable[[str], None]


def tear_down(instance: Instance, say: Say) -> list[str]:
    """Remove an instance's processes, networks, cgroups, sockets and its claim to the slot.

    Returns what could not be removed; the claim is kept then, so that nobody gets a soiled slot. Of
    one that has no slot any more, only what carries its ID is looked for.
    """
    has_slot = holds_slot(instance.id, instance.data_dir, instance.slot)
    if has_slot:
        _tear_down_networks(instance, say)
    left = sweep(instance, has_slot=has_slot)
    shutil.rmtree(instance.volatile_dir, ignore_errors=True)
    # One that was made and never started has none.
    for entry in instance.run_dir.iterdir() if instance.run_dir.is_dir() else ():
        if entry.is_socket():
            entry.unlink()
    if has_slot:
        parse_endpoint(instance.options.host).remove()
    if has_slot and not left:
        (SLOTS_DIR / str(instance.slot)).unlink(missing_ok=True)
    return left


def _tear_down_networks(instance: Instance, say: Say) -> None:
    """Have the network service's own code remove what it made: it knows its rules best."""
    kind = kind_of(Role.NETWORK)
    result = subprocess.run(
        service_command(instance, kind, [sys.executable, "-m", kind.module, "--teardown"]),
        env=service_environment(instance),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TEARDOWN_SECONDS,
        check=False,
    )
    if result.returncode != 0:
        say(f"the network service's own clean-up failed: {result.stderr.strip()[-500:]}")

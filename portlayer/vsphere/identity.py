"""What a container VM carries to say whose it is: ``guestinfo.vic.*`` in its extra configuration.

A VM is ours only if it says so, and its BIOS UUID says the same: somebody's clone of a VM has the
keys, and another UUID. Nothing else in the inventory is ever changed or deleted. The guest can read
these keys and write them, so none of them is believed beyond that: what the guest wrote is its exit
record, which exec checks.
"""

import base64
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pyVmomi import vim

VERSION = "1"
PREFIX = "guestinfo.vic."
EXIT_RECORD = PREFIX + "exit"
CONFIG = PREFIX + "config"
"""The frame that makes a guest's tether the container's; the tether empties it when it has it."""
# RFC 4122 name space of the UUIDs that container VMs get; chosen once.
_CONTAINERS = uuid.UUID("7c1f7a2e-8d43-5b1c-9a55-3f0b6c0de001")


@dataclass(frozen=True)
class Identity:
    """Which boot of which container of which instance a VM is."""

    instance_id: str
    container_id: str
    boot_id: str

    @property
    def uuid(self) -> str:
        """The BIOS UUID of the container's VM."""
        return container_uuid(self.instance_id, self.container_id)


def container_uuid(instance_id: str, container_id: str) -> str:
    """Return the BIOS UUID of a container's VM: by it vCenter finds it wherever it was moved."""
    return str(uuid.uuid5(_CONTAINERS, f"{instance_id}/{container_id}"))


def encode(identity: Identity, specification: bytes) -> list[vim.option.OptionValue]:
    """Return the keys of a new container VM; the specification is its container's, as a message."""
    return option_values(
        {
            PREFIX + "version": VERSION,
            PREFIX + "instance": identity.instance_id,
            PREFIX + "container": identity.container_id,
            PREFIX + "boot": identity.boot_id,
            PREFIX + "spec": base64.b64encode(specification).decode(),
        }
    )


def option_values(values: Mapping[str, str]) -> list[vim.option.OptionValue]:
    """Return a dictionary as extra configuration. An empty value takes a key away."""
    return [vim.option.OptionValue(key=key, value=value) for key, value in values.items()]


def decode(options: Mapping[str, str], bios_uuid: str, instance_id: str) -> Identity | None:
    """Return whose VM has such options and UUID, or None where it isn't the instance's."""
    if options.get(PREFIX + "version") != VERSION:
        return None
    if options.get(PREFIX + "instance") != instance_id:
        return None
    container_id, boot_id = options.get(PREFIX + "container"), options.get(PREFIX + "boot")
    if not container_id or not boot_id:
        return None
    identity = Identity(instance_id, container_id, boot_id)
    return identity if identity.uuid == bios_uuid else None


def options(values: Iterable[vim.option.OptionValue] | None) -> dict[str, str]:
    """Return extra configuration as a dictionary; the last of several values of a key counts."""
    return {entry.key: str(entry.value) for entry in values or []}

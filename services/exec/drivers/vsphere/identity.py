"""What a container VM carries to say whose it is: ``guestinfo.vic.*`` in its extra configuration.

A VM is ours only if it says so; nothing else in the inventory is ever changed or deleted. The guest
can read these keys and write them, so none of them is believed beyond that: what the guest wrote
is its exit record, which exec checks.
"""

import base64
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pyVmomi import vim
from vic.exec.v1 import container_pb2

VERSION = "1"
PREFIX = "guestinfo.vic."
EXIT_RECORD = PREFIX + "exit"
# RFC 4122 name space of the UUIDs that container VMs get; chosen once.
_BOOTS = uuid.UUID("7c1f7a2e-8d43-5b1c-9a55-3f0b6c0de001")


@dataclass(frozen=True)
class Identity:
    """Which boot of which container of which instance a VM is."""

    instance_id: str
    container_id: str
    boot_id: str

    @property
    def instance_uuid(self) -> str:
        """vCenter's own key of the VM: the same for the same boot, so that making one repeats."""
        return str(uuid.uuid5(_BOOTS, f"{self.instance_id}/{self.container_id}/{self.boot_id}"))


def encode(identity: Identity, spec: container_pb2.ContainerSpec) -> list[vim.option.OptionValue]:
    """Return the keys of a new container VM."""
    values = {
        "version": VERSION,
        "instance": identity.instance_id,
        "container": identity.container_id,
        "boot": identity.boot_id,
        "spec": base64.b64encode(spec.SerializeToString(deterministic=True)).decode(),
    }
    return [vim.option.OptionValue(key=PREFIX + key, value=value) for key, value in values.items()]


def decode(options: Mapping[str, str], instance_id: str) -> Identity | None:
    """Return whose VM has such options, or None where it isn't the instance's."""
    if options.get(PREFIX + "version") != VERSION:
        return None
    if options.get(PREFIX + "instance") != instance_id:
        return None
    container_id, boot_id = options.get(PREFIX + "container"), options.get(PREFIX + "boot")
    if not container_id or not boot_id:
        return None
    return Identity(instance_id, container_id, boot_id)


def options(values: Iterable[vim.option.OptionValue] | None) -> dict[str, str]:
    """Return extra configuration as a dictionary; the last of several values of a key counts."""
    return {entry.key: str(entry.value) for entry in values or []}

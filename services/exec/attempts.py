"""Bringing a VM up in spite of clones that fail."""

import logging
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import TypeVar

from portlayer.errors import Reason, VicError, leaf_error
from services.exec.drivers import StartKind

log = logging.getLogger("vic.exec.attempts")

T = TypeVar("T")


class Attempt(Enum):
    """How a VM is to come up."""

    FIRST = "first"
    """A clone; one that was kept ready must take up its work soon."""
    PATIENT = "patient"
    """A clone, which has as long as any: it is the host that is slow."""
    BOOT = "boot"
    """Without a clone: it needs nothing but a kernel and time."""


async def come_up(container_id: str, boot: Callable[[Attempt], Awaitable[T]]) -> T:
    """Bring a container's VM up and return what that gives; raises what the last attempt raises.

    ``boot`` leaves nothing where it fails. A clone that was kept ready and fails is replaced by
    another; one that was forked, or is the second, is booted.
    """
    attempt = Attempt.FIRST
    while True:
        try:
            return await boot(attempt)
        except Exception as error:
            leaf = leaf_error(error)
            if not isinstance(leaf, VicError) or leaf.reason is not Reason.CLONE_FAILED:
                raise
            if attempt is Attempt.BOOT:
                raise
            was_ready = leaf.metadata.get("start") == StartKind.READY_CLONE.name
        if was_ready and attempt is Attempt.FIRST:
            log.info("%s is started again: the clone that was kept ready failed", container_id)
            attempt = Attempt.PATIENT
        else:
            log.warning("%s is booted, since it could not be cloned", container_id)
            attempt = Attempt.BOOT

"""Bringing a VM up in spite of clones that fail."""

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from portlayer.errors import Reason, VicError, leaf_error
from services.exec.drivers import StartKind

log = logging.getLogger("vic.exec.attempts")

T = TypeVar("T")


async def come_up(container_id: str, boot: Callable[[bool], Awaitable[T]]) -> T:
    """Bring a container's VM up and return what that gives; raises what the last attempt raises.

    ``boot`` is told whether to boot it rather than to clone it; it leaves nothing where it fails. A
    clone that was kept ready and fails is replaced by another, one that was forked is booted.
    """
    try:
        return await boot(False)
    except Exception as error:
        leaf = leaf_error(error)
        if not isinstance(leaf, VicError) or leaf.reason is not Reason.CLONE_FAILED:
            raise
        again = leaf.metadata.get("start") == StartKind.READY_CLONE.name
    if again:
        log.info("%s is started again: the clone that was kept ready failed", container_id)
        return await boot(False)
    log.warning("%s is booted, since it could not be cloned", container_id)
    return await boot(True)

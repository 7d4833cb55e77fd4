"""What a start has to do besides where its clone was connected while it waited."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from vic.network.v1 import network_pb2

from portlayer.errors import FailedPrecondition, Reason, Unavailable, VicError
from services.exec.drivers import StartKind
from services.exec.peers import Peers

log = logging.getLogger("vic.exec.clones")


@contextmanager
def place_lost(tether_id: str) -> Iterator[None]:
    """Turn the loss of a clone's address into its failure, after which another VM is tried.

    Network may have lost its database, or another have released what seemed nobody's.
    """
    try:
        yield
    except FailedPrecondition as error:
        if not tether_id or error.reason is not Reason.TAP_MISSING:
            raise
        raise Unavailable(
            f"the ready clone has lost its address: {error.message}",
            Reason.CLONE_FAILED,
            start=StartKind.READY_CLONE.name,
        ) from error


def ended_early(tether_id: str = "") -> Unavailable:
    """Return the failure of a VM that ended while it started.

    Of a clone under whose name nothing has run yet: after it another VM is tried.
    """
    message = "the VM ended while it started"
    if not tether_id:
        return Unavailable(message, Reason.HYPERVISOR_FAILED)
    return Unavailable(message, Reason.CLONE_FAILED, start=StartKind.READY_CLONE.name)


async def release_place(peers: Peers, tether_id: str) -> None:
    """Give back the address of a clone that was used in vain, unless the container has it."""
    try:
        await peers.network.Release(network_pb2.ReleaseRequest(container_id=tether_id))
    except VicError as error:
        # The reconciler finds that nobody has it.
        log.warning("the address of %s may be left: %s", tether_id, error.message)

"""Slots: which of the 256 ranges of user IDs, subnets and interface names an instance has.

A claim is an exclusive lock on ``/run/vic/slots/<n>``. The watcher and the host agent inherit the
locked descriptor, so the claim lasts as long as either of them lives, and ends by itself with the
last one.
"""

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from installer.errors import PreconditionError
from installer.facet_processes import facet_processes, in_containers_of, kinds
from installer.processes import processes_of_slot

SLOTS_DIR = Path("/run/vic/slots")
SLOTS = 256

# Who looks whether a slot is claimed locks its file for a moment; flock(2) can't wait for a while.
LOCK_TRIES = 100
LOCK_PAUSE_SECONDS = 0.02


@dataclass(frozen=True)
class SlotOwner:
    """The instance that a slot's file names."""

    id: str
    data_dir: Path


Clear = Callable[[int, SlotOwner | None], bool]
"""Takes off the host what the slot's former owner has left; tells whether all of it is gone."""


@dataclass(frozen=True)
class SlotClaim:
    """A claimed slot; the claim lasts until every copy of the descriptor is closed."""

    slot: int
    path: Path
    descriptor: int

    def drop(self) -> None:
        """Close this process's copy of the descriptor."""
        os.close(self.descriptor)


def claim_slot(
    instance_id: str,
    data_dir: Path,
    remembered: int | None,
    clear: Clear,
    slots_dir: Path = SLOTS_DIR,
) -> SlotClaim:
    """Claim the slot an instance had before, or else the first free one.

    A slot whose lock is free but where processes of another instance still run (its host agent
    and watcher were killed, its VMs live on) is not free. Where all of another instance was
    killed, what it has left goes first: its packet filter would drop the new owner's packets, whose
    interfaces have the same names. A slot that can't be cleared is not free either.

    Where this instance's own host agent still holds the claim it is joined; see
    :func:`lock_again`. Where its facets run in containers already, as Docker starts them when the
    machine comes up, they stay: the remembered slot is theirs, and it is that one or none.

    Raises PreconditionError when all 256 are taken, when an instance of the same ID runs from
    another data directory, or when its facets' containers run in a slot that it can't have.
    """
    slots_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
    _refuse_copy(instance_id, data_dir, slots_dir)
    there = [] if remembered is None else facet_processes(remembered)
    ours = in_containers_of(data_dir, there)
    for slot in _candidates(remembered):
        claimant = SlotOwner(instance_id, data_dir)
        claim = _try_claim(slots_dir, slot, claimant, clear, facets=bool(ours) and ours == there)
        if claim is not None:
            return claim
        if ours:
            raise PreconditionError(
                f"facets of this instance run in containers ({', '.join(kinds(ours, slot))}), and "
                f"slot {slot} has something else in it: run `docker compose down` for them first"
            )
    raise PreconditionError(f"all {SLOTS} instance slots of this machine are taken")


def data_dirs(slots_dir: Path = SLOTS_DIR, besides: int | None = None) -> list[Path]:
    """Return the data directories of the instances that run, in slots besides the one given."""
    found = []
    for path in slots_dir.iterdir() if slots_dir.is_dir() else ():
        owner = _read_owner(path)
        if owner is not None and path.name != str(besides) and _is_claimed(path):
            found.append(owner.data_dir)
    return found


def holds_slot(instance_id: str, data_dir: Path, slot: int, slots_dir: Path = SLOTS_DIR) -> bool:
    """Tell whether a slot is an instance's at present, or was when all of it was killed.

    The slot that a stopped instance remembers may be another's by now, and with it all that has
    the slot's number: user IDs, interfaces, the endpoint.
    """
    return _read_owner(slots_dir / str(slot)) == SlotOwner(instance_id, data_dir)


def hold_slot(
    owner: SlotOwner, slot: int, slots_dir: Path = SLOTS_DIR, claim: SlotClaim | None = None
) -> SlotClaim | None:
    """Keep others from an instance's slot while what it has of it is taken away.

    None where the slot is another's, or being made one at this moment. `claim` is one that this
    process has on the slot already; a copy of it is returned.
    """
    path = slots_dir / str(slot)
    try:
        if claim is None:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        else:
            descriptor = os.dup(claim.descriptor)
    except FileNotFoundError:
        return None
    for _ in range(LOCK_TRIES):
        if _read_owner(path) != owner or not _is_still(path, descriptor):
            break
        if not _lock(descriptor):
            time.sleep(LOCK_PAUSE_SECONDS)
        elif _read_owner(path) == owner and _is_still(path, descriptor):
            return SlotClaim(slot, path, descriptor)
    os.close(descriptor)
    return None


def lock_again(descriptor: int) -> None:
    """Take the lock of a claim for this descriptor, where the one that held it has gone."""
    _lock(descriptor)


def _candidates(remembered: int | None) -> Iterator[int]:
    if remembered is not None:
        yield remembered
    yield from (slot for slot in range(SLOTS) if slot != remembered)


def _refuse_copy(instance_id: str, data_dir: Path, slots_dir: Path) -> None:
    """Raise PreconditionError where another data directory's instance has this ID."""
    for path in slots_dir.iterdir():
        owner = _read_owner(path)
        if owner is None or owner.id != instance_id or owner.data_dir == data_dir:
            continue
        if _is_claimed(path):
            raise PreconditionError(
                f"{data_dir} is a copy of {owner.data_dir}, which is running: the same "
                f"instance ({instance_id}) can't run twice"
            )


def _try_claim(
    slots_dir: Path, slot: int, claimant: SlotOwner, clear: Clear, *, facets: bool
) -> SlotClaim | None:
    """Claim a slot, or return None. With `facets` its processes are the claimant's facets."""
    path = slots_dir / str(slot)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        locked = _lock(descriptor)
        if not locked and _read_owner(path) == claimant:
            return SlotClaim(slot, path, descriptor)
        if not locked:
            os.close(descriptor)
            return None
        if not _is_still(path, descriptor):
            # Its former owner removed the file between our open and our lock.
            os.close(descriptor)
            continue
        former = _read_owner(path)
        owned = former == claimant or (former is None and facets)
        if not owned and (processes_of_slot(slot) or not clear(slot, former)):
            os.close(descriptor)
            return None
        record = json.dumps({"id": claimant.id, "data_dir": str(claimant.data_dir)}).encode()
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, record + b"\n", 0)
        if _is_still(path, descriptor):
            return SlotClaim(slot, path, descriptor)
        os.close(descriptor)  # or, of an earlier version, while we cleared it


def _is_claimed(path: Path) -> bool:
    """Tell whether somebody holds the claim; whoever did may take the file away meanwhile."""
    try:
        with path.open("rb") as file:
            return not _lock(file.fileno())
    except FileNotFoundError:
        return False


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _read_owner(path: Path) -> SlotOwner | None:
    try:
        fields = json.loads(path.read_text())
        return SlotOwner(str(fields["id"]), Path(fields["data_dir"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None

"""One user ID a machine, so that no machine's process can do anything to another's."""

from portlayer.errors import ResourceExhausted

UID_BASE = 1_900_000_000
UIDS_PER_SLOT = 65_536
FIRST_MACHINE = 1_000
EXEC = 2
"""Offset of the exec service, which alone may speak QMP."""


def first_uid(slot: int) -> int:
    """Return the first user ID of an instance's slot; as a group ID it is the suite's."""
    return UID_BASE + slot * UIDS_PER_SLOT


def machine_uids(slot: int) -> range:
    """Return the user IDs of a slot's machines, each of which is its group's ID too."""
    first = first_uid(slot)
    return range(first + FIRST_MACHINE, first + UIDS_PER_SLOT)


class MachineUsers:
    """The user IDs of a slot's machines. Each goes round the whole range before it comes again."""

    def __init__(self, slot: int) -> None:
        self._range = machine_uids(slot)
        self._used: set[int] = set()
        self._next = 0

    def take(self) -> int:
        """Return a user ID that nobody has. Raises ResourceExhausted when there is none."""
        if len(self._used) >= len(self._range):
            raise ResourceExhausted(f"all {len(self._range)} user IDs of machines are taken")
        while True:
            uid = self._range[self._next]
            self._next = (self._next + 1) % len(self._range)
            if uid not in self._used:
                self._used.add(uid)
                return uid

    def claim(self, uid: int) -> None:
        """Mark the user ID of a machine that was found running."""
        self._used.add(uid)
        if uid in self._range:
            self._next = (self._range.index(uid) + 1) % len(self._range)

    def release(self, uid: int) -> None:
        """Give a user ID back, when its last process is gone."""
        self._used.discard(uid)

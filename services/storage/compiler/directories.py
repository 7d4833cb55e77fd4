"""The directories that a layer has looked into, with a bound on what of them is in memory.

A directory that hasn't been used last is set aside whole; one with very many names has them in a
file from the beginning. So nothing may hold a `Directory` from one member to the next: by number
it is found again.
"""

from __future__ import annotations

import heapq
import marshal
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path

from services.storage.compiler.errors import DiskCorrupt
from services.storage.compiler.many_names import ManyNames, NameLog
from services.storage.compiler.spare import SpareRecords

MEMORY_BYTES = 48 << 20
"""Of directories in memory, from where on some are set aside."""

LARGE_BYTES = 16 << 20
"""Of one directory's names in memory, from where on they go into a file."""

LARGE_ON_DISK = 2 << 20
"""Of one directory on the disk, as above."""

NAME_BYTES = 140
"""What a name takes in memory beside its own length."""

DIRECTORY_BYTES = 400
"""What a directory takes beside its names."""

MOST_BROUGHT_BACK = 10_000_000
"""Names read back in all, which members that go to and fro between directories can multiply; some
seconds' work. From there on only directories of up to `FEW_NAMES` are read back whole."""

FEW_NAMES = 256

_OWN = 1 << 48
"""Marks an entry of a name that is this layer's in a directory that isn't."""

ENTRY = _OWN - 1
"""What is left of an entry without that mark."""
_MARSHAL_VERSION = 2


class Directory:
    """A directory that this layer has looked into."""

    __slots__ = (
        "changed",
        "claimed",
        "cleared",
        "fresh",
        "name",
        "names",
        "number",
        "parent",
        "weight",
    )

    def __init__(self, number: int, parent: int, name: bytes, *, fresh: bool) -> None:
        """Begin empty; `parent` is an inode's number, the root's own for the root."""
        self.number = number
        self.parent = parent
        self.name = name
        self.names: dict[bytes, int] | ManyNames = {}
        self.weight = DIRECTORY_BYTES
        """Bytes in memory that would be free if it were set aside."""
        self.fresh = fresh
        """Made by this layer: all in it is this layer's."""
        self.claimed = fresh
        """Whether the names on the way here are marked as this layer's."""
        self.cleared = fresh
        """Whether all lower names are gone."""
        self.changed = fresh

    def __contains__(self, name: bytes) -> bool:
        """Whether a name is taken."""
        return name in self.names

    def find(self, name: bytes) -> int | None:
        """What a name stands for; see `directory.pack_entry`."""
        entry = self.names.get(name)
        return None if entry is None else entry & ENTRY

    def entries(self) -> Iterable[tuple[bytes, int]]:
        """All names and what they stand for; meanwhile names may be taken away."""
        names = self.names
        items = list(names.items()) if isinstance(names, dict) else names.items()
        return ((name, entry & ENTRY) for name, entry in items)

    def add(self, name: bytes, entry: int, *, lower: bool = False) -> int:
        """Add a name that isn't taken, which this layer makes, or a lower one has made.

        Returns how many bytes more it takes in memory.
        """
        names = self.names
        names[name] = entry if self.fresh or lower else entry | _OWN
        if not isinstance(names, dict):
            return 0
        weight = NAME_BYTES + len(name)
        self.weight += weight
        return weight

    def take(self, name: bytes) -> int:
        """Take a name away; what it stood for."""
        if isinstance(self.names, dict):
            self.weight -= NAME_BYTES + len(name)
        return self.names.pop(name) & ENTRY

    def own(self, name: bytes) -> None:
        """Mark a name as this layer's."""
        if not self.fresh and (entry := self.names.get(name)) is not None:
            self.names[name] = entry | _OWN

    def owns(self, name: bytes) -> bool:
        """Whether a name in here is this layer's, and no lower layer's alone."""
        return self.fresh or (self.names.get(name) or 0) >= _OWN

    def move_names(self, log: NameLog) -> None:
        """Keep the names in a file from now on."""
        moved = ManyNames(log)
        for name, entry in self.names.items():
            moved[name] = entry
        self.names = moved
        self.weight = 0

    def packed(self) -> bytes:
        """All of it but its number. The names are in memory."""
        assert isinstance(self.names, dict)
        flags = self.fresh | self.claimed << 1 | self.cleared << 2 | self.changed << 3
        return marshal.dumps((self.parent, self.name, flags, self.names), _MARSHAL_VERSION)

    @classmethod
    def unpacked(cls, number: int, record: bytes) -> Directory:
        """The opposite; what is behind the record is passed over."""
        parent, name, flags, names = marshal.loads(record)  # noqa: S302 - which is our own
        found = cls(number, parent, name, fresh=bool(flags & 1))
        found.claimed, found.cleared, found.changed = (bool(flags & bit) for bit in (2, 4, 8))
        found.names = names
        found.weight += NAME_BYTES * len(names) + sum(map(len, names))
        return found


class Directories:
    """Directories by their inodes' numbers."""

    def __init__(self, spare: Path | None) -> None:
        """`spare` is a directory for what is set aside."""
        self._records = SpareRecords(spare)
        self._log = NameLog(spare)
        self._live: dict[int, Directory] = {}
        self._aside = _Places()
        """Where directories' records are; those of living ones are out of date."""
        self._held = 0
        self.brought_back = 0
        """Names that were read back, counted each time."""

    def add(self, directory: Directory, *, size: int = 0) -> None:
        """Know a directory; `size` is how many bytes of names are about to be added."""
        self._live[directory.number] = directory
        if size > LARGE_ON_DISK:
            directory.move_names(self._log)

    def grown(self, size: int) -> None:
        """Count bytes that living directories take more."""
        self._held += size

    def get(self, number: int) -> Directory | None:
        """A directory, if it is known."""
        found = self._live.get(number)
        if found is not None:
            return found
        place = self._aside[number]
        return self._bring_back(number, place) if place else None

    def known(self, number: int) -> Directory:
        """A directory that was looked into. Raises DiskCorrupt where it was removed since."""
        found = self.get(number)
        if found is None:
            raise DiskCorrupt(f"directory {number} has gone before what is in it")
        return found

    def forget(self, directory: Directory) -> None:
        """A directory is gone, or written."""
        del self._live[directory.number]
        self._held -= directory.weight
        self._aside[directory.number] = 0

    def ascending(self) -> Iterator[Directory]:
        """All of them by number; each is forgotten before the next."""
        aside = (number for number in self._aside.numbers() if number not in self._live)
        for number in heapq.merge(sorted(self._live), aside):
            found = self.known(number)
            yield found
            self.forget(found)

    def settle(self) -> None:
        """Set directories aside where there are too many. Nobody may hold one over this."""
        if self._held < MEMORY_BYTES:
            return
        for directory in self._live.values():
            if directory.weight > LARGE_BYTES:
                directory.move_names(self._log)
        self._held = sum(directory.weight for directory in self._live.values())
        for directory in list(self._live.values()):
            if self._held <= MEMORY_BYTES // 2:
                break
            if isinstance(directory.names, dict):
                self._put_away(directory)

    def _put_away(self, directory: Directory) -> None:
        number = directory.number
        self._aside[number] = self._records.put(directory.packed(), self._aside[number])
        del self._live[number]
        self._held -= directory.weight

    def _bring_back(self, number: int, place: int) -> Directory:
        found = Directory.unpacked(number, self._records.get(place))
        self.brought_back += len(found.names)
        if self.brought_back > MOST_BROUGHT_BACK and len(found.names) > FEW_NAMES:
            found.move_names(self._log)
        self._live[number] = found
        self._held += found.weight
        return found


class _Places:
    """Numbers by inodes' numbers, 0 where there is none: most are close to each other."""

    _PAGE = 1 << 12

    def __init__(self) -> None:
        self._pages: dict[int, array[int]] = {}

    def __getitem__(self, number: int) -> int:
        page = self._pages.get(number // self._PAGE)
        return page[number % self._PAGE] if page is not None else 0

    def __setitem__(self, number: int, place: int) -> None:
        page = self._pages.get(number // self._PAGE)
        if page is None:
            if not place:
                return
            page = self._pages[number // self._PAGE] = array("Q", [0]) * self._PAGE
        page[number % self._PAGE] = place

    def numbers(self) -> Iterator[int]:
        """Those that have one, in order, as it is when each is asked for."""
        for first, page in sorted(self._pages.items()):
            for index in range(self._PAGE):
                if page[index]:
                    yield first * self._PAGE + index

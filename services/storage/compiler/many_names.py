"""Names of one directory that are too many for memory: in a file, found by an index of hashes.

The index takes 12 to 24 bytes of memory a name. Its hashes are Python's, whose key is another one
in each process, so that no layer can have names that collide there; what is compiled doesn't
depend on them.
"""

from __future__ import annotations

import os
import struct
from array import array
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

from services.storage.compiler.errors import LayerTooLarge
from services.storage.compiler.spare import NamelessFile

_RECORD = struct.Struct("<QB")
_UNIT = 16
"""Bytes that places of records count by, so that 32 bits reach over 64 GiB."""

_LONGEST = _RECORD.size + 255
_TAIL_BYTES = 1 << 18
_LOW = 0xFFFFFFFF
_GONE = _LOW
"""The place of a name that was taken away."""

_LEAST_SLOTS = 512

MOST_SORTED = 1 << 16
"""Names sorted at once. A directory may have as many whose hashes are the same: ext4 would look
through all of them for each, and nobody has two by chance."""


class NameLog:
    """A file of names with their entries, one after another."""

    def __init__(self, spare: Path | None) -> None:
        """The file is made in the directory."""
        self._file = NamelessFile(spare)
        self._flushed = _UNIT
        self._tail = bytearray()

    def append(self, name: bytes, entry: int) -> int:
        """Add a name; its place.

        Raises:
            LayerTooLarge: places have come to an end.
        """
        place = (self._flushed + len(self._tail)) // _UNIT
        if place >= _GONE:
            raise LayerTooLarge("the layer looks into directories with too many names")
        self._tail += _RECORD.pack(entry, len(name)) + name
        self._tail += bytes(-len(self._tail) % _UNIT)
        if len(self._tail) >= _TAIL_BYTES:
            self._file.write(self._tail, self._flushed)
            self._flushed += len(self._tail)
            self._tail.clear()
        return place

    def read(self, place: int) -> tuple[bytes, int]:
        """The name at a place and its entry."""
        at = place * _UNIT - self._flushed
        if at >= 0:
            record: bytes | bytearray = self._tail[at : at + _LONGEST]
        else:
            record = os.pread(self._file.fd, _LONGEST, place * _UNIT)
        entry, length = _RECORD.unpack_from(record)
        return bytes(record[_RECORD.size : _RECORD.size + length]), entry

    def change(self, place: int, entry: int) -> None:
        """Give the name at a place another entry."""
        packed = entry.to_bytes(8, "little")
        at = place * _UNIT - self._flushed
        if at >= 0:
            self._tail[at : at + 8] = packed
        else:
            self._file.write(packed, place * _UNIT)


class ManyNames:
    """As a dictionary of names and entries, with what of one is needed for a directory."""

    def __init__(self, log: NameLog) -> None:
        """Begin empty; the names will be in the log."""
        self._log = log
        self._slots = array("Q", [0]) * _LEAST_SLOTS
        """By hash, with the next free one taken: hash and place, 32 bits each, or 0."""
        self._taken = 0
        """Slots that aren't 0."""
        self._count = 0

    def __len__(self) -> int:
        """How many there are."""
        return self._count

    def __contains__(self, name: bytes) -> bool:
        """Whether there is such a name."""
        return self._find(name)[1] != 0

    def get(self, name: bytes) -> int | None:
        """A name's entry."""
        _, place, entry = self._find(name)
        return entry if place else None

    def __setitem__(self, name: bytes, entry: int) -> None:
        """Add a name, or change its entry."""
        slot, place, _ = self._find(name)
        if place:
            self._log.change(place, entry)
            return
        self._slots[slot] = (hash(name) & _LOW) << 32 | self._log.append(name, entry)
        self._count += 1
        self._taken += 1
        if self._taken * 3 > len(self._slots) * 2:
            self._lay_out_anew()

    def pop(self, name: bytes) -> int:
        """Take a name away; its entry. Raises KeyError."""
        slot, place, entry = self._find(name)
        if not place:
            raise KeyError(name)
        self._slots[slot] = _GONE
        self._count -= 1
        return entry

    def items(self) -> Iterator[tuple[bytes, int]]:
        """All names and entries, in no order; meanwhile names may be taken away."""
        for slot in self._slots:
            if slot and slot & _LOW != _GONE:
                yield self._log.read(slot & _LOW)

    def oldest_first(self) -> Iterator[tuple[bytes, int]]:
        """All names and entries in the order they came, as a dictionary has them; for few."""
        places = (slot & _LOW for slot in self._slots if slot)
        return map(self._log.read, sorted(place for place in places if place != _GONE))

    def in_order(self, hashed: Callable[[bytes], int]) -> Iterator[tuple[bytes, int]]:
        """All names and entries, by a hash of 32 bits and then by name.

        Raises:
            LayerTooLarge: more than `MOST_SORTED` names have the same hash.
        """
        keys = array("Q")
        for slot in self._slots:
            if slot and slot & _LOW != _GONE:
                place = slot & _LOW
                keys.append(hashed(self._log.read(place)[0]) << 32 | place)
        for _, alike in groupby(_ascending(keys, 56), lambda key: key >> 32):
            yield from sorted(self._log.read(key & _LOW) for key in alike)

    def _find(self, name: bytes) -> tuple[int, int, int]:
        """A name's slot, place and entry; where there is no such name, a free slot and zeros."""
        tag = hash(name) & _LOW
        slots = self._slots
        mask = len(slots) - 1
        at = tag & mask
        while slot := slots[at]:
            place = slot & _LOW
            if slot >> 32 == tag and place != _GONE:
                found, entry = self._log.read(place)
                if found == name:
                    return at, place, entry
            at = at + 1 & mask
        return at, 0, 0

    def _lay_out_anew(self) -> None:
        """With twice as many slots, where it isn't names that are gone that fill them."""
        size = len(self._slots) * (2 if self._count * 3 > len(self._slots) else 1)
        slots = array("Q", [0]) * size
        for slot in self._slots:
            if slot and slot & _LOW != _GONE:
                at = slot >> 32 & size - 1
                while slots[at]:
                    at = at + 1 & size - 1
                slots[at] = slot
        self._slots = slots
        self._taken = self._count


def _ascending(keys: array[int], shift: int) -> Iterator[int]:
    """Keys in order, a part of them at a time; uses them up. `shift` is to the byte to look at."""
    if len(keys) <= MOST_SORTED:
        yield from sorted(keys)
        return
    if shift < 32:
        raise LayerTooLarge(f"a directory with more than {MOST_SORTED} names of the same hash")
    parts = [array("Q") for _ in range(256)]
    for key in keys:
        parts[key >> shift & 0xFF].append(key)
    del keys[:]
    for part in parts:
        yield from _ascending(part, shift - 8)

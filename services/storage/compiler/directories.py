"""The directories that a layer has looked into, with a bound on the names in memory."""

from __future__ import annotations

import marshal
from pathlib import Path

from services.storage.compiler.spare import Place, SpareRecords

NAMES_BYTES = 48 << 20
"""Of names in memory, from where on some are set aside."""

NAME_BYTES = 140
"""What a name takes in memory beside its own length."""

MOST_BROUGHT_BACK = 10_000_000
"""Names read back in all, which members that go to and fro between directories can multiply; some
seconds' work. From there on all stay in memory."""

_MARSHAL_VERSION = 2


class Directory:
    """A directory that this layer has looked into."""

    __slots__ = (
        "_names",
        "_place",
        "_shelf",
        "changed",
        "claimed",
        "cleared",
        "fresh",
        "name",
        "number",
        "parent",
        "upper",
    )

    def __init__(
        self, number: int, parent: Directory | None, name: bytes, shelf: Shelf, *, fresh: bool
    ) -> None:
        """Begin empty."""
        self.number = number
        self.parent = self if parent is None else parent
        self.name = name
        self._names: dict[bytes, int] | None = {}
        self._place: Place | None = None
        self._shelf = shelf
        self.fresh = fresh
        """Made by this layer: all in it is this layer's."""
        self.upper: set[bytes] | None = None if fresh else set()
        """For a directory that isn't fresh: the names that this layer made or passed through."""
        self.claimed = fresh
        """Whether the names on the way here are marked as this layer's."""
        self.cleared = fresh
        """Whether all lower names are gone."""
        self.changed = fresh

    @property
    def children(self) -> dict[bytes, int]:
        """Inode and type by name; see `directory.pack_entry`."""
        names = self._names
        return self._shelf.bring_back(self) if names is None else names

    def owns(self, name: bytes) -> bool:
        """Whether a name in here is this layer's, and no lower layer's alone."""
        return self.upper is None or name in self.upper


class Shelf:
    """Keeps names of directories in memory, and sets aside those that weren't used last."""

    def __init__(self, spare: Path | None) -> None:
        """`spare` is a directory for what is set aside."""
        self._records = SpareRecords(spare)
        self._settle_at = NAMES_BYTES
        self._held = 0
        self._filled: dict[int, Directory] = {}
        self.brought_back = 0
        """Names that were read back, counted each time."""

    def added(self, directory: Directory, name: bytes) -> None:
        """Count a name that a directory got."""
        self._held += NAME_BYTES + len(name)
        if directory.number not in self._filled:
            self._filled[directory.number] = directory

    def forget(self, directory: Directory) -> None:
        """A directory is gone."""
        self._filled.pop(directory.number, None)

    def done(self, directory: Directory) -> None:
        """Nobody asks for a directory's names any more."""
        if self._filled.pop(directory.number, None) is not None:
            self._held -= _weight(directory.children)
        directory._names = {}

    def bring_back(self, directory: Directory) -> dict[bytes, int]:
        """Read a directory's names."""
        assert directory._place is not None
        record = self._records.get(directory._place)
        names: dict[bytes, int] = marshal.loads(record)  # noqa: S302 - which is our own
        self.brought_back += len(names)
        directory._names = names
        self._filled[directory.number] = directory
        weight = _weight(names)
        self._held += weight
        # One that is larger than all there is room for isn't set aside again with the next member.
        self._settle_at = max(self._settle_at, weight + NAMES_BYTES // 2)
        return names

    def settle(self) -> None:
        """Between two members: set names aside where there are too many."""
        if self._held < self._settle_at or self.brought_back > MOST_BROUGHT_BACK:
            return
        self._held = sum(_weight(found._names or {}) for found in self._filled.values())
        for directory in list(self._filled.values()):
            if self._held <= NAMES_BYTES // 2:
                break
            self._put_away(directory)
        self._settle_at = NAMES_BYTES

    def _put_away(self, directory: Directory) -> None:
        names = directory._names
        assert names is not None
        directory._place = self._records.put(
            marshal.dumps(names, _MARSHAL_VERSION), directory._place
        )
        directory._names = None
        del self._filled[directory.number]
        self._held -= _weight(names)


def _weight(names: dict[bytes, int]) -> int:
    return sum(map(len, names)) + NAME_BYTES * len(names)

"""A list of processes that a tether sends in parts."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from vic.tether.v1 import tether_pb2

from portlayer.errors import InvalidArgument, VicError

# More than a tether sends; one that goes on is cut off.
_MOST_BYTES: Final = 16 * 1024 * 1024


@dataclass
class ProcessTable:
    """A list of processes: titles, and a row for each process."""

    titles: Sequence[str] = ()
    rows: list[Sequence[str]] = field(default_factory=list)


class ListInProgress:
    """Collects the parts."""

    def __init__(self) -> None:
        self._table = ProcessTable()
        self._bytes = 0
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def table(self) -> ProcessTable:
        """Return the list when it is complete. Raises InvalidArgument, or what it failed with."""
        await self._done
        return self._table

    def fail(self, error: VicError) -> None:
        """End without a list."""
        if not self._done.done():
            self._done.set_exception(error)

    def take(self, part: tether_pb2.ProcessList) -> None:
        """Take in the next part. Raises InvalidArgument when there are too many."""
        self._bytes += part.ByteSize()
        if self._bytes > _MOST_BYTES:
            raise InvalidArgument("the list of processes does not end")
        if part.error:
            self.fail(InvalidArgument(part.error))
            return
        if part.titles:
            self._table.titles = tuple(part.titles)
        self._table.rows.extend(tuple(row.columns) for row in part.rows)
        if part.complete and not self._done.done():
            self._done.set_result(None)

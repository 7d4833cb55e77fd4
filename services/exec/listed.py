"""Containers' messages as lists have them, made once of each row that is read.

A list reads every container, most of which are what they were at the last one; to make a message
of a row takes ten times as long as to see that it is the same.
"""

from collections import OrderedDict
from typing import Any

from vic.exec.v1 import container_pb2

from services.exec.schema import fill

# Messages that are kept, those that were listed last; of a common container 1.5 KB with its row.
KEPT = 1000
# A larger one isn't: some of a few MiB would be the service's largest part.
LARGEST_KEPT_BYTES = 8 * 1024


class Listed:
    """The messages of the rows that were listed last."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[tuple[Any, ...], bytes]] = OrderedDict()

    def message(self, row: Any) -> bytes:
        """Return a row of ``RECORD`` as a Container message's bytes."""
        columns = tuple(row)
        known = self._known.pop(row.id, None)
        if known is None or known[0] != columns:
            container = container_pb2.Container()
            fill(container, row)
            known = (columns, container.SerializeToString())
            if len(known[1]) > LARGEST_KEPT_BYTES:
                return known[1]
        self._known[row.id] = known
        if len(self._known) > KEPT:
            self._known.popitem(last=False)
        return known[1]

"""Entries of lists of containers, made once of what exec tells of each.

Most containers are what they were at the last list, and an entry takes five times as long to make
as to see that.
"""

from collections import OrderedDict
from typing import Any

from vic.exec.v1.container_pb2 import Container

from gateway.translate import states
from gateway.translate.containers import summary_json

# Entries that are kept, those that were listed last; of a common container 3 KB.
KEPT = 1000
# A larger one isn't: some of a few MiB would be the service's largest part.
LARGEST_KEPT_BYTES = 8 * 1024


class ListedContainers:
    """The entries of the containers that were listed last."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[bytes, dict[str, Any]]] = OrderedDict()

    def summary(self, container: Container) -> dict[str, Any]:
        """Return a container as an entry of ``GET /containers/json``; nobody changes its parts."""
        data = container.SerializeToString()
        known = self._known.pop(container.id, None)
        if known is None or known[0] != data:
            known = (data, summary_json(container))
            if len(data) > LARGEST_KEPT_BYTES:
                return known[1]
        self._known[container.id] = known
        if len(self._known) > KEPT:
            self._known.popitem(last=False)
        # The one thing that comes with time.
        return {**known[1], "Status": states.sentence(container)}

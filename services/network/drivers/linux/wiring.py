"""Bridges with what belongs to them: their ways out, their routes, and the taps on them.

All calls block and are made by the links' thread.
"""

import logging
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from portlayer.errors import FailedPrecondition, Reason, VicError
from services.network.drivers import Segment
from services.network.drivers.linux import sysctls
from services.network.drivers.linux.links import Links, Look
from services.network.drivers.linux.listing import Link
from services.network.drivers.linux.naming import Names
from services.network.drivers.linux.ports import Place, Ports
from services.network.drivers.linux.uplinks import ensure_uplink

log = logging.getLogger("vic.network.linux")


class Wiring:
    """What several links make together."""

    def __init__(self, links: Links, taps: Ports, names: Names) -> None:
        self._links = links
        self._taps = taps
        self._names = names

    def ensure(
        self, bridges: Mapping[str, Segment], moving: Mapping[int, str] = MappingProxyType({})
    ) -> tuple[list[str], dict[str, Link]]:
        """Put bridges in place, and remove what else has our names.

        Those that are moving, by ordinal, are left alone. Returns what had to be changed, and the
        links that are ours by then.
        """
        sysctls.enable_forwarding()
        changed = []
        seen = self._links.look()
        for name, segment in bridges.items():
            try:
                changed += self.make(name, segment, seen)
            except VicError as error:
                # Of an external network whose parent is gone, say: the others go on.
                log.error("no way from %s to its network: %s", name, error.message)
        present = self._links.own() if changed else seen.links
        changed += self._links.ensure_routes(bridges, present)
        ordinals = {segment.ordinal for segment in bridges.values()} | moving.keys()
        cables = {self._names.uplink(ordinal) for ordinal in ordinals}
        left = {*bridges, *moving.values()}
        for name in present.keys() - cables:
            if name.startswith(self._names.uplink_prefix) and self._links.remove(name):
                changed.append(f"removed cable {name}")
        for name in [name for name, link in present.items() if link.kind == "bridge"]:
            if name not in left:
                self._links.remove(name)
                del present[name]
                changed.append(f"removed bridge {name}")
        return changed, present

    def make(self, name: str, segment: Segment, seen: Look | None = None) -> list[str]:
        """Make a bridge as it should be, with its way out; returns what had to be changed."""
        changed = self._links.ensure_bridge(name, segment, seen)
        if segment.uplink is not None:
            changed += ensure_uplink(self._links, self._names, segment)
        return changed

    def attach(self, places: Sequence[Place]) -> list[int | None]:
        """Put taps on their bridges; returns their indexes, None for each that is missing."""
        return self._taps.attach(places)

    def attach_all(self, places: Sequence[Place]) -> list[int | None]:
        """Put taps on their bridges, and return their indexes when frames come through.

        Raises FailedPrecondition (TAP_MISSING) for one that is missing.
        """
        bridges = {place.bridge: place.segment for place in places}
        for bridge, segment in bridges.items():
            if segment.uplink is not None:
                self.make(bridge, segment)
        indexes = self._taps.attach(places)
        for place, index in zip(places, indexes, strict=True):
            if index is None:
                raise FailedPrecondition(
                    f"there is no tap {place.tap}", Reason.TAP_MISSING, tap=place.tap
                )
        for bridge in bridges:
            self._taps.await_bridge(bridge)
        return indexes

    def remove_all(self) -> list[str]:
        """Remove every link that is ours; returns what was done."""
        return [f"removed {name}" for name in self._links.own() if self._links.remove(name)]

"""The instance's nftables tables in the kernel: put in place, changed, compared.

All calls block and are made by one thread, one after the other: what a later call was told is
newer than what an earlier one was told.
"""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from portlayer.errors import Unavailable
from services.network.drivers import Forward, Port, Segment
from services.network.drivers.linux import flows, foreign, nft, rules, sets
from services.network.drivers.linux.elements import (
    ElementSocket,
    name_key,
    port_key,
    port_key6,
    target_key6,
)
from services.network.drivers.linux.naming import Names
from services.network.drivers.linux.packets import Guards

log = logging.getLogger("vic.network.firewall")

Table = list[dict[str, Any]]


@dataclass(frozen=True)
class Wanted:
    """What the tables should hold, as it was at one moment."""

    segments: tuple[Segment, ...]
    ports: tuple[Port, ...]
    forwards: Collection[Forward] = ()


class Firewall:
    """Keeps both tables, and our rules in other programs' chains."""

    def __init__(self, names: Names, guards: Guards) -> None:
        self._names = names
        self._guards = guards
        self._elements = ElementSocket(names.frame_table)
        self._in_place: tuple[Table | None, Table | None] = (None, None)

    @property
    def elements_port(self) -> int:
        """The netlink port by which containers' elements are changed, and nothing else."""
        return self._elements.port

    def close(self) -> None:
        """Let go of the kernel; everything stays as it is."""
        self._elements.close()

    def replace(self, wanted: Wanted) -> list[str]:
        """Put both tables in place in one transaction; returns what else had to be added."""
        facts = (self._names, self._guards, wanted.segments, wanted.ports, wanted.forwards)
        there = nft.table("bridge", self._names.frame_table)
        try:
            nft.apply(rules.ruleset(*facts, there))
        except Unavailable as error:
            log.warning("conversations by UDP are forgotten with the rules: %s", error.message)
            nft.apply(rules.ruleset(*facts))
        packets, frames, _ports, _forwards = self._read()
        self._in_place = (packets, frames)
        return foreign.ensure(
            self._names, foreign.accepts(self._names, self._guards, wanted.segments)
        )

    def change(self, add: Sequence[Port], remove: Sequence[Port], wanted: Wanted) -> None:
        """Let ports send, and others no more; puts the tables back where somebody took them."""
        try:
            self._elements.change(_elements(add), _elements(remove))
        except FileNotFoundError:
            self.replace(wanted)

    def forward(self, add: Sequence[Forward], remove: Sequence[Forward], wanted: Wanted) -> None:
        """Take published ports back and open others; writes all anew where that can't be done."""
        try:
            nft.apply(rules.forwarding(self._names, add, remove))
        except Unavailable:
            # Somebody took the table, or an element that was to be taken back.
            self.replace(wanted)
        flows.cut(add, remove)

    def restore(self, wanted: Wanted) -> list[str]:
        """Compare the kernel with what is wanted, and put it right; returns what was wrong."""
        packets, frames, present, forwarded = self._read()
        if packets is None or frames is None or (packets, frames) != self._in_place:
            return ["put the rules back", *self.replace(wanted)]
        expected = {
            place
            for port in wanted.ports
            for place in (_source(port), *_sources6(port), *_guards(port))
        }
        repaired = []
        if present != expected:
            # Strangers are not necessarily well-formed ports of ours: all are written anew.
            self.replace(wanted)
            repaired.append("put the addresses of ports back")
        elif forwarded != {_forward_key(forward) for forward in wanted.forwards}:
            self.replace(wanted)
            repaired.append("put the published ports back")
        return repaired + foreign.ensure(
            self._names, foreign.accepts(self._names, self._guards, wanted.segments)
        )

    def _read(
        self,
    ) -> tuple[Table | None, Table | None, set[tuple[str, ...]], set[tuple[str, ...]]]:
        """Return both tables without what belongs to one container, and that: ports, forwards."""
        packets = nft.table("inet", self._names.table)
        frames = nft.table("bridge", self._names.frame_table)
        present: set[tuple[str, ...]] = set()
        forwarded: set[tuple[str, ...]] = set()
        for entry in frames or []:
            found = entry.get("set", {})
            if found.get("name") == sets.PORTS_SET:
                present |= {_port_of(element) for element in found.pop("elem", [])}
            elif found.get("name") in (sets.PORTS_SET6, sets.TARGETS6):
                present |= {
                    (found["name"], *_port_of(element)) for element in found.pop("elem", [])
                }
            elif found.get("name") in sets.GUARDED_SETS:
                present |= {(found["name"], str(tap)) for tap in found.pop("elem", [])}
            elif found.get("name") in (sets.OPENED, sets.OPENED6):
                forwarded |= {_port_of(element) for element in found.pop("elem", [])}
            elif found.get("name") in sets.REMEMBERED:
                # Comes and goes with what containers send.
                found.pop("elem", None)
        for entry in packets or []:
            found = entry.get("map", {})
            if found.get("name") in sets.PUBLISHED_MAPS:
                forwarded |= {_forward_of(element) for element in found.pop("elem", [])}
        return packets, frames, present, forwarded


def _elements(ports: Sequence[Port]) -> list[tuple[str, bytes]]:
    """Return all elements of the frame table that are there for ports."""
    found = [(sets.PORTS_SET, port_key(port)) for port in ports]
    for port in ports:
        if port.address6 is not None:
            found += [(sets.PORTS_SET6, port_key6(port, own)) for own in sets.sources6(port)]
            found.append((sets.TARGETS6, target_key6(port, port.address6)))
    return found + [(name, name_key(port)) for port in ports for name, _ in _guards(port)]


def _source(port: Port) -> tuple[str, ...]:
    return port.name, port.mac, str(port.address)


def _sources6(port: Port) -> list[tuple[str, ...]]:
    if port.address6 is None:
        return []
    return [
        *((sets.PORTS_SET6, port.name, port.mac, str(own)) for own in sets.sources6(port)),
        (sets.TARGETS6, port.name, sets.target_number(port.address6)),
    ]


def _guards(port: Port) -> list[tuple[str, str]]:
    """Return in which of the sets of guarded taps a port is."""
    found = sets.guarded_set(port)
    return [] if found is None else [(found, port.name)]


def _forward_key(forward: Forward) -> tuple[str, ...]:
    if forward.direct:
        return str(forward.address), forward.transport.value, str(forward.port)
    at = () if forward.host_address.is_unspecified else (str(forward.host_address),)
    target = (str(forward.address), str(forward.port))
    return (*at, forward.transport.value, str(forward.host_port), *target)


def _forward_of(element: Any) -> tuple[str, ...]:
    """Return key and value of a map's element, or something else where it is not ours."""
    try:
        key, value = element
        return tuple(str(part) for side in (key, value) for part in side["concat"])
    except (TypeError, ValueError, KeyError):
        return (str(element),)


def _port_of(element: dict[str, Any]) -> tuple[str, ...]:
    """Return name, MAC and IP address of an element, or something else where it is not ours."""
    parts = element.get("concat")
    return tuple(map(str, parts)) if isinstance(parts, list) else (str(element),)


def remove_tables(names: Names) -> list[str]:
    """Remove everything of the instance from nftables; returns what was there."""
    removed = foreign.remove(names)
    ours = {("inet", names.table), ("bridge", names.frame_table)}
    there = ours.intersection(nft.tables())
    if there:
        nft.apply(rules.removal(names))
    return removed + [f"removed table {family} {name}" for family, name in sorted(there)]

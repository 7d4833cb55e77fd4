"""The instance's rules, as text for nft(8).

Two tables, each replaced as a whole in one transaction, so that there is no moment without rules;
but for the sets that packets fill, which stay: else whoever had asked would get no answer.
What belongs to one network or one port is an element of a set, so that adding a container adds no
rule and slows no packet.

A frame or packet of an interface of ours passes only where a rule lets it: a tap without an
element can send nothing, a bridge without an element can neither be reached nor get out.

Source: nft(8) of 1.0.6; packet flow of
https://wiki.nftables.org/wiki-nftables/index.php/Netfilter_hooks
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from services.network.drivers import Forward, Port, Segment
from services.network.drivers.linux.frames import frame_table
from services.network.drivers.linux.naming import Names
from services.network.drivers.linux.packets import Guards, packet_table
from services.network.drivers.linux.sets import forward_element, is_remembered


def ruleset(
    names: Names,
    guards: Guards,
    segments: Iterable[Segment],
    ports: Iterable[Port],
    forwards: Iterable[Forward] = (),
    frames: Sequence[Mapping[str, Any]] | None = None,
) -> str:
    """Return the transaction that puts both tables in place, whatever was there before.

    `frames` is the frame table that is there, as nft's JSON describes it: what packets have put
    into it stays. Without it all is forgotten. Where somebody changed the table since it was read
    the transaction fails.
    """
    known = sorted(segments, key=lambda segment: segment.ordinal)
    forwards = list(forwards)
    packets = f"inet {names.table}"
    return (
        f"{_without(packets)}table {packets} {{\n"
        f"{packet_table(names, guards, known, forwards)}}}\n"
        f"{_emptied(f'bridge {names.frame_table}', frames)}table bridge {names.frame_table} {{\n"
        f"{frame_table(names, list(ports), forwards)}}}\n"
    )


def _without(table: str) -> str:
    # "table" before "delete table": deleting what is not there would fail the transaction.
    return f"table {table}\ndelete table {table}\n"


def _emptied(table: str, entries: Sequence[Mapping[str, Any]] | None) -> str:
    """Return the lines that take everything out of a table but sets that packets fill."""
    chains, sets, rest = [], [], []
    for kind, body in (pair for entry in entries or [] for pair in entry.items()):
        if kind == "chain":
            chains.append(f"delete chain {table} {body['name']}\n")
        elif kind in ("set", "map"):
            if kind == "map" or not is_remembered(body):
                sets.append(f"delete {kind} {table} {body['name']}\n")
        elif kind not in ("table", "rule") or "flags" in body:
            rest.append(kind)
    if entries is None or rest:
        # A table that is asleep, or has something in it that we know nothing of.
        return _without(table)
    # Maps may lead to chains.
    return "".join([f"flush table {table}\n", *sets, *chains])


def removal(names: Names) -> str:
    """Return the transaction that removes both tables, whether they are there or not."""
    return _without(f"inet {names.table}") + _without(f"bridge {names.frame_table}")


def forwarding(names: Names, add: Iterable[Forward], remove: Iterable[Forward]) -> str:
    """Return the transaction that takes published ports back and opens others."""
    lines = []
    for verb, forwards in (("delete", remove), ("add", add)):
        for forward in forwards:
            name, element = forward_element(forward)
            table = f"inet {names.table}"
            if forward.direct:
                table = f"bridge {names.frame_table}"
            lines.append(f"{verb} element {table} {name} {{ {element} }}\n")
    return "".join(lines)

"""The instance's rules, as text for nft(8).

Two tables, each replaced as a whole in one transaction, so that there is no moment without rules.
What belongs to one network or one port is an element of a set, so that adding a container adds no
rule and slows no packet.

A frame or packet of an interface of ours passes only where a rule lets it: a tap without an
element can send nothing, a bridge without an element can neither be reached nor get out.

Source: nft(8) of 1.0.6; packet flow of
https://wiki.nftables.org/wiki-nftables/index.php/Netfilter_hooks
"""

from collections.abc import Iterable

from services.network.drivers import Forward, Port, Segment
from services.network.drivers.linux.frames import frame_table
from services.network.drivers.linux.naming import Names
from services.network.drivers.linux.packets import Guards, packet_table
from services.network.drivers.linux.sets import forward_element


def ruleset(
    names: Names,
    guards: Guards,
    segments: Iterable[Segment],
    ports: Iterable[Port],
    forwards: Iterable[Forward] = (),
) -> str:
    """Return the transaction that puts both tables in place, whatever was there before."""
    known = sorted(segments, key=lambda segment: segment.ordinal)
    forwards = list(forwards)
    tables = (
        ("inet", names.table, packet_table(names, guards, known, forwards)),
        ("bridge", names.frame_table, frame_table(names, list(ports), forwards)),
    )
    # "table" before "delete table": deleting what is not there would fail the transaction.
    return "".join(
        f"table {family} {name}\ndelete table {family} {name}\ntable {family} {name} {{\n{body}}}\n"
        for family, name, body in tables
    )


def removal(names: Names) -> str:
    """Return the transaction that removes both tables, whether they are there or not."""
    return (
        f"table inet {names.table}\ndelete table inet {names.table}\n"
        f"table bridge {names.frame_table}\ndelete table bridge {names.frame_table}\n"
    )


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

"""The instance's rules, as text for nft(8).

Two tables, each replaced as a whole in one transaction, so that there is no moment without rules.
What belongs to one network or one port is an element of a set, so that adding a container adds no
rule and slows no packet.

The rules hold whether br_netfilter passes bridged frames through the inet hooks or not: a frame
within one bridge then shows up in `forward` with the bridge as both interfaces.

A published port is an element of a map, so that a thousand of them slow no packet either. Whoever
reaches a container by one comes from its own address, except where the answer would not come back
through the host: from the container's own network, and from the host's loopback.

A frame or packet of an interface of ours passes only where a rule lets it: a tap without an
element can send nothing, a bridge without an element can neither be reached nor get out.

A fragment of IPv6 that begins a packet must have in it what tells what the packet is, and no
question or answer between neighbours comes in fragments (RFC 7112, RFC 6980): else a router's
advertisement could come in two halves that nobody here takes for one.

Source: nft(8) of 1.0.6; packet flow of
https://wiki.nftables.org/wiki-nftables/index.php/Netfilter_hooks
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address

from services.network.drivers import Forward, Level, Port, Segment
from services.network.drivers.linux.naming import LINKS_OF_ALL, Names

PORTS_SET = "sources"
"""Set of the frame table: tap, MAC address, IPv4 address."""

PORTS_SET6 = "sources6"
"""The same with IPv6 addresses."""

TARGETS6 = "targets6"
"""Set of the frame table: tap and IPv6 address, as a number for raw matches: who may say that the
address is its own."""

OUTWARD = "outward"
"""Set of the frame table: taps from which all may be reached, and which few may reach."""

GUARDED_SETS = (Level.CLOSED.value, Level.PEERS.value, OUTWARD)
"""Sets of the frame table: taps on external networks that are not open."""

OPENED = "opened"
OPENED6 = "opened6"
"""Sets of the frame table: address and port of containers on external networks."""

FLOWS = "flows"
FLOWS6 = "flows6"
"""Sets of the frame table: what containers have sent by UDP, whose answers may come.

There is no connection tracking of bridged frames on every kernel, and none is needed: whoever asked
is remembered here, and TCP says by its flags who began.
"""
FLOW_SETS = {
    FLOWS: "ipv4_addr . inet_service . ipv4_addr . inet_service",
    FLOWS6: "ipv6_addr . inet_service . ipv6_addr . inet_service",
}
"""Both of them, with their types."""
FLOW_SECONDS = 180
"""How long conntrack remembers a conversation by UDP (nf_conntrack_udp_timeout_stream is 120)."""
MOST_FLOWS = 65_536

PUBLISHED_ANYWHERE = "published_anywhere"
PUBLISHED_AT = "published_at"
"""Maps of the packet table: a port of all addresses of the host, or of one, to a container's."""

PUBLISHED_ANYWHERE6 = "published6_anywhere"
PUBLISHED_AT6 = "published6_at"
"""The same of IPv6."""

PUBLISHED_MAPS = {
    PUBLISHED_ANYWHERE: "inet_proto . inet_service : ipv4_addr . inet_service",
    PUBLISHED_AT: "ipv4_addr . inet_proto . inet_service : ipv4_addr . inet_service",
    PUBLISHED_ANYWHERE6: "inet_proto . inet_service : ipv6_addr . inet_service",
    PUBLISHED_AT6: "ipv6_addr . inet_proto . inet_service : ipv6_addr . inet_service",
}
"""All of them, with their types."""

FOR_THE_LINK = "01:80:c2:00:00:00-01:80:c2:00:00:0f"
"""Addresses of frames that belong to the link itself (IEEE 802.1Q, 8.6.3), and go no further."""

DNS_PORT = 53


@dataclass(frozen=True)
class Guards:
    """What the host itself keeps open or closed."""

    tether_port: int
    """TCP port on the management gateway."""
    closed_ports: Sequence[int] = ()
    """TCP ports of the host that containers don't reach, those of other instances included."""


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
        ("inet", names.table, _packet_table(names, guards, known, forwards)),
        ("bridge", names.frame_table, _frame_table(names, list(ports), forwards)),
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


def forward_element(forward: Forward) -> tuple[str, str]:
    """Return in which map or set a published port is, and its element there."""
    if forward.direct:
        name = OPENED if forward.address.version == 4 else OPENED6
        return name, f"{forward.address} . {forward.transport} . {forward.port}"
    key = f"{forward.transport} . {forward.host_port}"
    target = f"{forward.address} . {forward.port}"
    six = forward.host_address.version == 6
    if forward.host_address.is_unspecified:
        return PUBLISHED_ANYWHERE6 if six else PUBLISHED_ANYWHERE, f"{key} : {target}"
    where = f"{forward.host_address} . {key} : {target}"
    return PUBLISHED_AT6 if six else PUBLISHED_AT, where


def _packet_table(
    names: Names, guards: Guards, segments: Sequence[Segment], forwards: Iterable[Forward]
) -> str:
    management = [segment for segment in segments if segment.management]
    everything = [segment for segment in segments if not segment.management]
    networks = [segment for segment in everything if segment.uplink is None]
    bridges = {segment.ordinal: f'"{names.bridge(segment.ordinal)}"' for segment in everything}
    same = [
        f"{bridges[segment.ordinal]} . {bridges[segment.ordinal]}"
        for segment in everything
        if not segment.isolated
    ]
    external = [bridges[segment.ordinal] for segment in everything if segment.uplink is not None]
    outward = [bridges[segment.ordinal] for segment in networks if segment.outward]
    masqueraded = [str(s.subnet) for s in networks if s.outward and s.masquerade]
    six = [bridges[segment.ordinal] for segment in networks if segment.subnet6 is not None]
    members6 = [str(segment.subnet6) for segment in networks if segment.subnet6 is not None]
    masqueraded6 = [
        str(s.subnet6) for s in networks if s.subnet6 is not None and s.outward and s.masquerade
    ]
    asked = [segment for segment in networks if segment.name_server]
    homes = [f"{bridges[segment.ordinal]} . {segment.gateway}" for segment in asked]
    published: dict[str, list[str]] = {name: [] for name in PUBLISHED_MAPS}
    for forward in forwards:
        if forward.direct:
            continue
        map_name, element = forward_element(forward)
        published[map_name].append(element)
    to_management = "".join(
        f'\t\tip daddr {segment.subnet} iifname != "lo" drop\n' for segment in management
    )
    tether = "".join(
        f"\t\tip daddr {segment.gateway} tcp dport {guards.tether_port} accept\n"
        for segment in management
    )
    return f"""\
{_set("same", "ifname . ifname", same)}\
{_set("outward", "ifname", outward)}\
{_set("external", "ifname", external)}\
{_set("masqueraded", "ipv4_addr", masqueraded, "interval")}\
{_set("closed_ports", "inet_service", [str(port) for port in guards.closed_ports])}\
{_set("name_servers", "ipv4_addr", [str(segment.gateway) for segment in asked])}\
{_set("name_servers_of", "ifname . ipv4_addr", homes)}\
{_set("members", "ipv4_addr", [str(segment.subnet) for segment in networks], "interval")}\
{_set("six", "ifname", six)}\
{_set("members6", "ipv6_addr", members6, "interval")}\
{_set("masqueraded6", "ipv6_addr", masqueraded6, "interval")}\
{"".join(_map(name, kind, published) for name, kind in PUBLISHED_MAPS.items())}\
	chain prerouting {{
		type nat hook prerouting priority dstnat; policy accept;
		iifname "{names.management_bridge}" return
		iifname @external return
		ip daddr 127.0.0.0/8 return
		meta l4proto {{ tcp, udp }} th dport {DNS_PORT} iifname . ip daddr @name_servers_of return
		fib daddr type local jump published
	}}
	chain output {{
		type nat hook output priority -100; policy accept;
		ip6 daddr ::1 return
		fib daddr type local jump published
	}}
	chain published {{
		dnat ip to ip daddr . meta l4proto . th dport map @{PUBLISHED_AT}
		meta nfproto ipv4 dnat ip to meta l4proto . th dport map @{PUBLISHED_ANYWHERE}
		dnat ip6 to ip6 daddr . meta l4proto . th dport map @{PUBLISHED_AT6}
		meta nfproto ipv6 dnat ip6 to meta l4proto . th dport map @{PUBLISHED_ANYWHERE6}
	}}
	chain input {{
		type filter hook input priority filter; policy accept;
		iifname "{names.management_bridge}" goto from_management
{to_management}\
		iifname @external drop
		iifname "{LINKS_OF_ALL}*" tcp dport @closed_ports drop
		meta l4proto {{ tcp, udp }} th dport {DNS_PORT} ip daddr @name_servers iifname != "lo" \
iifname . ip daddr != @name_servers_of drop
		iifname "{names.bridge_prefix}*" goto from_container
	}}
	chain from_management {{
{tether}\
		drop
	}}
	chain from_container {{
		meta nfproto ipv6 iifname != @six drop
		ip daddr 127.0.0.0/8 ct state != {{ established, related }} drop
	}}
	chain forward {{
		type filter hook forward priority filter; policy accept;
		iifname "{names.management_bridge}" drop
		oifname "{names.management_bridge}" drop
		oifname "{names.bridge_prefix}*" goto to_network
		iifname "{names.bridge_prefix}*" goto from_network
	}}
	chain to_network {{
		iifname . oifname @same accept
		iifname @external drop
		oifname @external drop
		ct state established,related accept
		iifname "{names.bridge_prefix}*" iifname != @outward drop
		ct status dnat accept
		drop
	}}
	chain from_network {{
		iifname @external drop
		ct state invalid drop
		iifname @outward accept
		drop
	}}
	chain postrouting {{
		type nat hook postrouting priority srcnat; policy accept;
		ip saddr 127.0.0.0/8 oifname "{names.bridge_prefix}*" masquerade
		ip saddr @members oifname "{names.bridge_prefix}*" ct status dnat masquerade
		ip saddr @masqueraded oifname != "{names.bridge_prefix}*" masquerade
		ip6 saddr @members6 oifname "{names.bridge_prefix}*" ct status dnat masquerade
		ip6 saddr @masqueraded6 oifname != "{names.bridge_prefix}*" masquerade
	}}
"""


def target_number(address: IPv6Address) -> str:
    """Return an address as nft takes and shows it in TARGETS6."""
    return f"0x{int(address):032x}"


def sources6(port: Port) -> list[IPv6Address]:
    """Return the addresses of IPv6 from which a port may send.

    On an external network these are its own and none at all: whoever has no link-local address
    tells from none which multicast groups it listens to (RFC 3810, 5.2.13), and a switch out there
    that looks into that (RFC 4541) leads neighbours' questions to nobody else.
    """
    if port.address6 is None:
        return []
    return [port.address6] if port.level is None else [port.address6, IPv6Address(0)]


def guarded_set(port: Port) -> str | None:
    """Return in which of the guarded sets of taps a port is; None: what it may is not limited."""
    if port.level in (None, Level.OPEN):
        return None
    if port.level in (Level.CLOSED, Level.PEERS):
        return str(port.level)
    return OUTWARD


def _frame_table(names: Names, ports: Sequence[Port], forwards: Iterable[Forward]) -> str:
    # The kind of frame is asked for by itself: what nft adds to a match on an address looks behind
    # VLAN tags, which would then pass.
    sources = [f'"{port.name}" . {port.mac} . {port.address}' for port in ports]
    six = [port for port in ports if port.address6 is not None]
    from6 = [f'"{port.name}" . {port.mac} . {source}' for port in six for source in sources6(port)]
    targets6 = [f'"{port.name}" . {target_number(port.address6)}' for port in six if port.address6]
    guarded = {
        name: [f'"{port.name}"' for port in ports if guarded_set(port) == name]
        for name in GUARDED_SETS
    }
    opened: dict[str, list[str]] = {OPENED: [], OPENED6: []}
    for forward in forwards:
        if forward.direct:
            set_name, element = forward_element(forward)
            opened[set_name].append(element)
    remembering = f"dynamic, timeout; timeout {FLOW_SECONDS}s; size {MOST_FLOWS}"
    return f"""\
{_set(PORTS_SET, "ifname . ether_addr . ipv4_addr", sources)}\
{_set(PORTS_SET6, "ifname . ether_addr . ipv6_addr", from6)}\
{_set(TARGETS6, "iifname . @th,64,128", targets6).replace("type", "typeof", 1)}\
{"".join(_set(name, "ifname", guarded[name]) for name in GUARDED_SETS)}\
{_set(OPENED, "ipv4_addr . inet_proto . inet_service", opened[OPENED])}\
{_set(OPENED6, "ipv6_addr . inet_proto . inet_service", opened[OPENED6])}\
{"".join(_set(name, kind, [], remembering) for name, kind in FLOW_SETS.items())}\
	chain prerouting {{
		type filter hook prerouting priority filter; policy accept;
		iifname "{names.tap_prefix}*" goto from_tap
	}}
	chain from_tap {{
		ether daddr {FOR_THE_LINK} drop
		ether type ip6 goto from_tap_by_ipv6
		ether type != {{ arp, ip }} drop
		iifname . ether saddr . arp saddr ip @{PORTS_SET} \
iifname . arp saddr ether . arp saddr ip @{PORTS_SET} accept
		iifname . ether saddr . ip saddr @{PORTS_SET} goto from_source
		drop
	}}
	chain from_source {{
		udp sport 67 drop
	}}
	chain from_tap_by_ipv6 {{
		iifname . ether saddr . ip6 saddr @{PORTS_SET6} goto from_source_by_ipv6
		drop
	}}
	chain from_source_by_ipv6 {{
		ip6 saddr :: icmpv6 type mld2-listener-report accept
		ip6 saddr :: drop
		exthdr frag exists icmpv6 type {{ nd-router-solicit, nd-router-advert, \
nd-neighbor-solicit, nd-neighbor-advert, nd-redirect }} drop
		icmpv6 type {{ nd-router-advert, nd-redirect }} drop
		icmpv6 type nd-neighbor-advert iifname . @th,64,128 != @{TARGETS6} drop
		udp sport 547 drop
		frag frag-off != 0 accept
		@th,0,16 0-65535 accept
		drop
	}}
	chain forward {{
		type filter hook forward priority filter; policy accept;
		oifname "{names.tap_prefix}*" ether daddr {FOR_THE_LINK} drop
		iifname @{Level.CLOSED} drop
		oifname @{Level.CLOSED} drop
		iifname @{Level.PEERS} goto among_peers
		oifname @{Level.PEERS} goto among_peers
		iifname @{OUTWARD} ether type ip udp dport != 0 \
update @{FLOWS} {{ ip saddr . udp sport . ip daddr . udp dport }}
		iifname @{OUTWARD} ether type ip6 udp dport != 0 \
update @{FLOWS6} {{ ip6 saddr . udp sport . ip6 daddr . udp dport }}
		oifname @{OUTWARD} goto inward
	}}
	chain among_peers {{
		iifname "{names.tap_prefix}*" oifname "{names.tap_prefix}*" accept
		ether type arp accept
		ether type ip6 icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
		drop
	}}
	chain inward {{
		ether type arp accept
		ether type ip6 goto inward_by_ipv6
		ether type != ip drop
		ip frag-off & 0x1fff != 0 accept
		ip daddr . meta l4proto . th dport @{OPENED} accept
		tcp flags & (syn | ack) != syn accept
		ip daddr . udp dport . ip saddr . udp sport @{FLOWS} accept
		icmp type {{ echo-reply, destination-unreachable, time-exceeded, parameter-problem }} accept
		drop
	}}
	chain inward_by_ipv6 {{
		icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert, mld-listener-query }} accept
		frag frag-off != 0 accept
		ip6 daddr . meta l4proto . th dport @{OPENED6} accept
		tcp flags & (syn | ack) != syn accept
		ip6 daddr . udp dport . ip6 saddr . udp sport @{FLOWS6} accept
		icmpv6 type {{ echo-reply, destination-unreachable, packet-too-big, time-exceeded, \
parameter-problem }} accept
		drop
	}}
"""


def _map(name: str, kind: str, elements: Mapping[str, Sequence[str]]) -> str:
    return _set(name, kind, elements[name]).replace("\tset", "\tmap", 1)


def _set(name: str, kind: str, elements: Sequence[str], flags: str = "") -> str:
    lines = [f"\tset {name} {{", f"\t\ttype {kind}"]
    if flags:
        lines.append(f"\t\tflags {flags}")
    if elements:
        lines.append(f"\t\telements = {{ {', '.join(elements)} }}")
    return "\n".join([*lines, "\t}\n"])

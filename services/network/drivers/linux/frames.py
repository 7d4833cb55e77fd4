"""The table of frames: what may come from a container's tap, and on external networks to it.

A fragment of IPv6 that begins a packet must have in it what tells what the packet is, and no
question or answer between neighbours comes in fragments (RFC 7112, RFC 6980): else a router's
advertisement could come in two halves that nobody here takes for one.
"""

from collections.abc import Iterable, Sequence

from services.network.drivers import Forward, Level, Port
from services.network.drivers.linux.naming import Names
from services.network.drivers.linux.sets import (
    ANSWERED,
    ANSWERED6,
    ASKED,
    ASKED6,
    BEGUN,
    GUARDED_SETS,
    OPENED,
    OPENED6,
    OUTWARD,
    PORTS_SET,
    PORTS_SET6,
    REMEMBERED,
    TARGETS6,
    forward_element,
    guarded_set,
    remembered_text,
    set_text,
    sources6,
    target_number,
)

MOST_BEGUN = "100/second burst 1000 packets"
"""Conversations by UDP that a tap may begin, so that one fills a sixteenth of what can be
remembered. Beyond that its packets go out and nobody's answer comes in."""

FOR_THE_LINK = "01:80:c2:00:00:00-01:80:c2:00:00:0f"
"""Addresses of frames that belong to the link itself (IEEE 802.1Q, 8.6.3), and go no further."""


def frame_table(names: Names, ports: Sequence[Port], forwards: Iterable[Forward]) -> str:
    """Return what the table of frames holds."""
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
    out, back = _conversation("ip", "saddr", "daddr"), _conversation("ip", "daddr", "saddr")
    out6, back6 = _conversation("ip6", "saddr", "daddr"), _conversation("ip6", "daddr", "saddr")
    return f"""\
{set_text(PORTS_SET, "ifname . ether_addr . ipv4_addr", sources)}\
{set_text(PORTS_SET6, "ifname . ether_addr . ipv6_addr", from6)}\
{set_text(TARGETS6, "iifname . @th,64,128", targets6).replace("type", "typeof", 1)}\
{"".join(set_text(name, "ifname", guarded[name]) for name in GUARDED_SETS)}\
{set_text(OPENED, "ipv4_addr . inet_proto . inet_service", opened[OPENED])}\
{set_text(OPENED6, "ipv6_addr . inet_proto . inet_service", opened[OPENED6])}\
{"".join(map(remembered_text, REMEMBERED))}\
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
		iifname @{OUTWARD} ether type ip udp dport != 0 jump outward_by_udp
		iifname @{OUTWARD} ether type ip6 udp dport != 0 jump outward_by_udp6
		oifname @{OUTWARD} goto inward
	}}
	chain outward_by_udp {{
		{out} @{ANSWERED} update @{ANSWERED} {{ {out} }} return
		{out} @{ASKED} return
		update @{BEGUN} {{ iifname limit rate over {MOST_BEGUN} }} return
		update @{ASKED} {{ {out} }}
	}}
	chain outward_by_udp6 {{
		{out6} @{ANSWERED6} update @{ANSWERED6} {{ {out6} }} return
		{out6} @{ASKED6} return
		update @{BEGUN} {{ iifname limit rate over {MOST_BEGUN} }} return
		update @{ASKED6} {{ {out6} }}
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
		{back} @{ANSWERED} update @{ANSWERED} {{ {back} }} accept
		{back} @{ASKED} update @{ANSWERED} {{ {back} }}
		{back} @{ASKED} accept
		icmp type {{ echo-reply, destination-unreachable, time-exceeded, parameter-problem }} accept
		drop
	}}
	chain inward_by_ipv6 {{
		icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert, mld-listener-query }} accept
		frag frag-off != 0 accept
		ip6 daddr . meta l4proto . th dport @{OPENED6} accept
		tcp flags & (syn | ack) != syn accept
		{back6} @{ANSWERED6} update @{ANSWERED6} {{ {back6} }} accept
		{back6} @{ASKED6} update @{ANSWERED6} {{ {back6} }}
		{back6} @{ASKED6} accept
		icmpv6 type {{ echo-reply, destination-unreachable, packet-too-big, time-exceeded, \
parameter-problem }} accept
		drop
	}}
"""


def _conversation(protocol: str, inner: str, outer: str) -> str:
    """Return the key of a packet in the sets of conversations: the container's end comes first."""
    ports = {"saddr": "sport", "daddr": "dport"}
    return f"{protocol} {inner} . udp {ports[inner]} . {protocol} {outer} . udp {ports[outer]}"

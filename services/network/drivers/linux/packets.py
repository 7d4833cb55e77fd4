"""The table of packets: what the host routes, answers and translates.

The rules hold whether br_netfilter passes bridged frames through the inet hooks or not: a frame
within one bridge then shows up in `forward` with the bridge as both interfaces.

A published port is an element of a map, so that a thousand of them slow no packet either. Whoever
reaches a container by one comes from its own address, except where the answer would not come back
through the host: from the container's own network, and from the host's loopback.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from services.network.drivers import Forward, Segment
from services.network.drivers.linux.naming import LINKS_OF_ALL, Names
from services.network.drivers.linux.sets import (
    PUBLISHED_ANYWHERE,
    PUBLISHED_ANYWHERE6,
    PUBLISHED_AT,
    PUBLISHED_AT6,
    PUBLISHED_MAPS,
    forward_element,
    map_text,
    set_text,
)

DNS_PORT = 53


@dataclass(frozen=True)
class Guards:
    """What the host itself keeps open or closed."""

    tether_port: int
    """TCP port on the management gateway."""
    closed_ports: Sequence[int] = ()
    """TCP ports of the host that containers don't reach, those of other instances included."""


def packet_table(
    names: Names, guards: Guards, segments: Sequence[Segment], forwards: Iterable[Forward]
) -> str:
    """Return what the table of packets holds."""
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
{set_text("same", "ifname . ifname", same)}\
{set_text("outward", "ifname", outward)}\
{set_text("external", "ifname", external)}\
{set_text("masqueraded", "ipv4_addr", masqueraded, "interval")}\
{set_text("closed_ports", "inet_service", [str(port) for port in guards.closed_ports])}\
{set_text("name_servers", "ipv4_addr", [str(segment.gateway) for segment in asked])}\
{set_text("name_servers_of", "ifname . ipv4_addr", homes)}\
{set_text("members", "ipv4_addr", [str(segment.subnet) for segment in networks], "interval")}\
{set_text("six", "ifname", six)}\
{set_text("members6", "ipv6_addr", members6, "interval")}\
{set_text("masqueraded6", "ipv6_addr", masqueraded6, "interval")}\
{"".join(map_text(name, kind, published) for name, kind in PUBLISHED_MAPS.items())}\
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
